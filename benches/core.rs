//! The cost of the core without a kernel: parsing, encoding, the wheel, the hub, one broadcast over a fake
//! socket that takes everything. `make bench` runs it; compare ratios within one run, machines differ.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use fanwheel::base::id::{EventId, IdTag};
use fanwheel::base::listener::ListenerKind;
use fanwheel::base::settings::Settings;
use fanwheel::base::snapshot::Pages;
use fanwheel::base::survey::ConnectionTraffic;
use fanwheel::base::time::Now;
use fanwheel::fanout::hub::NewEvent;
use fanwheel::fanout::node::Node;
use fanwheel::fanout::seam::{CloseMode, Io, ReadResult, SendOp, SendResult};
use fanwheel::fanout::wheel::TimerWheel;
use fanwheel::fanout::worker::Worker;
use fanwheel::wire::frame::Draft;
use fanwheel::wire::head::{self, HeadLimits};
use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

const REQUEST: &[u8] =
    b"GET /events?topic=news HTTP/1.1\r\nHost: example.org\r\nAccept: text/event-stream\r\n\
    Cache-Control: no-cache\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept-Language: en\r\n\r\n";
const SUBSCRIBERS: u64 = 10_000;

/// A socket that has one request to read and takes whatever is sent.
struct Sink;

impl Io for Sink {
    fn send_all(&mut self, sends: &mut [SendOp<'_>]) {
        for send in sends {
            send.result = SendResult::Bytes(send.parts.iter().map(|part| part.len()).sum());
        }
    }
    fn mono_us(&mut self) -> u64 {
        0
    }
    fn read(&mut self, _slot: u32, into: &mut [u8]) -> ReadResult {
        into[..REQUEST.len()].copy_from_slice(REQUEST);
        ReadResult::Bytes(REQUEST.len())
    }
    fn acknowledge(&mut self, _slot: u32) {}
    fn expect_body(&mut self, _slot: u32) {}
    fn shutdown_write(&mut self, _slot: u32) {}
    fn peer_address(&mut self, _slot: u32) -> Option<SocketAddr> {
        None
    }
    fn traffic(&mut self, _slot: u32) -> Option<ConnectionTraffic> {
        None
    }
    fn wake(&mut self, _mask: u64) {}
    fn close(&mut self, _slot: u32, _how: CloseMode) {}
}

fn at(mono_ms: u64) -> Now {
    Now { mono_ms, mono_us: mono_ms * 1_000, wall_ms: 1_700_000_000_000 + mono_ms }
}

fn start() -> EventId {
    EventId::start_of_run(at(0).wall_ms, IdTag::from_random(7))
}

/// A worker with subscribers of one topic, all of them live.
fn audience() -> (Arc<Node>, Worker) {
    let pages = Pages::default();
    let (node, mut inboxes) = Node::new(Settings::default(), 1, 1 << 20, pages, start(), 7);
    let mut worker = Worker::new(Arc::clone(&node), 0, inboxes.remove(0), 7);
    for _ in 0..SUBSCRIBERS {
        worker.open(at(1), ListenerKind::Public, None).expect("there is room");
    }
    while worker.turn(&mut Sink, at(1)).more {}
    assert_eq!(node.totals().subscribers_open, SUBSCRIBERS);
    (node, worker)
}

fn post() -> Vec<NewEvent> {
    vec![NewEvent { topics: vec!["news".into()], draft: Draft::new(None, None, &"x".repeat(64), None) }]
}

fn wire(c: &mut Criterion) {
    let limits = HeadLimits { bytes_max: 8_192, headers_max: 64 };
    c.bench_function("parse a browser's head", |b| {
        b.iter(|| matches!(head::parse(black_box(REQUEST), limits), head::ParsedHead::Head(..)));
    });
    let data = "x".repeat(64);
    c.bench_function("encode 64 bytes and seal", |b| {
        b.iter(|| Draft::new(None, None, black_box(&data), None).seal(EventId::at_ms(1_700_000_000_000)));
    });
}

fn wheel(c: &mut Criterion) {
    let mut wheel = TimerWheel::new(0);
    let mut tick = 0;
    for slot in 0..100_000 {
        wheel.arm(slot, slot % 469);
    }
    let mut due = Vec::new();
    c.bench_function("expire and arm again, 100 000 timers, a tick", |b| {
        b.iter(|| {
            tick += 1;
            wheel.expire(tick, usize::MAX, &mut due);
            due.drain(..).for_each(|slot| wheel.arm(slot, tick + 469));
        });
    });
}

fn fan_out(c: &mut Criterion) {
    let (node, mut worker) = audience();
    let mut ms = 1;
    let mut group = c.benchmark_group("broadcast");
    group.throughput(Throughput::Elements(SUBSCRIBERS));
    group.bench_function("10 000 subscribers, no kernel", |b| {
        b.iter(|| {
            ms += 1;
            node.hub.publish_at_once(post(), None, at(ms)).expect("there is room");
            // The clock stands, so no heartbeat falls into the measurement.
            while worker.turn(&mut Sink, at(2)).more {}
        });
    });
    group.finish();
    c.bench_function("hub publish, nobody listens", |b| {
        let pages = Pages::default();
        let (node, _inboxes) = Node::new(Settings::default(), 1, 1, pages, start(), 7);
        b.iter_batched(post, |post| node.hub.publish_at_once(post, None, at(1)), BatchSize::SmallInput);
    });
}

criterion_group! {
    name = benches;
    // The scenarios come after these, and all of `make bench` is to end within five minutes.
    config = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3));
    targets = wire, wheel, fan_out
}
criterion_main!(benches);
