//! One increasing order for the whole node: several topics, several publishers, several workers.

use crate::harness::{Id, Launch, with_1_and_4_workers};

#[test]
fn four_publishers_and_six_subscribers_see_one_order() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let mut streams: Vec<_> = (0..6).map(|_| server.subscribe("topic=a")).collect();
        std::thread::scope(|scope| {
            for publisher in 0..4 {
                let server = &server;
                scope.spawn(move || server.publish_all("a", (0..50).map(|n| format!("{publisher}:{n}"))));
            }
        });
        let first = streams[0].data(200);
        for stream in &mut streams[1..] {
            assert_eq!(stream.data(200), first, "two subscribers saw different orders");
        }
        for publisher in 0..4 {
            let own: Vec<&String> =
                first.iter().filter(|d| d.starts_with(&format!("{publisher}:"))).collect();
            let expected: Vec<String> = (0..50).map(|n| format!("{publisher}:{n}")).collect();
            assert_eq!(own, expected.iter().collect::<Vec<_>>(), "a publisher's own order");
        }
    });
}

#[test]
fn several_topics_are_merged_in_id_order_live_and_replayed() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let query = "topic=a&topic=b&topic=c";
        let mut live = server.subscribe(query);
        let start = server.publish("a", "start");
        std::thread::scope(|scope| {
            for topic in ["a", "b", "c"] {
                let server = &server;
                scope.spawn(move || server.publish_all(topic, (0..60).map(|n| format!("{topic}{n}"))));
            }
        });
        assert_eq!(live.event().data, "start");
        let seen = live.data(180);
        let mut replayed = server.resume(query, &start);
        assert_eq!(replayed.data(180), seen, "replay and live differ");
        let mut newest = server.subscribe("topic=a&topic=b&topic=c&last=5");
        let newest = newest.data(5);
        let mut at = 0;
        for data in &newest {
            let found = seen[at..].iter().position(|have| have == data);
            at += found.unwrap_or_else(|| panic!("{data} out of order in {newest:?}")) + 1;
        }
        assert_eq!(newest.last(), seen.last(), "the newest event ends the replay");
    });
}

#[test]
fn ids_answered_to_a_publisher_rise_over_all_topics_and_connections() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let mut last = Id(0, 0);
        for n in 0..60 {
            let id = Id::parse(&server.publish(&format!("topic {}", n % 7), "x"));
            assert!(id > last, "{id:?} after {last:?}");
            last = id;
        }
    });
}

#[test]
fn subscribers_that_join_during_a_burst_see_a_hole_free_suffix() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let first = server.publish("a", "0");
        std::thread::scope(|scope| {
            scope.spawn(|| server.publish_all("a", (1..=300).map(|n| n.to_string())));
            for round in 0..12 {
                let (server, first) = (&server, &first);
                scope.spawn(move || {
                    let resumed = round % 2 == 0;
                    let mut stream = if resumed {
                        server.resume("topic=a", first)
                    } else {
                        server.subscribe("topic=a&last=2")
                    };
                    let mut next: u64 = stream.event().data.parse().expect("a number");
                    assert!(!resumed || next == 1, "the history begins with a hole");
                    while next < 300 {
                        next += 1;
                        assert_eq!(stream.event().data, next.to_string(), "history and live stream meet");
                    }
                });
            }
        });
    });
}
