//! Snapshots: a stream begins with the newest event of each key, is told where this state ends, and then gets
//! each change once.

use crate::harness::{Item, Launch, SOON, Server, Stream, program, with_1_and_4_workers};
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

fn publish(server: &Server, key: &str, data: impl std::fmt::Display) {
    let answer = server.post(&format!("topic=p&key={key}"), "", format!("{key}={data}"));
    assert_eq!(answer.status, 202, "{}", answer.text());
}

/// Payloads up to the end of the snapshot, and the data of that.
fn state(stream: &mut Stream) -> (Vec<String>, String) {
    let mut state = Vec::new();
    loop {
        match stream.next(SOON) {
            Item::Event(event) if event.name.as_deref() == Some("fanwheel.snapshot-end") => {
                assert_eq!(event.id, None, "the end has no id");
                return (state, event.data);
            }
            Item::Event(event) => state.push(event.data),
            _ => {}
        }
    }
}

#[test]
fn the_state_comes_first_then_changes_and_after_an_id_all_that_was_missed() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        for (key, data) in [("a", 1), ("b", 1), ("a", 2), ("c", 1), ("b", 2)] {
            publish(&server, key, data);
        }
        let mut stream = server.subscribe("topic=p&topic=quiet&snapshot=1");
        let (brought, end) = state(&mut stream);
        assert_eq!(brought, ["a=2", "c=1", "b=2"]);
        assert_eq!(end, "{\"topics\":2,\"events\":3}");
        publish(&server, "a", 3);
        publish(&server, "a", 4);
        assert_eq!(stream.data(2), ["a=3", "a=4"]);
        let last = stream.newest().expect("an id");
        let (changed, _) = state(&mut server.subscribe("topic=p&snapshot=1&last=2"));
        assert_eq!(changed, ["c=1", "b=2"], "the others come as changes");
        (5..8).for_each(|n| publish(&server, "a", n));
        let (missed, _) = state(&mut server.resume("topic=p&snapshot=1", &last));
        assert_eq!(missed, ["a=5", "a=6", "a=7"], "a client that knows its place misses nothing");
    });
}

#[test]
fn state_and_changes_agree_with_all_events_while_publishers_go_on() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        (0..400).for_each(|n| publish(&server, &format!("k{}", n % 50), n));
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let publisher = scope.spawn(|| {
                let publish_next = |n: u64| publish(&server, &format!("k{}", n * 7 % 60), n);
                (400..700).take_while(|_| !done.load(Ordering::Relaxed)).for_each(publish_next);
            });
            for _ in 0..10 {
                let mut stream = server.subscribe("topic=p&snapshot=1");
                let mut keys = BTreeMap::new();
                let (brought, _) = state(&mut stream);
                for data in brought.into_iter().chain(stream.data(5)) {
                    let (key, n) = data.split_once('=').expect("a key");
                    let n: u64 = n.parse().expect("a number");
                    let before = keys.insert(key.to_owned(), n);
                    assert!(before.is_none_or(|before| before < n), "{key} goes back");
                }
                assert!(keys.len() >= 50, "{keys:?}");
            }
            done.store(true, Ordering::Relaxed);
            publisher.join().expect("it publishes");
        });
    });
}

#[test]
fn the_client_prints_state_and_changes() {
    let server = Launch::workers(1).start();
    [("a", 1), ("b", 1), ("a", 2)].into_iter().for_each(|(key, data)| publish(&server, key, data));
    let mut command = Command::new(program());
    command.args(["subscribe", "--url", &format!("http://{}", server.public), "--snapshot", "--raw"]);
    let output = command.args(["--count", "2", "p"]).output().expect("it runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "b=1\na=2\n");
    let poll =
        ["subscribe", "--url", &format!("http://{}", server.public), "--wait-ms", "500", "--last", "2"];
    let output = Command::new(program()).args(poll).args(["--raw", "--count", "2", "p"]).output();
    assert_eq!(String::from_utf8_lossy(&output.expect("it runs").stdout), "b=1\na=2\n");
}
