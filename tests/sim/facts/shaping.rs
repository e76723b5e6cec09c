//! Seeded runs of rates, throttles and arrays: what one stream may and must have been sent, beside what was
//! published.

use std::collections::HashMap;

use fanwheel::base::class::ClassSettings;
use fanwheel::base::listener::ListenerKind;
use fanwheel::base::prng::Prng;
use fanwheel::base::settings::{BatchForm, RatePolicy, Settings};
use serde_json::Value;

use super::classes::class_of;
use super::{Bench, batch_of};
use crate::net::Window;
use crate::setup::{one_in, pick};

/// Runs of each kind.
const RUNS: u64 = 40;

/// A bench whose topic `t` is of a class with these values, and keeps all that a run publishes.
fn bench_of(edit: impl FnOnce(&mut ClassSettings)) -> Bench {
    let class = class_of("t", |class| {
        class.history_events = 100_000;
        edit(class);
    });
    Bench::new(Settings { classes: vec![class], stall_ms: 3_600_000, ..Settings::default() })
}

/// Opens a stream whose bytes come bare.
fn subscribe(bench: &mut Bench, query: &str) -> usize {
    let request = format!("GET /events?{query} HTTP/1.0\r\nHost: a\r\n\r\n");
    bench.connect(ListenerKind::Public, request.as_bytes())
}

/// An event, or a gap, as a client reads it.
#[derive(Debug, Default)]
struct Block {
    id: String,
    name: String,
    data: String,
}

/// Splits whole blocks off what a stream has brought. The head and comments are none.
fn take_blocks(text: &mut String) -> Vec<Block> {
    let mut blocks = Vec::new();
    while let Some(end) = text.find("\n\n") {
        let block: String = text.drain(..end + 2).collect();
        let field = |name: &str| {
            let values = block.lines().filter_map(|line| line.strip_prefix(name));
            values.collect::<Vec<&str>>().join("\n")
        };
        if block.contains("data:") {
            blocks.push(Block { id: field("id: "), name: field("event: "), data: field("data: ") });
        }
    }
    blocks
}

/// Changes what a socket takes, now and then.
fn shake(bench: &mut Bench, stream: usize, prng: &mut Prng) {
    if one_in(prng, 15) {
        bench
            .net
            .set_window(stream, pick(prng, &[Window::Tiny, Window::Small, Window::Large, Window::Large]));
    }
}

/// A rate, what was published under it, and what a stream has brought.
struct RatedRun {
    policy: RatePolicy,
    per_second: u64,
    burst: u64,
    /// The socket took everything at once.
    is_prompt: bool,
    /// Key and moment of each event; its number is its data.
    published: Vec<(Option<u64>, u64)>,
    /// Number and moment of each that was sent.
    sent: Vec<(usize, u64)>,
    /// Numbers of events sent before each gap.
    gaps: Vec<usize>,
    begun_ms: u64,
}

impl RatedRun {
    fn of_seed(seed: u64) -> RatedRun {
        let mut prng = Prng::new(seed);
        let policy = pick(&mut prng, &[RatePolicy::Delay, RatePolicy::Latest, RatePolicy::Drop]);
        let (per_second, burst) = (pick(&mut prng, &[2, 10, 40]), pick(&mut prng, &[1, 3, 20]));
        let bytes = pick(&mut prng, &[0, 0, 2_000]);
        let mut bench = bench_of(|class| {
            let rate = &mut class.stream_rate;
            (rate.events_per_second, rate.burst, rate.policy) = (per_second, burst, policy);
            rate.bytes_per_second = bytes;
        });
        let stream = subscribe(&mut bench, pick(&mut prng, &["topic=t", "topic=t&event=message"]));
        let mut run = RatedRun {
            policy,
            per_second,
            burst,
            is_prompt: one_in(&mut prng, 2),
            published: Vec::new(),
            sent: Vec::new(),
            gaps: Vec::new(),
            begun_ms: bench.now.mono_ms,
        };
        (0..3).for_each(|_| bench.turn(1));
        let mut text = String::new();
        for _ in 0..150 {
            if one_in(&mut prng, 3) {
                run.publish(&mut bench, &mut prng);
            }
            if !run.is_prompt {
                shake(&mut bench, stream, &mut prng);
            }
            bench.turn(pick(&mut prng, &[1, 20, 100]));
            run.read(&mut bench, stream, &mut text);
        }
        bench.net.set_window(stream, Window::Large);
        // One event of a burst of one comes in a turn.
        let turns_max = 400 + run.published.len() as u64 * (1_000 / per_second) / 20;
        let newest = run.published.len() - 1;
        for _ in 0..turns_max {
            if run.sent.last().is_some_and(|(number, _)| *number == newest) {
                break;
            }
            bench.turn(20);
            run.read(&mut bench, stream, &mut text);
        }
        assert!(bench.is_open(stream), "seed {seed}: ended");
        run.judge(seed, bytes > 0);
        run
    }

