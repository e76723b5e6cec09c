//! Facts that chance meets too seldom: each a short run of one worker, laid out by hand.

mod abuse;
mod authorize;
mod classes;
mod conflation;
mod credentials;
mod ending;
mod forgetting;
mod lives;
mod lobby;
mod losses;
mod order;
mod patterns;
mod polls;
mod shaping;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use fanwheel::base::counters::{CloseReason, Count};
use fanwheel::base::id::{EventId, IdTag};
use fanwheel::base::limits::{LOOKS_PER_BATCH, MAIL_FRAMES_PER_TURN};
use fanwheel::base::listener::ListenerKind;
use fanwheel::base::settings::{Settings, SlowPolicy, UrlProfile};
use fanwheel::base::snapshot::Pages;
use fanwheel::base::survey::ConnectionsPage;
use fanwheel::base::time::Now;
use fanwheel::fanout::mail::MailboxReceiver;
use fanwheel::fanout::node::Node;
use fanwheel::fanout::worker::Worker;

use crate::net::{Got, Net, Window};

/// One worker on fake sockets.
struct Bench {
    node: Arc<Node>,
    worker: Worker,
    net: Net,
    now: Now,
}

const START: Now = Now { mono_ms: 1, mono_us: 1_000, wall_ms: 1_700_000_000_000 };

/// Public connections of a node.
const ROOM: usize = 1_000;

fn node(settings: Settings, workers: usize, room: usize) -> (Arc<Node>, Vec<MailboxReceiver>) {
    let start = EventId::start_of_run(START.wall_ms, IdTag::from_random(7));
    let connections = Box::new(|page: &ConnectionsPage| format!("{page:?}"));
    Node::new(settings, workers, room, Pages { connections, ..Pages::default() }, start, 7)
}

impl Bench {
    fn new(settings: Settings) -> Bench {
        Bench::with_room(settings, ROOM)
    }

    fn with_room(settings: Settings, room: usize) -> Bench {
        let now = START;
        let (node, mut inboxes) = node(settings, 1, room);
        let worker = Worker::new(Arc::clone(&node), 0, inboxes.remove(0), 7);
        let mut net = Net::new(1, 7);
        net.cuts = false;
        Bench { node, worker, net, now }
    }

    fn connect(&mut self, listener: ListenerKind, request: &[u8]) -> usize {
        self.connect_from(Ipv4Addr::LOCALHOST, listener, request)
    }

    fn connect_from(&mut self, from: Ipv4Addr, listener: ListenerKind, request: &[u8]) -> usize {
        self.try_connect(from, listener, request).expect("there is room")
    }

    /// A connection from an address, if there is room for it.
    fn try_connect(&mut self, from: Ipv4Addr, listener: ListenerKind, request: &[u8]) -> Option<usize> {
        let address = IpAddr::V4(from);
        let conn = self.net.connect(0, listener, address, Window::Large);
        let token = self.worker.open(self.now, listener, Some(address))?;
        self.net.opened(conn, token);
        self.net.send(conn, request);
        Some(conn)
    }

    fn turn(&mut self, ms: u64) {
        self.now = Now {
            mono_ms: self.now.mono_ms + ms,
            mono_us: (self.now.mono_ms + ms) * 1_000,
            wall_ms: self.now.wall_ms + ms,
        };
        for conn in self.net.open_on(0).collect::<Vec<_>>() {
            if let Some(token) = self.net.socks[conn].token.filter(|_| self.net.socks[conn].has_edge()) {
                let readiness = self.net.take_readiness(conn);
                self.worker.note_readiness(token, readiness);
            }
        }
        self.worker.turn(&mut self.net.port(0), self.now);
        self.net.closures.clear();
    }

    fn is_open(&self, conn: usize) -> bool {
        self.net.socks[conn].token.is_some()
    }

    /// Returns the bytes that have arrived at a peer.
    fn read(&mut self, conn: usize) -> String {
        let mut all = Vec::new();
        while let Got::Bytes(bytes) = self.net.read(conn, usize::MAX) {
            all.extend(bytes);
        }
        String::from_utf8(all).expect("streams are text")
    }

    /// Asserts that a stream is open, has told no gap, and has brought so many events since it was read.
    fn assert_brought(&mut self, conn: usize, events: usize) {
        let text = self.read(conn);
        assert!(self.is_open(conn), "ended after {text}");
        assert!(!text.contains("fanwheel.gap"), "a gap was told: {text}");
        assert_eq!(text.matches("id: ").count(), events, "{text}");
    }
}

