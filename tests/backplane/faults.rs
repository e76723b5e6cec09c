//! Redis killed, frozen, emptied, full, read-only, locked; nodes frozen and cut off.

use std::time::{Duration, Instant};

use crate::harness::{Item, SOON, Server, Stream, ms, poll_until};
use crate::redis::{Redis, await_publish, await_reason, await_refusal};

/// Options with which nothing is lost.
const DURABLE: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

/// Reads until an event has this text. Returns the texts before it; a gap counts as `gap`.
fn read_to(stream: &mut Stream, last: &str) -> Vec<String> {
    let mut seen = Vec::new();
    loop {
        let event = stream.any_event(SOON);
        if event.is_gap() {
            seen.push("gap".to_owned());
        } else if event.data == last {
            return seen;
        } else {
            seen.push(event.data);
        }
    }
}

fn await_ready(node: &Server) {
    poll_until(SOON, || (node.get("/readyz").status == 200).then_some(())).expect("ready again");
}

#[test]
fn a_restart_with_its_data_loses_nothing_and_is_noticed_within_a_second() {
    let Some(mut redis) = Redis::start(&DURABLE) else { return };
    let nodes = [redis.node(2), redis.node(1)];
    let mut streams: Vec<Stream> = nodes.iter().map(|node| node.subscribe("topic=a")).collect();
    let mut accepted = Vec::new();
    for round in 0..2 {
        for nth in 0..50 {
            let body = format!("{round}.{nth}");
            if nodes[nth % 2].post("topic=a", "", &body).status == 202 {
                accepted.push(body);
            }
        }
        redis.kill();
        assert!(["backplane_away", "order_late"].contains(&await_refusal(&nodes[0]).as_str()));
        let refused = nodes[0].post("topic=a", "", "x");
        assert_eq!(refused.json()["error"], "backplane_away");
        assert!(refused.header("retry-after").is_some());
        assert_eq!(nodes[1].get("/healthz").status, 200);
        redis.rise();
        let back = Instant::now();
        let body = format!("{round}.back");
        await_publish(&nodes[0], "a", &body);
        assert!(back.elapsed() < ms(2_000), "{:?}", back.elapsed());
        accepted.push(body);
        nodes.iter().for_each(await_ready);
    }
    let last = accepted.pop().unwrap();
    for stream in &mut streams {
        assert_eq!(read_to(stream, &last), accepted);
    }
}

#[test]
fn an_emptied_redis_is_told_to_every_subscriber_also_when_nobody_publishes() {
    let Some(redis) = Redis::start(&[]) else { return };
    let nodes = [redis.node(1), redis.node(2)];
    let ids = nodes[0].publish_all("a", ["e0".to_owned(), "e1".to_owned()]);
    let mut streams: Vec<Stream> = nodes.iter().map(|node| node.resume("topic=a", &ids[0])).collect();
    streams.iter_mut().for_each(|stream| assert_eq!(stream.event().data, "e1"));
    redis.ask(&["FLUSHALL"]);
    for stream in &mut streams {
        let gap = stream.any_event(SOON);
        assert!(gap.is_gap(), "{gap:?}");
    }
    let id = await_publish(&nodes[1], "a", "e2");
    streams.iter_mut().for_each(|stream| assert_eq!(stream.event().data, "e2"));
    // Who was away hears of it, too; the fleet goes on with the same tag.
    let mut late = nodes[0].resume("topic=a", &ids[1]);
    assert!(late.any_event(SOON).is_gap());
    assert_eq!(late.event().id.as_ref(), Some(&id));
    nodes.iter().for_each(|node| assert_eq!(node.metrics().get("backplane_losses"), 1));
}

#[test]
fn a_redis_that_lost_everything_at_a_restart_is_told_as_a_gap() {
    let Some(mut redis) = Redis::start(&[]) else { return };
    let node = redis.node(1);
    node.publish("a", "e0");
    let mut stream = node.subscribe("topic=a");
    redis.kill();
    await_refusal(&node);
    redis.rise();
    await_publish(&node, "a", "e1");
    assert_eq!(read_to(&mut stream, "e1"), ["gap"]);
}

#[test]
fn a_frozen_redis_costs_publishers_a_bounded_wait_and_streams_nothing() {
    let Some(redis) = Redis::start(&[]) else { return };
    let node = redis.launch(1).set("heartbeat_ms", 500).start();
    let mut stream = node.subscribe("topic=a");
    redis.signal("STOP");
    let begun = Instant::now();
    let answer = node.post("topic=a", "", "lost or not");
    // It was on its way, or had to wait for a probe that was.
    let code = answer.json()["error"].as_str().unwrap().to_owned();
    assert!(answer.status == 503 && ["order_late", "backplane_away"].contains(&code.as_str()), "{code}");
    assert!(begun.elapsed() < ms(7_000), "{:?}", begun.elapsed());
    assert_eq!(await_refusal(&node), "backplane_away");
    let beats = |stream: &mut Stream| matches!(stream.next(SOON), Item::Comment(_));
    assert!(beats(&mut stream) && beats(&mut stream));
    await_reason(&node, "backplane_away");
    redis.signal("CONT");
    await_publish(&node, "a", "e1");
    assert!(["lost or not", "e1"].contains(&stream.event().data.as_str()), "nothing else");
    await_ready(&node);
}