    fn publish(&mut self, bench: &mut Bench, prng: &mut Prng) {
        let mut lines = String::new();
        for _ in 0..1 + prng.below(8) {
            let key = (!one_in(prng, 5)).then(|| prng.below(4));
            let number = self.published.len();
            let key_field = key.map_or(String::new(), |key| format!("\"key\":\"k{key}\","));
            lines.push_str(&format!("{{\"topic\":\"t\",{key_field}\"data\":\"{number}\"}}\n"));
            self.published.push((key, bench.now.mono_ms));
        }
        bench.connect(ListenerKind::Control, &batch_of(&lines));
    }

    fn read(&mut self, bench: &mut Bench, stream: usize, text: &mut String) {
        text.push_str(&bench.read(stream));
        for block in take_blocks(text) {
            match block.name.as_str() {
                "fanwheel.gap" => self.gaps.push(self.sent.len()),
                _ => self.sent.push((block.data.parse().expect("a number"), bench.now.mono_ms)),
            }
        }
    }

    /// Never more than the rate, everything that the policy owes, and nothing twice or out of order.
    fn judge(&self, seed: u64, counts_bytes: bool) {
        let said = format!("seed {seed}, {:?} of {}, {} at once", self.policy, self.per_second, self.burst);
        let numbers: Vec<usize> = self.sent.iter().map(|(number, _)| *number).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "{said}: {numbers:?}");
        self.judge_pace(&said, counts_bytes);
        let newest = self.published.len() - 1;
        assert_eq!(numbers.last(), Some(&newest), "{said}: {numbers:?}");
        let is_left_out = |number: &usize| numbers.binary_search(number).is_err();
        let left_out: Vec<usize> = (0..newest).filter(is_left_out).collect();
        match self.policy {
            RatePolicy::Latest => {
                let mut last_of = HashMap::new();
                self.published.iter().enumerate().for_each(|(number, (key, _))| {
                    last_of.insert(*key, number);
                });
                let gives_way = |number: &usize| {
                    let key = self.published[*number].0;
                    key.is_some() && last_of[&key] > *number
                };
                assert!(left_out.iter().all(gives_way), "{said}: {left_out:?} were left out");
                assert_eq!(self.gaps, [0; 0], "{said}");
            }
            RatePolicy::Drop => {
                let told = |number: &usize| {
                    let next = numbers.partition_point(|sent| sent < number);
                    self.gaps.contains(&next)
                };
                assert!(left_out.iter().all(told), "{said}: gaps {:?}, lost {left_out:?}", self.gaps);
            }
            RatePolicy::Delay | RatePolicy::None => {
                assert_eq!((left_out, &self.gaps), (vec![], &vec![]), "{said}");
            }
        }
    }

    fn judge_pace(&self, said: &str, counts_bytes: bool) {
        let allowed = |ms: u64| self.burst + self.per_second * ms / 1_000;
        for (nth, &(_, at_ms)) in self.sent.iter().enumerate() {
            let since_begin = allowed(at_ms - self.begun_ms);
            assert!((nth as u64) < since_begin, "{said}: {} by {at_ms}", nth + 1);
            if !self.is_prompt {
                continue;
            }
            for (earlier, &(_, from_ms)) in self.sent[..nth].iter().enumerate() {
                let count = (nth - earlier + 1) as u64;
                assert!(count <= allowed(at_ms - from_ms), "{said}: {count} from {from_ms} to {at_ms}");
            }
            // It is not held for longer than the rate asks for, as far as turns come.
            let published_ms = self.published[self.sent[nth].0].1;
            let before_ms = nth.checked_sub(1).map_or(published_ms, |before| self.sent[before].1);
            let late_ms = at_ms.saturating_sub(before_ms.max(published_ms));
            let delays = self.policy == RatePolicy::Delay && !counts_bytes;
            assert!(!delays || late_ms <= 1_000 / self.per_second + 250, "{said}: {late_ms} ms late");
        }
    }
}

