//! Where workers run: free by default, each on a processor of its own when asked.

use crate::harness::{Conn, Launch, Server, Stream};
use std::collections::BTreeMap;

/// The processors that each worker's thread may run on, as the kernel tells them.
fn placed(server: &Server) -> BTreeMap<String, String> {
    let threads = std::fs::read_dir(format!("/proc/{}/task", server.pid())).expect("it runs");
    let mut placed = BTreeMap::new();
    for thread in threads.flatten() {
        let status = std::fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_default().trim().to_owned()
        };
        placed.insert(field("Name:"), field("Cpus_allowed_list:"));
    }
    placed.retain(|name, _| name.starts_with("worker-"));
    placed
}

#[test]
fn pinned_workers_take_the_processors_in_turn_and_serve() {
    let free = placed(&Launch::workers(3).start());
    let processors = fanwheel::sys::process::processors().expect("the kernel tells");
    let server = Launch::workers(3).set("pin_workers", "on").start();
    let pinned = placed(&server);
    assert_eq!((free.len(), pinned.len()), (3, 3), "{free:?} {pinned:?}");
    for (worker, processor) in (0..3).zip(processors.iter().cycle()) {
        assert_eq!(pinned[&format!("worker-{worker}")], processor.to_string());
    }
    assert!(free.values().all(|list| processors.len() == 1 || list.contains(['-', ','])), "{free:?}");
    let open = || Stream::open(Conn::open(server.public), "topic=a", "");
    let mut streams: Vec<_> = (0..32).map(|_| open()).collect();
    server.publish("a", "x");
    streams.iter_mut().for_each(|stream| assert_eq!(stream.event().data, "x"));
}
