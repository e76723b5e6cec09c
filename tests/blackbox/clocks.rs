//! Clocks that jump or fail: ids go on rising, nothing expires and nobody is cut because the wall clock was
//! set; and a panic in one worker, which a failing clock plants from outside, ends the whole server. The
//! clocks are those of `odd_clock.c`.

use crate::harness::{
    Conn, Id, Launch, SOON, Server, Stream, accepted_id, ms, poll_until, preload, with_1_and_4_workers,
};
use std::net::Ipv4Addr;
use std::path::PathBuf;

const HOUR_S: i64 = 3_600;
const TEN_YEARS_S: i64 = 10 * 365 * 24 * HOUR_S;

/// The file through which the clocks of one server are set.
struct Clocks(PathBuf);

impl Clocks {
    /// A server with clocks that can be set; none where there is no compiler.
    fn of(name: &str, launch: Launch) -> Option<(Server, Clocks)> {
        let library = preload("odd_clock.c")?;
        let file = format!("clocks-{name}-{}", std::process::id());
        let clocks = Clocks(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(file));
        clocks.set(0, 0);
        let path = |path: &PathBuf| path.to_str().expect("a plain path").to_owned();
        let launch = launch.env("LD_PRELOAD", &path(&library)).env("ODD_CLOCK", &path(&clocks.0));
        Some((launch.start(), clocks))
    }

    /// The wall clock is off by so many seconds; the monotonic one fails once in a worker, counted from 1.
    fn set(&self, wall_off_s: i64, failing_worker: i64) {
        let bytes = [wall_off_s.to_ne_bytes(), failing_worker.to_ne_bytes()].concat();
        // Written over, not anew: the server has it mapped.
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(false).open(&self.0).expect("a file");
        std::io::Write::write_all(&mut file, &bytes).expect("written");
    }
}

#[test]
fn wall_clock_that_jumps_neither_breaks_order_nor_resume_nor_any_deadline() {
    with_1_and_4_workers(|workers| {
        let launch = Launch::workers(workers)
            .set("history_ms", 60_000)
            .set("heartbeat_ms", 30_000)
            .set("max_connection_ms", 60_000)
            .set("idempotency_ms", 60_000);
        let Some((server, clocks)) = Clocks::of(&format!("jump-{workers}"), launch) else { return };
        let mut live: Vec<Stream> = (0..4).map(|_| server.subscribe("topic=a&topic=b")).collect();
        let key = "Idempotency-Key: once\r\n";
        let mut ids = vec![accepted_id(&server.post("topic=a", key, "0"))];
        let mut data = vec!["0".to_owned()];
        for off_s in [HOUR_S, -HOUR_S, TEN_YEARS_S, 0, -TEN_YEARS_S, HOUR_S] {
            clocks.set(off_s, 0);
            data.push(off_s.to_string());
            ids.push(server.publish(["a", "b"][ids.len() % 2], off_s.to_string()));
            let before = &ids[ids.len() - 2];
            assert!(Id::parse(before) < Id::parse(&ids[ids.len() - 1]), "{ids:?}");
            assert_eq!(server.resume("topic=a&topic=b", before).event().data, off_s.to_string());
            let repeat = server.post("topic=a", key, "0");
            assert_eq!(accepted_id(&repeat), ids[0], "the key was forgotten at {off_s} s");
            // Long enough for the timers of a quarter of a second that expire what is kept.
            std::thread::sleep(ms(300));
            assert_eq!(server.get("/readyz").status, 200, "at {off_s} s");
        }
        // Events and nothing else: no heartbeat, no gap, no end.
        for stream in &mut live {
            assert_eq!(stream.data(data.len()), data);
            stream.assert_quiet(ms(50));
        }
        assert_eq!(server.resume("topic=a&topic=b", &ids[0]).data(data.len() - 1), data[1..]);
    });
}

#[test]
fn restart_with_the_clock_stepped_back_loses_nothing_in_silence() {
    let Some((server, clocks)) = Clocks::of("ahead", Launch::workers(2)) else { return };
    clocks.set(6, 0);
    let seen = server.publish("a", "seen");
    server.publish("a", "gone with its run");
    drop(server);
    let Some((server, clocks)) = Clocks::of("back", Launch::workers(2)) else { return };
    server.publish("a", "missed");
    clocks.set(10, 0);
    let later = server.publish("a", "later");
    assert!(Id::parse(&later) > Id::parse(&seen), "{later} follows {seen} by number alone");
    let mut stream = server.resume("topic=a", &seen);
    assert!(stream.any_event(SOON).is_gap(), "an id of another run was believed");
    assert_eq!(stream.data(2), ["missed", "later"]);
}

#[test]
fn lag_of_a_slow_subscriber_is_no_hour_because_the_clock_was_set() {
    let launch = Launch::workers(1).set("unsent_bytes_max", 4_096);
    let Some((server, clocks)) = Clocks::of("lag", launch) else { return };
    let conn = Conn::open_from(Ipv4Addr::LOCALHOST, server.public, 4_096).expect("loopback");
    let _slow = Stream::open(conn, "topic=a", "");
    server.publish_all("a", (0..60).map(|_| "x".repeat(8_000)));
    for off_s in [HOUR_S, -HOUR_S] {
        clocks.set(off_s, 0);
        let lag = || {
            let page = server.get("/connections?sort=lag&limit=1").json();
            page["connections"][0]["lag_ms"].as_u64().filter(|&lag_ms| lag_ms > 0)
        };
        let lag_ms = poll_until(SOON, lag).expect("a lag, whatever the clock says");
        assert!(lag_ms < 60_000, "{lag_ms} ms at {off_s} s");
    }
}

#[test]
fn panic_of_one_worker_ends_the_server_and_is_in_the_log() {
    let launch = Launch::workers(3);
    let Some((server, clocks)) = Clocks::of("panic", launch) else { return };
    let mut streams: Vec<Stream> = (0..9).map(|_| server.subscribe("topic=a")).collect();
    server.publish("a", "before");
    for stream in &mut streams {
        assert_eq!(stream.event().data, "before");
    }
    clocks.set(0, 2);
    let exit = server.exit(SOON).expect("it goes on with a worker less");
    assert!(!exit.success(), "{exit:?}");
    assert!(server.log().contains("event=panic"), "{}", server.log());
    for (nth, stream) in streams.iter_mut().enumerate() {
        assert!(stream.ends_within(SOON), "stream {nth} goes on");
    }
}