#[test]
fn a_stream_with_a_rate_is_never_sent_more_and_is_owed_what_its_policy_says() {
    let (mut held, mut left_out) = (0, 0);
    for seed in 0..RUNS {
        let run = RatedRun::of_seed(seed);
        let late = |(number, at_ms): &&(usize, u64)| *at_ms > run.published[*number].1 + 200;
        held += run.sent.iter().filter(late).count();
        left_out += run.published.len() - run.sent.len();
    }
    assert!(held > 100 && left_out > 100, "{held} were held, {left_out} left out: nothing was judged");
}

/// The value that stands in an array for a payload.
fn in_array(payload: &str) -> Value {
    serde_json::from_str(payload).unwrap_or_else(|_| payload.into())
}

/// Publishes some events of many forms.
fn publish_forms(bench: &mut Bench, prng: &mut Prng, count: &mut u64) {
    let mut lines = String::new();
    for _ in 0..1 + prng.below(4) {
        *count += 1;
        let number = *count;
        let payload = match prng.below(6) {
            0 => number.to_string(),
            1 => format!("{{\"n\": {number}, \"text\": \"a\\nb\"}}"),
            2 => format!("plain {number}"),
            3 => format!("two {number}\nlines"),
            4 => format!("[{number},null]"),
            _ => format!("\"{number}\" and {{"),
        };
        let mut line = serde_json::json!({ "topic": "t", "data": payload });
        if one_in(prng, 3) {
            line["event"] = pick(prng, &["e", "f"]).into();
        }
        lines.push_str(&format!("{line}\n"));
    }
    bench.connect(ListenerKind::Control, &batch_of(&lines));
}

/// Reads a stream of arrays and single events as its events, each with its id if that is told. Returns them
/// with the number of arrays.
fn unpack(blocks: &[Block]) -> (Vec<(Option<String>, Value)>, usize) {
    let (mut events, mut arrays) = (Vec::new(), 0);
    for block in blocks {
        assert!(!block.name.starts_with("fanwheel."), "a gap was told: {block:?}");
        let id = Some(block.id.clone());
        let value = in_array(&block.data);
        let Some(batch) = value.get("batch").and_then(Value::as_array) else {
            events.push((id, value));
            continue;
        };
        arrays += 1;
        assert_eq!(value["count"], batch.len(), "{block:?}");
        let (last, others) = batch.split_last().expect("an array is never empty");
        events.extend(others.iter().map(|value| (None, value.clone())));
        events.push((id, last.clone()));
    }
    (events, arrays)
}