/// A request that publishes so many events to the topic `t`.
fn batch(events: usize) -> Vec<u8> {
    batch_of(&"{\"topic\":\"t\",\"event\":\"e\",\"data\":\"x\"}\n".repeat(events))
}

/// A request that publishes these events, one a line.
fn batch_of(lines: &str) -> Vec<u8> {
    let head = "POST /publish/batch HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson";
    format!("{head}\r\nContent-Length: {}\r\n\r\n{lines}", lines.len()).into_bytes()
}

#[test]
fn a_stream_ends_by_age_on_a_worker_that_is_never_done() {
    let mut bench = Bench::new(Settings { max_connection_ms: 500, ..Settings::default() });
    let request = b"GET /events?topic=t HTTP/1.1\r\nHost: a\r\n\r\n";
    let streams: Vec<usize> = (0..8).map(|_| bench.connect(ListenerKind::Public, request)).collect();
    // Each round is more than a batch, and there is always a next one.
    let head = "POST /publish?topic=t HTTP/1.1\r\nHost: localhost\r\nContent-Length: 140000\r\n\r\n";
    let publish = [head.as_bytes(), &[b'x'; 140_000]].concat();
    let publisher = bench.connect(ListenerKind::Control, &publish);
    // The age differs by a tenth, and an end waits a second for what is on its way.
    for _ in 0..90 {
        bench.turn(20);
        bench.net.send(publisher, &publish);
        for conn in 0..bench.net.socks.len() {
            while matches!(bench.net.read(conn, usize::MAX), Got::Bytes(_)) {}
        }
    }
    let open = streams.iter().filter(|conn| bench.is_open(**conn)).count();
    assert_eq!(open, 0, "streams are open long after their time");
}

/// A crowd on one listener and one request on the other, which comes last: turns until it is answered.
fn turns_behind_a_crowd(crowd: (ListenerKind, &[u8]), one: (ListenerKind, &[u8])) -> usize {
    let mut bench = Bench::new(Settings::default());
    for _ in 0..900 {
        bench.connect(crowd.0, crowd.1);
    }
    let last = bench.connect(one.0, one.1);
    let answered = |bench: &mut Bench| {
        bench.turn(1);
        matches!(bench.net.read(last, usize::MAX), Got::Bytes(_))
    };
    (1..100).find(|_| answered(&mut bench)).expect("an answer")
}

#[test]
fn a_publisher_does_not_stand_behind_a_crowd_of_newcomers_nor_they_behind_publishers() {
    let subscribe: &[u8] = b"GET /events?topic=t HTTP/1.1\r\nHost: a\r\n\r\n";
    let publish: &[u8] = b"POST /publish?topic=t HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx";
    let (public, control) = ((ListenerKind::Public, subscribe), (ListenerKind::Control, publish));
    // The answer shares a batch with those of its turn at the latest in the next one.
    for (crowd, one) in [(public, control), (control, public)] {
        let turns = turns_behind_a_crowd(crowd, one);
        assert!(turns <= 2, "{:?} waited {turns} turns behind a crowd of {:?}", one.0, crowd.0);
    }
}

#[test]
fn a_newcomer_that_asks_for_little_does_not_stand_behind_those_that_ask_for_much() {
    let mut bench = Bench::new(Settings::default());
    let publisher = bench.connect(ListenerKind::Control, b"");
    let names: Vec<String> = (0..64).map(|nth| format!("\"t{nth}\"")).collect();
    let line = format!("{{\"topic\":[{}],\"data\":\"x\"}}\n", names.join(","));
    for _ in 0..40 {
        bench.net.send(publisher, &batch_of(&line.repeat(25)));
        bench.turn(1);
        bench.read(publisher);
    }
    let topics: Vec<String> = (0..64).map(|nth| format!("topic=t{nth}")).collect();
    let much = format!("GET /events?{}&last=1000 HTTP/1.1\r\nHost: a\r\n\r\n", topics.join("&"));
    let greedy: Vec<usize> = (0..50).map(|_| bench.connect(ListenerKind::Public, much.as_bytes())).collect();
    let little = bench.connect(ListenerKind::Public, b"GET /events?topic=u HTTP/1.1\r\nHost: a\r\n\r\n");
    let answered = |bench: &mut Bench| {
        bench.turn(1);
        !bench.read(little).is_empty()
    };
    let turns = (1..1_000).find(|_| answered(&mut bench)).expect("an answer");
    assert!(turns <= 3, "waited {turns} turns");
    // They come, too, one a turn.
    (0..60).for_each(|_| bench.turn(1));
    let begun = greedy.into_iter().filter(|conn| !bench.read(*conn).is_empty()).count();
    assert_eq!(begun, 50);
}

