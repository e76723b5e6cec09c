//! Words for a start: why it failed and how to mend it, the line of a start, settings that look unwise.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;

use crate::base::address::ListenAddress;
use crate::base::failure::CommandFailure;
use crate::base::listener::ListenerKind;
use crate::base::logfmt::LogValue;
use crate::base::logfmt::shown;
use crate::base::settings::{Settings, UrlProfile};
use crate::reactor::{BindFault, BoundAddress, Capacity, StartError};

/// Describes a failed start in one line: the call, the value, the limit and the way out.
pub(crate) fn start_failure(error: &StartError) -> CommandFailure {
    CommandFailure::Run(match error {
        StartError::Address { listener, text } => {
            let setting = listener.setting();
            return CommandFailure::Usage(format!("{setting} = {} is not an address", shown(text)));
        }
        StartError::Bind { listener, text, fault, os } => {
            let advice = match fault {
                BindFault::NotAvailable if text.starts_with("unix:") => {
                    "the folder of the socket file is missing".to_owned()
                }
                fault => bind_advice(*fault, *listener, os),
            };
            format!("cannot listen on {} ({}): {advice}", shown(text), listener.setting())
        }
        StartError::Inherited { number, name, os } => {
            let reason = os.as_ref().map_or_else(
                || "is not a listening stream socket of TCP or Unix".to_owned(),
                |os| format!("cannot be used: {os}"),
            );
            format!(
                "descriptor {number} ({}) {reason}; pass only such sockets in LISTEN_FDS: ListenStream= and \
                 Accept=no in the socket unit",
                shown(name)
            )
        }
        StartError::Connections { wanted, possible, workers, files, private } => {
            let table = if *private {
                format!("{workers} workers × {files} files")
            } else {
                format!("{files} files")
            };
            format!(
                "cannot hold {wanted} connections: {table} allow {possible}; raise LimitNOFILE or \
                 `ulimit -n` (`fanwheel doctor` says how), or lower connections_max"
            )
        }
        StartError::Files { files, needed } => format!(
            "too few files: the limit is {files} and at least {needed} are needed; raise LimitNOFILE or \
             `ulimit -n` (`fanwheel doctor` says how)"
        ),
        StartError::FileTable(os) => {
            format!("cannot give each worker a file table: {os}; use --fd-tables auto")
        }
        StartError::Os { call, os } => format!("cannot start: {call} failed: {os}"),
    })
}

fn bind_advice(fault: BindFault, listener: ListenerKind, os: &std::io::Error) -> String {
    match fault {
        BindFault::InUse => {
            let flag = listener.setting().replace('_', "-");
            format!("the address is in use; stop what has it or choose another with --{flag}")
        }
        BindFault::Permission => {
            "permission denied; a port below 1024 needs CAP_NET_BIND_SERVICE, a socket file a folder that \
             may be written"
                .to_owned()
        }
        BindFault::NotAvailable => "no interface has this address".to_owned(),
        BindFault::FamilyMissing => "this kernel does not offer the address family".to_owned(),
        BindFault::NotASocket => "a file that is not a socket has this name; move it away".to_owned(),
        BindFault::Other => os.to_string(),
    }
}

/// The log line of a start that went well.
pub(crate) fn started_line(
    settings: &Settings,
    capacity: &Capacity,
    bound: &[BoundAddress],
    memory_bytes_max: u64,
) -> String {
    let of = |listener: ListenerKind| {
        let addresses: Vec<String> = bound
            .iter()
            .filter(|bound| bound.listener == listener)
            .map(|bound| bound.address.to_string())
            .collect();
        addresses.join(",")
    };
    let [listen, control, metrics] = ListenerKind::ALL.map(of);
    let metrics =
        if metrics.is_empty() { String::new() } else { format!(" metrics_listen={}", LogValue(&metrics)) };
    format!(
        "event=started version={} listen={} control={}{metrics} workers={} connections_max={} files={} \
         send_backend={} memory_bytes_max={memory_bytes_max}",
        env!("CARGO_PKG_VERSION"),
        LogValue(&listen),
        LogValue(&control),
        capacity.workers,
        capacity.connections_max,
        capacity.files,
        backend_name(settings),
    )
}