#[test]
fn arrays_bring_the_events_of_others_each_once_and_in_order_also_after_a_cut() {
    let (mut arrays, mut cuts) = (0, 0);
    for seed in 0..RUNS {
        let mut prng = Prng::new(seed);
        let (ms, most) = (pick(&mut prng, &[20, 100, 300]), pick(&mut prng, &[2, 5, 256]));
        let mut bench = bench_of(|class| {
            (class.windows.batch_ms, class.windows.batch_events) = (ms, most);
            class.windows.batch_form = BatchForm::Array;
        });
        let mut stream = subscribe(&mut bench, "topic=t");
        // Of several topics, each event comes by itself.
        let twin = subscribe(&mut bench, "topic=t&topic=u");
        (0..3).for_each(|_| bench.turn(1));
        let (mut text, mut blocks, mut count) = (String::new(), Vec::new(), 0);
        for _ in 0..120 {
            if one_in(&mut prng, 2) {
                publish_forms(&mut bench, &mut prng, &mut count);
            }
            shake(&mut bench, stream, &mut prng);
            bench.turn(pick(&mut prng, &[1, 10, 60]));
            text += &bench.read(stream);
            blocks.extend(take_blocks(&mut text));
            if one_in(&mut prng, 25)
                && let Some(Block { id, .. }) = blocks.last()
            {
                let query = format!("topic=t&last_event_id={id}");
                bench.net.reset(stream);
                text.clear();
                stream = subscribe(&mut bench, &query);
                cuts += 1;
            }
        }
        bench.net.set_window(stream, Window::Large);
        (0..20).for_each(|_| bench.turn(50));
        text += &bench.read(stream);
        blocks.extend(take_blocks(&mut text));
        let expected = take_blocks(&mut bench.read(twin));
        let (events, found) = unpack(&blocks);
        arrays += found;
        assert_eq!((events.len(), expected.len() as u64), (expected.len(), count), "seed {seed}");
        for ((id, value), expected) in events.iter().zip(&expected) {
            assert_eq!(*value, in_array(&expected.data), "seed {seed}");
            assert!(id.as_ref().is_none_or(|id| *id == expected.id), "seed {seed}: {id:?}, {expected:?}");
        }
    }
    assert!(arrays > 300 && cuts > 40, "{arrays} arrays, {cuts} cuts: too little was judged");
}

/// The longest turn of a throttled run: a window ends so late at most.
const LATE_MS: u64 = 40;

#[test]
fn a_throttled_topic_brings_each_key_once_a_window_and_its_newest_in_time() {
    let (mut judged, mut left_out) = (0, 0);
    for seed in 0..RUNS {
        let mut prng = Prng::new(seed);
        let throttle_ms = pick(&mut prng, &[100, 250, 1_000]);
        let mut bench = bench_of(|class| class.windows.throttle_ms = throttle_ms);
        let stream = subscribe(&mut bench, pick(&mut prng, &["topic=t", "topic=t&event=message"]));
        (0..3).for_each(|_| bench.turn(1));
        bench.read(stream);
        let mut published: Vec<(Option<u64>, u64)> = Vec::new();
        let mut sent: Vec<(usize, u64)> = Vec::new();
        let mut text = String::new();
        for step in 0..320 {
            if step < 250 && one_in(&mut prng, 3) {
                let key = (!one_in(&mut prng, 6)).then(|| prng.below(3));
                let key_field = key.map_or(String::new(), |key| format!("\"key\":\"k{key}\","));
                let line = format!("{{\"topic\":\"t\",{key_field}\"data\":\"{}\"}}\n", published.len());
                bench.connect(ListenerKind::Control, &batch_of(&line));
                published.push((key, bench.now.mono_ms));
            }
            // In the end, for longer than a window.
            bench.turn(if step < 260 { pick(&mut prng, &[1, 10, LATE_MS]) } else { LATE_MS });
            text += &bench.read(stream);
            for block in take_blocks(&mut text) {
                sent.push((block.data.parse().expect("no gap is told"), bench.now.mono_ms));
            }
        }
        assert!(sent.is_sorted_by(|a, b| a.0 < b.0), "seed {seed}: {sent:?}");
        let mut last_of: HashMap<u64, u64> = HashMap::new();
        for &(number, at_ms) in &sent {
            let (key, published_ms) = published[number];
            let late_ms = at_ms - published_ms;
            assert!(late_ms <= throttle_ms + 2 * LATE_MS, "seed {seed}: {number} came {late_ms} ms late");
            if let Some(before_ms) = key.and_then(|key| last_of.insert(key, at_ms)) {
                judged += 1;
                let apart_ms = at_ms - before_ms;
                assert!(apart_ms + LATE_MS >= throttle_ms, "seed {seed}: {apart_ms} ms apart");
            }
        }
        let is_sent = |number: usize| sent.binary_search_by_key(&number, |(sent, _)| *sent).is_ok();
        for number in (0..published.len()).filter(|number| !is_sent(*number)) {
            let key = published[number].0;
            let gives_way = key.is_some() && published[number + 1..].iter().any(|(other, _)| *other == key);
            assert!(gives_way, "seed {seed}: {number} was lost");
            left_out += 1;
        }
    }
    assert!(judged > 300 && left_out > 300, "{judged} were judged, {left_out} left out: too few");
}
