//! A real HAProxy in front of the nodes, that knows by their readiness who takes newcomers.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::harness::{SOON, free_port, poll_until};

/// The addresses of one node behind it.
#[derive(Clone, Copy)]
pub struct NodeAddresses {
    pub public: SocketAddr,
    pub control: SocketAddr,
}

/// A running balancer.
pub struct Balancer {
    /// Takes subscribers.
    pub public: SocketAddr,
    /// Takes publishers.
    pub control: SocketAddr,
    file: PathBuf,
    child: Child,
}

impl Balancer {
    /// Starts one before these nodes; none where there is no program for it.
    pub fn start(nodes: &[NodeAddresses]) -> Option<Balancer> {
        let (public, control) = (free_port(), free_port());
        let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("haproxy-{}.cfg", public.port()));
        std::fs::write(&file, configuration(public, control, nodes)).unwrap();
        let mut command = Command::new("haproxy");
        command.args(["-W", "-f"]).arg(&file).stdin(Stdio::null()).stdout(Stdio::null());
        let child = match command.stderr(Stdio::null()).spawn() {
            Ok(child) => child,
            Err(error) => {
                println!("skipped: no haproxy: {error}");
                return None;
            }
        };
        let balancer = Balancer { public, control, file, child };
        let serves = |address| std::net::TcpStream::connect(address).is_ok();
        let risen = poll_until(SOON, || (serves(public) && serves(control)).then_some(()));
        risen.expect("haproxy listens");
        Some(balancer)
    }

    /// Starts a new process with the same file; the old one ends its streams after a second.
    pub fn reload(&self) {
        self.signal("USR2");
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        // Killed, it would leave its worker behind.
        self.signal("TERM");
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.file);
    }
}

fn configuration(public: SocketAddr, control: SocketAddr, nodes: &[NodeAddresses]) -> String {
    let servers = |address: &dyn Fn(&NodeAddresses) -> SocketAddr| -> String {
        // The control listener answers nobody that does not name it.
        let row = |(at, node): (usize, &NodeAddresses)| {
            format!("    server n{at} {} port {}\n", address(node), node.public.port())
        };
        nodes.iter().enumerate().map(row).collect()
    };
    let checks = "    option httpchk GET /readyz\n    default-server check inter 200ms fall 1 rise 1";
    format!(
        "global\n    hard-stop-after 1s\n\
         defaults\n    mode http\n    option http-no-delay\n    option abortonclose\n    \
         option redispatch 1\n    timeout connect 2s\n    \
         timeout client 60s\n    timeout server 60s\n    balance roundrobin\n\
         listen public\n    bind {public}\n{checks}\n{}\
         listen control\n    bind {control}\n{checks}\n{}",
        servers(&|node| node.public),
        servers(&|node| node.control),
    )
}