fn backend_name(settings: &Settings) -> &'static str {
    match settings.send_backend {
        crate::base::settings::SendBackend::Auto => "auto",
        crate::base::settings::SendBackend::Writev => "writev",
        crate::base::settings::SendBackend::IoUring => "io_uring",
    }
}

/// Returns the dashboard's address and the two commands that a newcomer wants first; none when they would not
/// work as they stand.
pub(crate) fn hint_line(settings: &Settings, bound: &[BoundAddress]) -> Option<String> {
    let authority = |listener: ListenerKind| {
        bound.iter().filter(|bound| bound.listener == listener).find_map(|bound| match &bound.address {
            ListenAddress::Tcp(address) => Some(reachable(*address)),
            ListenAddress::Unix(_) => None,
        })
    };
    let (public, control) = (authority(ListenerKind::Public)?, authority(ListenerKind::Control)?);
    (settings.profile == UrlProfile::Standard).then(|| {
        let subscribe = format!("curl -N 'http://{public}/events?topic=news'");
        // The token stays out of the list of processes.
        let publish = match settings.credentials.control_token_file.as_str() {
            "" => format!("curl -d hello 'http://{control}/publish?topic=news'"),
            file => format!("fanwheel publish --url http://{control} --token-file {file} news hello"),
        };
        format!(
            "event=hint dashboard=http://{control}/ subscribe={} publish={}",
            LogValue(&subscribe),
            LogValue(&publish)
        )
    })
}

/// Returns an address that this host can connect to.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() {
            [127, 0, 0, 1].into()
        } else {
            [0, 0, 0, 0, 0, 0, 0, 1].into()
        });
    }
    address
}

/// The number of connections below which an unset limit is probably a mistake.
const CONNECTIONS_HOPED_FOR: usize = 1_000;

/// Returns a log line for each setting that is allowed and still probably a mistake.
pub(crate) fn doubt_lines(
    settings: &Settings,
    capacity: &Capacity,
    bound: &[BoundAddress],
    memory_bytes_max: u64,
) -> Vec<String> {
    let mut doubts = Vec::new();
    if settings.connections_max == 0 && capacity.connections_max < CONNECTIONS_HOPED_FOR {
        doubts.push(format!(
            "event=doubt setting=connections_max value={} reason=\"a limit of {} files allows no more; raise \
             LimitNOFILE or ulimit -n, fanwheel doctor says how\"",
            capacity.connections_max, capacity.files
        ));
    }
    for bound in bound.iter().filter(|bound| bound.listener == ListenerKind::Control) {
        let ListenAddress::Tcp(address) = &bound.address else { continue };
        if address.ip().is_loopback() || !settings.credentials.control_token_file.is_empty() {
            continue;
        }
        doubts.push(format!(
            "event=doubt setting=control value={address} reason=\"everybody who reaches this address may \
             publish, see clients and end the server; set control_token_file, or listen on loopback\""
        ));
    }
    let held = settings.history_bytes_max as u64 + settings.bodies_bytes_max as u64;
    if held > memory_bytes_max {
        doubts.push(format!(
            "event=doubt setting=memory_bytes_max value={memory_bytes_max} reason=\"history_bytes_max and \
             bodies_bytes_max together may hold {held} bytes, so newcomers may be refused for memory\""
        ));
    }
    doubts.extend(missing_programs(settings));
    doubts
}

/// Returns a line for each missing program that alerts would run, before the first alert needs it.
fn missing_programs(settings: &Settings) -> impl Iterator<Item = String> {
    let sendmail = if settings.alert_email_to.is_empty() { "" } else { &settings.alert_sendmail };
    let programs = [("alert_command", settings.alert_command.as_str()), ("alert_sendmail", sendmail)];
    programs.into_iter().filter(|(_, path)| !path.is_empty() && !can_run(path)).map(|(name, path)| {
        let path = LogValue(path);
        format!("event=doubt setting={name} value={path} reason=\"it is no program that can be run here\"")
    })
}

