//! A stream's life in time: heartbeats, and the longest life with its clean end.

use crate::harness::{Finish, Item, Launch, SOON, Stream, ms, with_1_and_4_workers};
use std::time::Instant;

#[test]
fn idle_stream_gets_a_comment_line_without_a_blank_line() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).set("heartbeat_ms", 200).start();
        let mut stream = server.subscribe("topic=a");
        let mut bare = server.connect();
        bare.send("GET /events?topic=a HTTP/1.0\r\n\r\n");
        let mut bare = Stream::from(bare);
        bare.greeting();
        for _ in 0..4 {
            assert_eq!(stream.next(SOON), Item::Comment(String::new()));
            assert_eq!(bare.next(SOON), Item::Comment(String::new()));
        }
        let deadline = Instant::now() + SOON;
        let raw = stream.conn().take(6, deadline).expect("a heartbeat");
        assert_eq!(raw, b"2\r\n:\n\r\n".get(..6).expect("longer").to_vec());
    });
}

#[test]
fn heartbeats_come_at_their_period_and_only_to_idle_streams() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).set("heartbeat_ms", 800).start();
        let mut idle = server.subscribe("topic=idle");
        let mut busy = server.subscribe("topic=busy");
        let (start, mut published) = (Instant::now(), Instant::now());
        let mut comments = 0;
        while start.elapsed() < ms(3_600) || (comments < 3 && start.elapsed() < ms(20_000)) {
            // A machine that stops for long makes the busy stream an idle one: then nothing is proved.
            let on_time = published.elapsed() < ms(300);
            server.publish("busy", "x");
            while let Some(item) = busy.try_next(ms(40)) {
                assert!(!on_time || !matches!(item, Item::Comment(_)), "a heartbeat on a busy stream");
            }
            published = Instant::now();
            while let Some(item) = idle.try_next(ms(1)) {
                assert_eq!(item, Item::Comment(String::new()));
                comments += 1;
            }
        }
        let most = start.elapsed().as_millis() / 800 + 2;
        assert!((3..=most).contains(&comments), "{comments} heartbeats in {:?}", start.elapsed());
    });
}

#[test]
fn heartbeats_of_many_streams_are_spread_over_the_period() {
    let server = Launch::workers(1).set("heartbeat_ms", 1_000).start();
    let mut streams: Vec<Stream> = (0..40).map(|_| server.subscribe("topic=a")).collect();
    let start = Instant::now();
    let mut first = Vec::new();
    std::thread::scope(|scope| {
        let wait = |stream: &mut Stream| {
            stream.next(SOON);
            start.elapsed().as_millis() as u64
        };
        let threads: Vec<_> = streams.iter_mut().map(|stream| scope.spawn(move || wait(stream))).collect();
        first.extend(threads.into_iter().map(|thread| thread.join().expect("a heartbeat")));
    });
    first.sort_unstable();
    let spread = first[first.len() - 1] - first[0];
    assert!(spread > 150, "all 40 first heartbeats within {spread} ms");
}

#[test]
fn longest_life_ends_a_stream_after_a_whole_frame_with_a_retry_line() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).set("max_connection_ms", 1_500).set("retry_ms", 1_000).start();
        let start = Instant::now();
        let mut streams: Vec<Stream> = (0..6).map(|_| server.subscribe("topic=a")).collect();
        let mut bare = server.connect();
        bare.send("GET /events?topic=a HTTP/1.0\r\n\r\n");
        let mut bare = Stream::from(bare);
        bare.greeting();
        streams.push(bare);
        server.publish("a", "x");
        for stream in &mut streams {
            let (items, finish) = stream.read_to_end(SOON);
            assert_eq!(finish, Finish::Clean);
            assert!(matches!(&items[0], Item::Event(event) if event.data == "x"), "{items:?}");
            let Some(Item::Retry(retry)) = items.last() else { panic!("no retry line last: {items:?}") };
            assert!((800..=1_200).contains(retry), "{retry} is not 1000 ± 20 %");
        }
        let lived = start.elapsed();
        assert!(lived >= ms(1_300) && lived < ms(8_000), "lived {lived:?} instead of 1.5 s ± 10 %");
        server.await_metric("counted", SOON, |m| m.labelled("closed", "life") == 7);
    });
}

#[test]
fn stream_cut_by_its_longest_life_resumes_without_loss() {
    let server = Launch::workers(2).set("max_connection_ms", 300).start();
    std::thread::scope(|scope| {
        let mut stream = server.subscribe("topic=a");
        server.publish("a", "0");
        scope.spawn(|| {
            for n in 1..60 {
                server.publish("a", n.to_string());
                std::thread::sleep(ms(20));
            }
        });
        let (mut received, mut lives) = (Vec::new(), 1);
        while received.len() < 60 {
            match stream.try_event(SOON) {
                Some(event) => received.push(event.data),
                None => {
                    stream = match stream.newest() {
                        Some(id) => server.resume("topic=a", &id),
                        None => server.subscribe("topic=a&last=100"),
                    };
                    lives += 1;
                }
            }
        }
        assert_eq!(received, (0..60).map(|n| n.to_string()).collect::<Vec<_>>());
        assert!(lives > 2, "only {lives} lives");
    });
}
