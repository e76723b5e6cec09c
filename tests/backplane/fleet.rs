//! A healthy fleet: one order, one history, one set of keys.

use std::path::PathBuf;

use crate::harness::{Id, SOON, ms, poll_until, preload};
use crate::redis::{Redis, await_publish};

#[test]
fn all_nodes_bring_the_same_events_in_the_same_order() {
    let Some(redis) = Redis::start(&[]) else { return };
    let nodes = [redis.node(1), redis.node(4)];
    let mut streams: Vec<_> = nodes.iter().map(|node| node.subscribe("topic=a&topic=b")).collect();
    std::thread::scope(|scope| {
        for (at, node) in nodes.iter().enumerate() {
            scope.spawn(move || {
                for nth in 0..100 {
                    node.publish(if nth % 3 == 0 { "b" } else { "a" }, format!("{at}.{nth}"));
                }
            });
        }
    });
    let batch = "{\"topic\":\"a\",\"data\":\"x\\ny\",\"event\":\"likes\",\"key\":\"k\"}\n\
                 {\"topic\":[\"a\",\"b\"],\"data\":{\"n\":1},\"retry\":7000}\n";
    let mut conn = nodes[0].connect_control();
    let head = format!("POST /publish/batch HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n", batch.len());
    let host = format!("{head}Content-Type: application/x-ndjson\r\n\r\n{batch}")
        .replace("Host: x", "Host: localhost");
    let answer = conn.ask(host);
    assert_eq!((answer.status, answer.json()["events"].as_u64()), (202, Some(2)), "{}", answer.text());
    let seen: Vec<Vec<_>> = streams
        .iter_mut()
        .map(|stream| {
            (0..202).map(|_| stream.event()).map(|event| (event.id, event.name, event.data)).collect()
        })
        .collect();
    assert_eq!(seen[0], seen[1]);
    for at in 0..2 {
        let own = |data: &&str| data.starts_with(&format!("{at}."));
        let sent: Vec<String> = (0..100).map(|nth| format!("{at}.{nth}")).collect();
        assert_eq!(seen[0].iter().map(|(_, _, data)| data.as_str()).filter(own).collect::<Vec<_>>(), sent);
    }
    let (_, name, data) = &seen[0][200];
    assert_eq!((name.as_deref(), data.as_str()), (Some("likes"), "x\ny"));
    assert_eq!(seen[0][201].0.as_deref(), answer.json()["id"].as_str(), "the batch's id is its last event's");
    let ids: Vec<Id> = seen[0].iter().map(|(id, _, _)| Id::parse(id.as_ref().unwrap())).collect();
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
}

#[test]
fn a_client_resumes_on_another_node_and_on_one_that_begins_later() {
    let Some(redis) = Redis::start(&[]) else { return };
    let first = redis.node(2);
    let ids = first.publish_all("a", (0..20).map(|nth| format!("e{nth}")));
    let second = redis.node(1);
    for node in [&first, &second] {
        let mut stream = node.resume("topic=a", &ids[4]);
        let events: Vec<_> = (5..20).map(|_| stream.event()).collect();
        let expected: Vec<_> = (5..20).map(|nth| (Some(ids[nth].clone()), format!("e{nth}"))).collect();
        assert_eq!(events.into_iter().map(|event| (event.id, event.data)).collect::<Vec<_>>(), expected);
        stream.assert_quiet(ms(50));
    }
    // Killed: another one takes its place, and knows what it knew.
    first.kill();
    let third = redis.node(1);
    let id = third.publish("a", "later");
    let mut stream = second.resume("topic=a", &ids[19]);
    assert_eq!(stream.event().id, Some(id));
    assert_eq!(third.resume("topic=a", &ids[18]).data(2), ["e19", "later"]);
}

#[test]
fn a_key_stands_for_one_publish_at_every_node() {
    let Some(redis) = Redis::start(&[]) else { return };
    let nodes = [redis.node(1), redis.node(2)];
    let mut stream = nodes[1].subscribe("topic=a");
    let post = |at: usize, body: &str| nodes[at].post("topic=a", "Idempotency-Key: one\r\n", body);
    let first = post(0, "x");
    assert_eq!(first.status, 202);
    for at in [1, 0, 1] {
        assert_eq!(post(at, "x").json()["id"], first.json()["id"], "node {at}");
        let reused = post(at, "y");
        assert_eq!((reused.status, reused.json()["error"].as_str()), (422, Some("idempotency_key_reused")));
    }
    assert_eq!(stream.event().data, "x");
    stream.assert_quiet(ms(100));
    // A node that begins later has never heard of the key.
    let later = redis.node(1).post("topic=a", "Idempotency-Key: one\r\n", "x");
    assert_eq!(later.json()["id"], first.json()["id"]);
    assert_eq!(stream.try_event(ms(100)), None);
}

#[test]
fn each_node_shows_all_nodes() {
    let Some(redis) = Redis::start(&[]) else { return };
    let nodes = [redis.node(1), redis.node(1)];
    let _stream = nodes[0].subscribe("topic=a");
    let status = |at: usize| nodes[at].get("/status").json();
    let all = poll_until(SOON, || {
        let page = status(1);
        let rows = page["nodes"].as_array()?;
        (rows.len() == 2 && rows.iter().any(|row| row["subscribers"] == 1)).then_some(page)
    });
    let page = all.expect("both are heard of");
    let rows = page["nodes"].as_array().unwrap();
    assert_eq!(rows.iter().filter(|row| row["self"] == true).count(), 1);
    assert_eq!((page["backplane"]["up"].as_bool(), page["ready"]["ok"].as_bool()), (Some(true), Some(true)));
    assert_eq!(nodes[0].metrics().get("backplane_up"), 1);
    nodes[1].kill();
    await_publish(&nodes[0], "a", "goes on");
}

#[test]
fn nodes_whose_clocks_are_an_hour_off_keep_the_order_and_take_each_other_s_clients() {
    let (Some(redis), Some(library)) = (Redis::start(&[]), preload("odd_clock.c")) else { return };
    let nodes = [-3_600_i64, 0, 3_600].map(|wall_off_s| {
        let file =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("odd-clock-{}-{wall_off_s}", redis.port));
        std::fs::write(&file, [wall_off_s.to_ne_bytes(), [0; 8]].concat()).unwrap();
        let launch = redis.launch(1).env("ODD_CLOCK", &file.display().to_string());
        launch.env("LD_PRELOAD", &library.display().to_string()).start()
    });
    let mut streams = nodes.each_ref().map(|node| node.subscribe("topic=a"));
    let ids: Vec<String> = (0..12).map(|nth| nodes[nth % 3].publish("a", format!("e{nth}"))).collect();
    let order: Vec<Id> = ids.iter().map(|id| Id::parse(id)).collect();
    assert!(order.windows(2).all(|pair| pair[0] < pair[1]), "{ids:?}");
    for (stream, node) in streams.iter_mut().zip(&nodes) {
        for (nth, id) in ids.iter().enumerate() {
            let event = stream.any_event(SOON);
            assert_eq!((event.id.as_ref(), event.data), (Some(id), format!("e{nth}")));
        }
        let mut resumed = node.resume("topic=a", &ids[4]);
        for id in &ids[5..] {
            assert_eq!(resumed.any_event(SOON).id.as_ref(), Some(id), "nothing is too old or unknown");
        }
    }
}