#[test]
fn whoever_has_missed_little_does_not_stand_behind_those_who_read_all_of_history() {
    let mut bench = Bench::new(Settings::default());
    let publisher = bench.connect(ListenerKind::Control, b"");
    let publish =
        b"POST /publish?topic=t HTTP/1.1\r\nHost: localhost\r\nContent-Length: 300\r\n\r\n".as_slice();
    for _ in 0..600 {
        bench.net.send(publisher, &[publish, &[b'x'; 300]].concat());
        bench.turn(1);
        while matches!(bench.net.read(publisher, usize::MAX), Got::Bytes(_)) {}
    }
    let resume = |missed: usize| format!("GET /events?topic=t&last={missed} HTTP/1.1\r\nHost: a\r\n\r\n");
    for _ in 0..300 {
        bench.connect(ListenerKind::Public, resume(600).as_bytes());
    }
    // Until they have begun: some forty megabytes are left to read, 256 KiB a turn.
    (0..20).for_each(|_| bench.turn(1));
    let last = bench.connect(ListenerKind::Public, resume(1).as_bytes());
    let answered = |bench: &mut Bench| {
        bench.turn(1);
        matches!(bench.net.read(last, usize::MAX), Got::Bytes(_))
    };
    let turns = (1..1_000).find(|_| answered(&mut bench)).expect("an answer");
    assert!(turns <= 3, "waited {turns} turns");
}