fn can_run(path: &str) -> bool {
    let anyone = |mode: u32| mode & 0o111 != 0;
    std::fs::metadata(path).is_ok_and(|file| file.is_file() && anyone(file.permissions().mode()))
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn failures_name_the_value_the_limit_and_the_way_out() {
        let bind = |fault| StartError::Bind {
            listener: ListenerKind::Public,
            text: "0.0.0.0:80".to_owned(),
            fault,
            os: io::Error::other("odd"),
        };
        let metrics = StartError::Bind {
            listener: ListenerKind::Metrics,
            text: "127.0.0.1:9".to_owned(),
            fault: BindFault::InUse,
            os: io::Error::other("odd"),
        };
        let rows = [
            (
                bind(BindFault::InUse),
                "cannot listen on 0.0.0.0:80 (listen): the address is in use; stop what has it or choose \
                 another with --listen",
            ),
            (
                metrics,
                "cannot listen on 127.0.0.1:9 (metrics_listen): the address is in use; stop what has it or \
                 choose another with --metrics-listen",
            ),
            (bind(BindFault::Other), "cannot listen on 0.0.0.0:80 (listen): odd"),
            (
                StartError::Connections {
                    wanted: 100_000,
                    possible: 8_000,
                    workers: 8,
                    files: 1_024,
                    private: true,
                },
                "cannot hold 100000 connections: 8 workers × 1024 files allow 8000; raise LimitNOFILE or \
                 `ulimit -n` (`fanwheel doctor` says how), or lower connections_max",
            ),
        ];
        for (error, expected) in rows {
            assert_eq!(start_failure(&error), CommandFailure::Run(expected.to_owned()));
        }
    }

    fn bound(listener: ListenerKind, address: &str) -> BoundAddress {
        BoundAddress { listener, address: ListenAddress::parse(address).unwrap() }
    }

    #[test]
    fn the_hint_works_as_it_stands() {
        let both =
            [bound(ListenerKind::Public, "0.0.0.0:8080"), bound(ListenerKind::Control, "127.0.0.1:8081")];
        assert_eq!(
            hint_line(&Settings::default(), &both).unwrap(),
            "event=hint dashboard=http://127.0.0.1:8081/ \
             subscribe=\"curl -N 'http://127.0.0.1:8080/events?topic=news'\" \
             publish=\"curl -d hello 'http://127.0.0.1:8081/publish?topic=news'\""
        );
        assert_eq!(hint_line(&Settings::default(), &both[..1]), None);
        let mut guarded = Settings::default();
        guarded.credentials.control_token_file = "/run/token".to_owned();
        let hint = hint_line(&guarded, &both).unwrap();
        let publish =
            "publish=\"fanwheel publish --url http://127.0.0.1:8081 --token-file /run/token news hello\"";
        assert!(hint.ends_with(publish), "{hint}");
        assert_eq!(reachable("[::]:1".parse().unwrap()).to_string(), "[::1]:1");
    }

    #[test]
    fn an_open_control_listener_a_small_memory_and_few_files_are_doubted() {
        let capacity = |connections_max| Capacity {
            workers: 2,
            crowded: false,
            private_tables: true,
            files: 64,
            worker_max: connections_max / 2,
            spare: 16,
            connections_max,
        };
        let settings = Settings::default();
        let [open, closed] =
            ["0.0.0.0:8081", "127.0.0.1:8081"].map(|address| [bound(ListenerKind::Control, address)]);
        assert_eq!(doubt_lines(&settings, &capacity(92), &open, 1_000_000).len(), 3);
        let mut guarded = Settings::default();
        guarded.credentials.control_token_file = "/run/token".to_owned();
        assert_eq!(doubt_lines(&guarded, &capacity(92), &open, 1_000_000).len(), 2);
        let command = |path: &str| Settings { alert_command: path.to_owned(), ..Settings::default() };
        assert_eq!(doubt_lines(&command("/nonexistent/x"), &capacity(20_000), &closed, u64::MAX).len(), 1);
        assert_eq!(doubt_lines(&command("/etc/passwd"), &capacity(20_000), &closed, u64::MAX).len(), 1);
        assert_eq!(doubt_lines(&command("/bin/sh"), &capacity(20_000), &closed, u64::MAX).len(), 0);
        assert_eq!(doubt_lines(&settings, &capacity(20_000), &closed, u64::MAX), Vec::<String>::new());
    }
}