#[test]
fn cut_connections_come_back_and_lose_nothing() {
    let Some(redis) = Redis::start(&[]) else { return };
    let nodes = [redis.node(1), redis.node(1)];
    let mut streams: Vec<Stream> = nodes.iter().map(|node| node.subscribe("topic=a")).collect();
    let mut accepted = Vec::new();
    for nth in 0..200 {
        if nth % 20 == 10 {
            redis.ask(&["CLIENT", "KILL", "TYPE", "normal"]);
        }
        let body = format!("e{nth}");
        let headers = format!("Idempotency-Key: k{nth}\r\n");
        let taken = poll_until(SOON, || {
            let answer = nodes[nth % 2].post("topic=a", &headers, &body);
            (answer.status == 202).then_some(())
        });
        taken.expect("taken at last");
        accepted.push(body);
    }
    let last = accepted.pop().unwrap();
    for stream in &mut streams {
        assert_eq!(read_to(stream, &last), accepted, "each once, though some were sent twice");
    }
}

#[test]
fn a_full_a_read_only_and_a_locked_redis_refuse_until_it_is_over() {
    let Some(redis) = Redis::start(&[]) else { return };
    let node = redis.node(1);
    let mut stream = node.subscribe("topic=a");
    let config = |name: &str, value: &str| redis.ask(&["CONFIG", "SET", name, value]);
    config("maxmemory", "1");
    assert_eq!(await_refusal(&node), "backplane_away");
    await_reason(&node, "OOM");
    config("maxmemory", "0");
    await_publish(&node, "a", "after OOM");

    redis.ask(&["REPLICAOF", "127.0.0.1", "1"]);
    await_refusal(&node);
    await_reason(&node, "READONLY");
    redis.ask(&["REPLICAOF", "NO", "ONE"]);
    await_publish(&node, "a", "after READONLY");

    config("requirepass", "geheim");
    redis.ask(&["-a", "geheim", "CLIENT", "KILL", "TYPE", "normal"]);
    await_refusal(&node);
    await_reason(&node, "NOAUTH");
    redis.ask(&["-a", "geheim", "CONFIG", "SET", "requirepass", ""]);
    await_publish(&node, "a", "after NOAUTH");
    assert_eq!(read_to(&mut stream, "after NOAUTH"), ["after OOM", "after READONLY"]);
}

#[test]
fn a_node_that_was_frozen_reads_what_it_missed_or_tells_a_gap() {
    let Some(redis) = Redis::start(&[]) else { return };
    let (node, frozen) = (redis.node(1), redis.node(2));
    let mut stream = frozen.subscribe("topic=a");
    frozen.signal("STOP");
    node.publish_all("a", (0..100).map(|nth| format!("e{nth}")));
    frozen.signal("CONT");
    let expected: Vec<String> = (0..99).map(|nth| format!("e{nth}")).collect();
    assert_eq!(read_to(&mut stream, "e99"), expected);

    frozen.signal("STOP");
    node.publish_all("a", (0..100).map(|nth| format!("f{nth}")));
    redis.ask(&["XTRIM", "{fanwheel}:stream", "MAXLEN", "0"]);
    node.publish("a", "after the hole");
    frozen.signal("CONT");
    // Redis may have answered a question of before the stop, and that with the first event alone.
    let seen = read_to(&mut stream, "after the hole");
    assert_eq!(seen.strip_prefix(&["f0".to_owned()]).unwrap_or(&seen), ["gap"]);
    await_ready(&frozen);
}

#[test]
fn a_script_that_redis_has_forgotten_is_sent_again() {
    let Some(redis) = Redis::start(&[]) else { return };
    let node = redis.node(1);
    node.publish("a", "e0");
    redis.ask(&["SCRIPT", "FLUSH"]);
    await_publish(&node, "a", "e1");
}

#[test]
fn the_stream_is_kept_within_the_bounds_of_history() {
    let Some(redis) = Redis::start(&[]) else { return };
    let bytes = 300_000;
    let node = redis
        .launch(1)
        .set("history_bytes_max", bytes)
        .set("history_topic_bytes_max", bytes)
        .set("publish_bytes_max", 10_000)
        .start();
    for nth in 0..300 {
        node.publish("a", format!("{nth:5000}"));
    }
    let used = || redis.ask(&["MEMORY", "USAGE", "{fanwheel}:stream"]).parse::<u64>().unwrap_or(u64::MAX);
    let bounded = poll_until(SOON, || (used() < bytes + bytes / 4).then_some(()));
    bounded.unwrap_or_else(|| panic!("{} bytes", used()));
    std::thread::sleep(Duration::from_millis(10));
    node.assert_healthy("trimmed");
}