#[test]
fn a_publisher_that_outruns_the_worker_is_refused_before_those_who_return_are_passed_by() {
    // More than a mailbox holds: mail that is in it is not refused any more.
    let history = Settings { history_events: 8_000, history_topic_bytes_max: 1 << 24, ..Settings::default() };
    let mut bench = Bench::new(history);
    let lines =
        "{\"topic\":\"t\",\"data\":\"a hundred bytes or so of what happens all the time\"}\n".repeat(256);
    let publish = batch_of(&lines);
    let publisher = bench.connect(ListenerKind::Control, b"");
    let live = bench.connect(ListenerKind::Public, b"GET /events?topic=t HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut refused = 0;
    let mut flood = |bench: &mut Bench| {
        bench.net.send(publisher, &publish);
        bench.turn(1);
        for conn in 0..bench.net.socks.len() {
            while let Got::Bytes(bytes) = bench.net.read(conn, usize::MAX) {
                refused += usize::from(conn == publisher && bytes.starts_with(b"HTTP/1.1 503"));
            }
        }
    };
    (0..8).for_each(|_| flood(&mut bench));
    let resume = b"GET /events?topic=t&last=1000 HTTP/1.1\r\nHost: a\r\n\r\n";
    let returned: Vec<usize> = (0..10).map(|_| bench.connect(ListenerKind::Public, resume)).collect();
    (0..500).for_each(|_| flood(&mut bench));
    let passed_by = returned.iter().filter(|conn| !bench.is_open(**conn)).count();
    assert_eq!(passed_by, 0, "ended though they read all they got");
    assert_eq!(bench.worker.counters().get(Count::Gaps), 0, "passed by though they read all they got");
    assert!(bench.is_open(live) && refused > 0, "{refused} refusals");
}

#[test]
fn a_stream_with_a_heartbeat_to_send_misses_nothing_of_a_burst_that_history_does_not_keep() {
    for query in ["topic=t", "topic=t&topic=u&event=e"] {
        let settings = Settings { history_events: 3, heartbeat_ms: 1_000, ..Settings::default() };
        let mut bench = Bench::new(settings);
        let publisher = bench.connect(ListenerKind::Control, b"");
        let request = format!("GET /events?{query} HTTP/1.1\r\nHost: a\r\n\r\n");
        let stream = bench.connect(ListenerKind::Public, request.as_bytes());
        while bench.worker.counters().get(Count::Heartbeats) == 0 {
            bench.turn(20);
        }
        bench.net.send(publisher, &batch(300));
        (0..5).for_each(|_| bench.turn(1));
        bench.assert_brought(stream, 300);
    }
}

#[test]
fn a_stream_whose_end_has_no_bytes_is_closed_at_its_moment() {
    let profile = UrlProfile::BroadcastBenchmark;
    let mut bench = Bench::new(Settings { profile, max_connection_ms: 500, ..Settings::default() });
    let stream = bench.connect(ListenerKind::Public, b"GET /sse HTTP/1.0\r\n\r\n");
    (0..3).for_each(|_| bench.turn(1));
    assert!(bench.read(stream).ends_with(":ok\n\n"));
    (0..200).for_each(|_| bench.turn(10));
    assert!(!bench.is_open(stream), "it is open long after its time");
    assert_eq!(bench.worker.counters().get_closed(CloseReason::Life), 1);
}

#[test]
fn heartbeats_do_not_slow_a_publisher_down() {
    let mut bench = Bench::new(Settings { heartbeat_ms: 1_000, ..Settings::default() });
    let publisher = bench.connect(ListenerKind::Control, b"");
    let reader = bench.connect(ListenerKind::Public, b"GET /events?topic=t HTTP/1.1\r\nHost: a\r\n\r\n");
    let quiet = b"GET /events?topic=quiet HTTP/1.1\r\nHost: a\r\n\r\n";
    for _ in 0..900 {
        bench.connect(ListenerKind::Public, quiet);
    }
    (0..40).for_each(|_| bench.turn(1));
    bench.assert_brought(reader, 0);
    // All first heartbeats are due at once, and take many turns.
    bench.turn(1_100);
    bench.net.send(publisher, &batch(1_000));
    (0..5).for_each(|_| bench.turn(0));
    let left = bench.node.hub.mailbox(0).queued_frames();
    assert!(left <= 1_000 - 5 * MAIL_FRAMES_PER_TURN, "{left} events wait in the mailbox");
    (0..12).for_each(|_| bench.turn(0));
    bench.assert_brought(reader, 1_000);
}

#[test]
fn streams_with_a_filter_miss_nothing_of_a_burst_that_history_does_not_keep() {
    let mut bench = Bench::new(Settings { history_events: 50, ..Settings::default() });
    let publisher = bench.connect(ListenerKind::Control, b"");
    let request = b"GET /events?topic=t&event=e HTTP/1.1\r\nHost: a\r\n\r\n";
    let streams: Vec<usize> = (0..900).map(|_| bench.connect(ListenerKind::Public, request)).collect();
    (0..20).for_each(|_| bench.turn(1));
    streams.iter().for_each(|conn| bench.assert_brought(*conn, 0));
    // A round takes eight turns, so that more waits for the last of them than one send takes.
    bench.net.send(publisher, &batch(900));
    (0..200).for_each(|_| bench.turn(1));
    streams.iter().for_each(|conn| bench.assert_brought(*conn, 900));
}

#[test]
fn a_newcomer_whose_head_waits_behind_others_is_not_slow() {
    let mut bench = Bench::new(Settings { history_events: 20, ..Settings::default() });
    let head = "POST /publish?topic=t HTTP/1.1\r\nHost: localhost\r\nContent-Length: 16000\r\n\r\n";
    let publish = [head.as_bytes(), &[b'x'; 16_000]].concat();
    // Each by another publisher: their answers wait, too.
    let proceed = |bench: &mut Bench| {
        bench.connect(ListenerKind::Control, &publish);
        bench.turn(1);
    };
    (0..20).for_each(|_| proceed(&mut bench));
    // The first frames of all of them fill a batch.
    let resume = b"GET /events?topic=t&last=16 HTTP/1.1\r\nHost: a\r\n\r\n";
    let now = b"GET /events?topic=t HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut newcomers: Vec<usize> = (0..50).map(|_| bench.connect(ListenerKind::Public, resume)).collect();
    newcomers.push(bench.connect(ListenerKind::Public, now));
    (0..120).for_each(|_| proceed(&mut bench));
    for conn in newcomers {
        let text = bench.read(conn);
        assert!(bench.is_open(conn) && text.starts_with("HTTP/1.1 200"), "ended after {} bytes", text.len());
    }
    assert!(bench.worker.counters().get(Count::Gaps) > 0, "nobody was passed by");
    assert_eq!(bench.worker.counters().get(Count::Skipped), 0, "nobody was slow");
}

#[test]
fn a_stream_that_is_always_behind_ends_by_age() {
    let settings = Settings { max_connection_ms: 500, history_events: 100, ..Settings::default() };
    let mut bench = Bench::new(settings);
    let publisher = bench.connect(ListenerKind::Control, b"");
    let publish = b"POST /publish?topic=t HTTP/1.1\r\nHost: localhost\r\nContent-Length: 30\r\n\r\n";
    let publish = [publish.as_slice(), &[b'x'; 30]].concat();
    let slow = bench.connect(ListenerKind::Public, b"GET /events?topic=t HTTP/1.1\r\nHost: a\r\n\r\n");
    bench.net.set_window(slow, Window::Small);
    // The age differs by a tenth, and an end waits a second for what is on its way.
    for _ in 0..100 {
        bench.net.send(publisher, &publish);
        bench.turn(20);
        bench.read(publisher);
        // Half of the bytes that come, and never none.
        bench.net.read(slow, 40);
    }
    assert!(!bench.is_open(slow), "open long after its time");
    assert_eq!(bench.worker.counters().get_closed(CloseReason::Life), 1, "it took all it was sent");
}

#[test]
fn a_publisher_does_not_wait_for_the_large_events_that_others_begin_with() {
    let mut bench = Bench::new(Settings::default());
    let publisher = bench.connect(ListenerKind::Control, b"");
    let head = "POST /publish?topic=t HTTP/1.1\r\nHost: localhost\r\nContent-Length: 16000\r\n\r\n";
    let publish = [head.as_bytes(), &[b'x'; 16_000]].concat();
    let answer = |bench: &mut Bench| {
        bench.net.send(publisher, &publish);
        let answered = |bench: &mut Bench| {
            bench.turn(1);
            !bench.read(publisher).is_empty()
        };
        (1..1_000).find(|_| answered(bench)).expect("an answer")
    };
    (0..20).for_each(|_| assert!(answer(&mut bench) <= 2));
    let resume = b"GET /events?topic=t&last=20 HTTP/1.1\r\nHost: a\r\n\r\n";
    for _ in 0..100 {
        bench.connect(ListenerKind::Public, resume);
    }
    bench.turn(1);
    // A batch for each of them would be a hundred.
    let turns = answer(&mut bench);
    assert!(turns <= 25, "waited {turns} turns");
}

#[test]
fn a_turn_looks_at_no_more_streams_when_many_topics_wait() {
    let mut bench = Bench::new(Settings::default());
    let publisher = bench.connect(ListenerKind::Control, b"");
    let topics: Vec<String> = (0..60).map(|nth| format!("topic=t{nth}")).collect();
    let request = format!("GET /events?{}&event=other HTTP/1.1\r\nHost: a\r\n\r\n", topics.join("&"));
    for _ in 0..900 {
        bench.connect(ListenerKind::Public, request.as_bytes());
    }
    (0..40).for_each(|_| bench.turn(1));
    let events: String = (0..60).map(|nth| format!("{{\"topic\":\"t{nth}\",\"data\":\"x\"}}\n")).collect();
    let unfinished = |bench: &Bench| bench.worker.counters().exhausted();
    let before = unfinished(&bench);
    bench.net.send(publisher, &batch_of(&events));
    (0..40).for_each(|_| bench.turn(1));
    // Nobody wants anything of it, and all are looked at for each topic.
    let turns = unfinished(&bench) - before;
    assert!(turns as usize >= 900 * 60 / LOOKS_PER_BATCH, "all within {turns} turns");
}

#[test]
fn a_sleeping_worker_is_woken_before_the_publishing_one_serves_its_own_subscribers() {
    let mut bench = Bench::new(Settings::default());
    let (node, mut inboxes) = node(Settings::default(), 2, ROOM);
    bench.worker = Worker::new(Arc::clone(&node), 0, inboxes.remove(0), 7);
    let mut sleeper = Worker::new(node, 1, inboxes.remove(0), 7);
    bench.net = Net::new(2, 7);
    let subscribe = b"GET /events?topic=t HTTP/1.1\r\nHost: a\r\n\r\n";
    bench.connect(ListenerKind::Public, subscribe);
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let remote = bench.net.connect(1, ListenerKind::Public, address, Window::Large);
    let token = sleeper.open(bench.now, ListenerKind::Public, Some(address)).expect("there is room");
    bench.net.opened(remote, token);
    bench.net.send(remote, subscribe);
    (0..3).for_each(|_| {
        bench.turn(1);
        sleeper.turn(&mut bench.net.port(1), bench.now);
    });
    assert!(sleeper.fall_asleep(), "nothing waits for it");
    bench.net.woken = 0;
    bench.connect(ListenerKind::Control, &batch(1));
    bench.turn(1);
    assert_eq!(bench.net.woken_before_send, 1 << 1, "it sleeps while others are sent to");
}

#[test]
fn streams_that_name_all_topics_there_may_be_refuse_no_publisher_a_fresh_one() {
    let mut bench = Bench::new(Settings { topics_max: 1_000, ..Settings::default() });
    for stream in 0..16 {
        let topics: Vec<String> = (0..64).map(|nth| format!("topic=s{stream}-{nth}")).collect();
        let request = format!("GET /events?{} HTTP/1.1\r\nHost: a\r\n\r\n", topics.join("&"));
        bench.connect(ListenerKind::Public, request.as_bytes());
    }
    (0..3).for_each(|_| bench.turn(1));
    assert!(bench.node.hub.sizes().topics > 900, "{:?}", bench.node.hub.sizes());
    let lines: String = (0..900).map(|nth| format!("{{\"topic\":\"p{nth}\",\"data\":\"x\"}}\n")).collect();
    let publisher = bench.connect(ListenerKind::Control, &batch_of(&lines));
    (0..3).for_each(|_| bench.turn(1));
    assert!(bench.read(publisher).starts_with("HTTP/1.1 202"), "a publisher was refused");
}

#[test]
fn many_that_read_many_topics_at_once_get_all_although_each_read_is_cut_short() {
    let mut bench = Bench::new(Settings::default());
    let publisher = bench.connect(ListenerKind::Control, b"");
    // Others make most of what is kept, so that the journal is no shorter way.
    let line = |nth: usize| match nth % 4 {
        0 => format!("{{\"topic\":\"t{}\",\"data\":\"x\"}}\n", nth / 4 % 64),
        _ => "{\"topic\":\"other\",\"data\":\"x\"}\n".to_owned(),
    };
    for _ in 0..4 {
        bench.net.send(publisher, &batch_of(&(0..2_000).map(line).collect::<String>()));
        bench.turn(1);
    }
    let topics: Vec<String> = (0..64).map(|nth| format!("topic=t{nth}")).collect();
    let request = format!("GET /events?{}&last=1000 HTTP/1.1\r\nHost: a\r\n\r\n", topics.join("&"));
    let streams: Vec<usize> =
        (0..20).map(|_| bench.connect(ListenerKind::Public, request.as_bytes())).collect();
    let mut brought = vec![0; streams.len()];
    for _ in 0..1_000 {
        bench.turn(1);
        for (conn, brought) in streams.iter().zip(&mut brought) {
            *brought += bench.read(*conn).matches("id: ").count();
        }
    }
    assert_eq!(brought, vec![1_000; streams.len()]);
}

#[test]
fn a_stream_that_stays_although_it_takes_nothing_is_told_as_stalled_since_then() {
    let slow_policy = SlowPolicy::Skip;
    let settings = Settings { slow_policy, stall_ms: 2_000, heartbeat_ms: 1_000, ..Settings::default() };
    let mut bench = Bench::new(settings);
    let stall = |bench: &mut Bench, topic: &str| {
        let request = format!("GET /events?topic={topic} HTTP/1.1\r\nHost: a\r\n\r\n");
        let conn = bench.connect(ListenerKind::Public, request.as_bytes());
        bench.turn(20);
        bench.net.set_window(conn, Window::Tiny);
        let event = format!("{{\"topic\":\"{topic}\",\"data\":\"{}\"}}\n", "x".repeat(4_000));
        bench.connect(ListenerKind::Control, &batch_of(&event.repeat(20)));
        conn
    };
    let first = stall(&mut bench, "first");
    (0..150).for_each(|_| bench.turn(20));
    let second = stall(&mut bench, "second");
    // The first one has stood for its time twice and a little, the second once and longer.
    (0..175).for_each(|_| bench.turn(20));
    assert!(bench.is_open(first) && bench.is_open(second), "the policy keeps them");
    let page = b"GET /connections?sort=slow HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let asker = bench.connect(ListenerKind::Control, page);
    (0..5).for_each(|_| bench.turn(1));
    let page = bench.read(asker);
    let [first, second] = ["first", "second"].map(|topic| page.find(&format!("\"{topic}\"")));
    assert!(first.is_some() && first < second, "{page}");
}

#[test]
fn its_age_gives_a_stream_that_takes_nothing_no_more_time() {
    let settings = Settings { max_connection_ms: 500, stall_ms: 2_000, ..Settings::default() };
    let mut bench = Bench::new(settings);
    let full = bench.connect(ListenerKind::Public, b"GET /events?topic=t HTTP/1.1\r\nHost: a\r\n\r\n");
    bench.turn(20);
    bench.net.set_window(full, Window::Tiny);
    bench.connect(ListenerKind::Control, &batch(1));
    (0..120).for_each(|_| bench.turn(20));
    assert!(!bench.is_open(full), "its age has come in between");
    assert_eq!(bench.worker.counters().get_closed(CloseReason::SlowStalled), 1, "by stall_ms");
}

#[test]
fn a_filter_lets_a_position_run_ahead_and_the_next_heartbeat_tells_it_once() {
    let mut bench = Bench::new(Settings { history_events: 50, heartbeat_ms: 1_000, ..Settings::default() });
    let request = "GET /events?topic=t&event=mine&prime=1";
    let stream =
        bench.connect(ListenerKind::Public, format!("{request} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
    bench.turn(1);
    assert_eq!(bench.read(stream).matches("id: ").count(), 1, "with the greeting");
    bench.connect(ListenerKind::Control, &batch(200));
    (0..3).for_each(|_| bench.turn(1));
    assert_eq!(bench.read(stream), "", "its filter lets none through");
    (0..150).for_each(|_| bench.turn(20));
    let text = bench.read(stream);
    assert_eq!(text.matches("id: ").count(), 1, "told once: {text}");
    let (before, after) = text.split_once("id: ").expect("a position");
    assert!(!before.contains(":\n"), "before the heartbeat: {text}");
    assert!(after.matches("\r\n:\n").count() >= 2, "later heartbeats tell nothing: {text}");
    let id = after.split_once('\n').expect("a line").0;
    let resume = format!("{request}&last_event_id={id} HTTP/1.1\r\nHost: a\r\n\r\n");
    let stream = bench.connect(ListenerKind::Public, resume.as_bytes());
    (0..3).for_each(|_| bench.turn(1));
    bench.assert_brought(stream, 1);
}

#[test]
fn a_stream_that_ends_by_age_behind_a_filter_is_told_its_position_first() {
    let mut bench = Bench::new(Settings { max_connection_ms: 1_000, ..Settings::default() });
    let request = b"GET /events?topic=t&event=mine&prime=1 HTTP/1.1\r\nHost: a\r\n\r\n";
    let stream = bench.connect(ListenerKind::Public, request);
    bench.turn(1);
    bench.read(stream);
    bench.connect(ListenerKind::Control, &batch(3));
    (0..110).for_each(|_| bench.turn(20));
    let text = bench.read(stream);
    assert_eq!(text.matches("id: ").count(), 1, "{text}");
    assert!(text.find("id: ") < text.find("retry: ") && text.ends_with("0\r\n\r\n"), "{text}");
}

#[test]
fn events_of_other_topics_that_a_replay_passes_over_are_told_as_a_position() {
    let mut bench = Bench::new(Settings { heartbeat_ms: 1_000, ..Settings::default() });
    bench.connect(ListenerKind::Control, &batch(1));
    bench.turn(1);
    bench.connect(ListenerKind::Control, &batch_of("{\"topic\":\"other\",\"data\":\"x\"}\n"));
    bench.turn(1);
    let request = b"GET /events?topic=t&last=1&prime=1 HTTP/1.1\r\nHost: a\r\n\r\n";
    let stream = bench.connect(ListenerKind::Public, request);
    (0..3).for_each(|_| bench.turn(1));
    let ids =
        |text: &str| text.lines().filter_map(|line| line.strip_prefix("id: ")).map(str::to_owned).collect();
    let before: Vec<String> = ids(&bench.read(stream));
    assert_eq!(before.len(), 2, "its position and an event");
    (0..150).for_each(|_| bench.turn(20));
    let after: Vec<String> = ids(&bench.read(stream));
    assert_eq!(after, [bench.node.hub.lock().head().to_string()]);
    assert_ne!(after[0], before[1]);
}
