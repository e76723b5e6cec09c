//! A publisher: single events, several topics, batches, in one piece or many, repeated, cut, or malformed.
//!
//! Owns its requests until each is answered or given up. A request with a key is repeated until it is
//! answered; one that was refused may be tried again, for a refusal publishes nothing.

use std::collections::VecDeque;

use fanwheel::base::id::EventId;
use fanwheel::base::limits::BATCH_POSTS_MAX;
use fanwheel::base::listener::ListenerKind;

use crate::answer::{Answer, AwaitedAnswer, Got};
use crate::classes::KEYS;
use crate::cover::Branch;
use crate::ledger::Submission;
use crate::net::Net;
use crate::peer::{End, Peer};
use crate::scene::{Scene, encode};
use crate::session::topic_of;
use crate::setup::{one_in, pick};
use crate::subscriber::NAMES;

/// A request.
#[derive(Clone)]
struct Job {
    group: usize,
    bytes: Vec<u8>,
    /// Its head ends here.
    head: usize,
    keyed: bool,
    http11: bool,
    chunked: bool,
    /// It waits for `100 Continue` before its body.
    expects: bool,
    /// Statuses that its faults deserve; empty for a good one.
    faults: Vec<u16>,
    answered: Option<String>,
}

/// An actor that publishes.
pub struct Publisher {
    peer: Option<Peer>,
    /// Sent and not answered, oldest first, and where in the connection's bytes each ends.
    flying: VecDeque<(Job, usize)>,
    /// To be sent again.
    again: Vec<Job>,
    keys: u64,
    number: u64,
    /// So many more large batches follow at once.
    spree: u64,
}

impl Publisher {
    /// Publisher `number`, which keeps its keys apart from others'.
    pub fn new(number: u64) -> Publisher {
        Publisher { peer: None, flying: VecDeque::new(), again: Vec::new(), keys: 0, number, spree: 0 }
    }

    /// Does a little.
    pub fn step(&mut self, net: &mut Net, scene: &mut Scene) {
        match self.peer {
            None if !scene.calm && scene.one_in(4) => {
                self.peer = Some(Peer::connect(net, scene, ListenerKind::Control));
            }
            None => {}
            Some(_) => self.proceed(net, scene),
        }
    }

    fn proceed(&mut self, net: &mut Net, scene: &mut Scene) {
        if self.flying.is_empty() && !scene.calm && scene.one_in(3) {
            for _ in 0..pick(&mut scene.prng, &[1, 1, 1, 2, 4]).max(self.spree) {
                self.begin(scene);
            }
        }
        let Some(peer) = &mut self.peer else { return };
        // Nobody waits for a `100 Continue` for ever.
        if scene.one_in(10) || scene.calm {
            peer.hold_at = None;
        }
        let got = peer.pump(net, scene);
        for (job, end) in &self.flying {
            scene.ledger.groups[job.group].sent_whole |= peer.sent() >= *end;
        }
        let end = peer.end;
        // Often where an answer takes long, so that keys come again before they are decided.
        let cut_odds = if scene.plan.orders { 25 } else { 150 };
        for item in got {
            match item {
                Got::Answer(answer) => self.answered(scene, &answer),
                Got::Interim => {
                    scene.hit(Branch::InterimAnswer);
                    self.peer.iter_mut().for_each(|peer| peer.hold_at = None);
                }
                other => panic!("a publish was answered with {other:?}"),
            }
        }
        if let Some(end) = end {
            self.ended(scene, end);
        } else if !scene.calm && scene.one_in(cut_odds) {
            self.cut(net, scene);
        }
    }

    fn begin(&mut self, scene: &mut Scene) {
        let job = match self.again.pop() {
            Some(job) => job,
            None => self.draw(scene),
        };
        let Some(peer) = &mut self.peer else { return };
        scene.cover.hit_if(job.chunked, Branch::ChunkedBody);
        if job.expects {
            peer.hold_at = Some(peer.queued() + job.head);
        }
        let (conn, group) = (peer.conn, job.group);
        scene.trace(|| format!("conn {conn} publishes group {group} {:?}", job.faults));
        peer.ask(&job.bytes, AwaitedAnswer { tag: job.group, head_only: false, http11: job.http11 });
        scene.ledger.groups[group].attempts += 1;
        self.flying.push_back((job, peer.queued()));
    }

    fn draw(&mut self, scene: &mut Scene) -> Job {
        if self.spree == 0 && scene.plan.bursts && scene.one_in(4) && scene.take_heavy() {
            self.spree = 1 + scene.prng.below(4);
        }
        let burst = self.spree > 0;
        self.spree -= u64::from(burst);
        let batch = burst || scene.one_in(4);
        let lines = match batch {
            true if burst => 900 + scene.prng.below(1_100),
            true => 1 + scene.prng.below(6),
            false => 1,
        };
        let start = scene.ledger.next();
        let (mut events, mut lines_out) = (Vec::new(), Vec::new());
        let topics = scene.draw_topics(2);
        let name = scene.one_in(2).then(|| pick(&mut scene.prng, &NAMES).to_owned());
        for nth in 0..lines as usize {
            // The last events are in one topic alone, so that the newest of a key differs between topics.
            let many = if nth < lines as usize / 2 && scene.one_in(4) { topics.len() } else { 1 };
            let topics = if burst { topics[..many].to_vec() } else { scene.draw_topics(3) };
            let mut draft = draw_event(scene, start + nth, topics, !burst);
            if burst && name.is_some() {
                draft.name.clone_from(&name);
            }
            let (event, raw) = draft.finish(scene, batch);
            events.push(event);
            lines_out.push(raw);
        }
        self.keys += 1;
        let key = scene.one_in(3).then(|| format!("key-{}-{}", self.number, self.keys));
        let mut faults = Vec::new();
        let max = scene.plan.settings.topics_per_connection_max;
        if events.iter().any(|event| event.topics.len() > max) {
            faults.push(400);
        }
        if events.iter().map(|event| event.topics.len()).sum::<usize>() > BATCH_POSTS_MAX {
            faults.push(413);
        }
        let mut request = if batch {
            let mut body = lines_out.join("\n").into_bytes();
            if scene.one_in(20) {
                body.extend_from_slice(b"\n{\"topic\":5}\n");
                faults.push(400);
            }
            Request { target: "/publish/batch".into(), kind: "application/x-ndjson", body }
        } else {
            single(scene, &events[0], &lines_out[0], &mut faults)
        };
        if request.body.len() > scene.plan.settings.publish_bytes_max {
            faults.push(413);
        }
        let keyed = key.is_some();
        let group = scene.ledger.submit(events, keyed, scene.now.mono_ms);
        if !faults.is_empty() {
            scene.ledger.forbid(group, "it is faulty");
        }
        let chunked = scene.one_in(4);
        let http11 = chunked || !scene.one_in(8);
        let expects = http11 && scene.one_in(8);
        let (bytes, head) = request.encode(scene, key.as_deref(), http11, chunked, expects);
        Job { group, bytes, head, keyed, http11, chunked, expects, faults, answered: None }
    }

    fn answered(&mut self, scene: &mut Scene, answer: &Answer) {
        let (mut job, _) = self.flying.pop_front().expect("the reader has counted");
        assert_eq!(job.group, answer.tag);
        let status = answer.status;
        scene.trace(|| format!("group {} answered {status} {:.80}", answer.tag, answer.body));
        match status {
            202 => {
                assert!(job.faults.is_empty(), "a faulty publish was accepted");
                let json: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
                let id = json["id"].as_str().and_then(|id| EventId::parse(id.as_bytes())).expect("an id");
                assert!(id <= scene.head, "an id from the future");
                let forgotten = job.answered.is_some() && {
                    let sent_ms = scene.ledger.groups[job.group].sent_ms;
                    scene.now.mono_ms >= sent_ms + scene.plan.settings.idempotency_ms
                };
                let same = job.answered.as_ref().is_none_or(|first| *first == answer.body);
                assert!(same || forgotten, "a repeat was answered {} after {:?}", answer.body, job.answered);
                scene.cover.hit_if(job.answered.is_some() && same, Branch::RepeatedPublish);
                let large = answer.body.contains("\"subscribers\"") && is_larger_than_history(scene, &job);
                scene.cover.hit_if(large, Branch::EventLargerThanHistory);
                scene.ledger.accept(job.group, id, scene.now.mono_ms);
                job.answered = Some(answer.body.clone());
                if job.keyed && scene.one_in(2) {
                    self.again.push(job);
                }
            }
            // Nobody knows: only a key makes another try safe.
            503 if answer.body.contains("\"order_late\"") => {
                if job.keyed {
                    self.again.push(job);
                }
            }
            // Nothing was published: to try again must publish once.
            503 | 408 if job.faults.is_empty() => {
                if scene.one_in(2) {
                    self.again.push(job);
                } else if job.answered.is_none() && !job.keyed {
                    scene.ledger.forbid(job.group, "it was refused");
                }
            }
            503 | 408 => {}
            _ => assert!(job.faults.contains(&status), "{status} {:?} {:?}", answer.body, job.faults),
        }
    }

    /// Handles the end of the connection: requests without an answer were not done.
    fn ended(&mut self, scene: &mut Scene, end: End) {
        for (job, _) in std::mem::take(&mut self.flying) {
            if job.keyed {
                self.again.push(job);
            } else if scene.plan.orders && scene.ledger.groups[job.group].sent_whole {
                // It may have been at the orderer.
            } else if end == End::Orderly && !scene.stops() && !scene.may_be_drained() {
                scene.ledger.forbid(job.group, "the connection was ended without an answer");
            }
        }
        self.peer = None;
    }

    fn cut(&mut self, net: &mut Net, scene: &mut Scene) {
        let Some(peer) = self.peer.take() else { return };
        scene.trace(|| format!("conn {} is cut by its publisher", peer.conn));
        if scene.one_in(2) {
            net.reset(peer.conn)
        } else {
            net.leave(peer.conn)
        }
        for (job, _) in std::mem::take(&mut self.flying) {
            let group = &scene.ledger.groups[job.group];
            if job.keyed {
                scene.cover.hit_if(group.sent_whole, Branch::RepeatedAfterCut);
                self.again.push(job);
            } else if !group.sent_whole && job.answered.is_none() {
                scene.ledger.forbid(job.group, "it was not sent whole");
            }
        }
    }

    /// Whether a calm step would do something.
    pub fn has_news(&self, net: &Net) -> bool {
        self.peer.as_ref().is_some_and(|peer| peer.has_news(net))
    }

    /// Asserts the conditions that hold when nothing is left to do.
    pub fn check_at_rest(&self, net: &Net) {
        let Some(peer) = &self.peer else { return };
        if net.socks[peer.conn].token.is_some() {
            assert_eq!(peer.reader.unanswered().next(), None, "conn {} waits for an answer", peer.conn);
            assert!(peer.reader.is_between(), "conn {} got half an answer", peer.conn);
        }
    }

    /// Widens or narrows the window.
    pub fn set_calm(&self, net: &mut Net, calm: bool) {
        if let Some(peer) = &self.peer {
            peer.set_calm(net, calm);
        }
    }

    /// Loses its connection.
    pub fn leave(&mut self, net: &mut Net, scene: &mut Scene) {
        self.cut(net, scene);
    }

    /// Publishes no more.
    pub fn give_up(&mut self) {
        self.again.clear();
    }
}

/// A request before its head is written.
struct Request {
    target: String,
    kind: &'static str,
    body: Vec<u8>,
}

fn single(scene: &mut Scene, event: &Submission, raw: &str, faults: &mut Vec<u16>) -> Request {
    let mut query: Vec<String> =
        event.topics.iter().map(|&topic| format!("topic={}", encode(&topic_of(topic)))).collect();
    query.extend(event.name.iter().map(|name| format!("event={}", encode(name))));
    query.extend(event.key.iter().map(|key| format!("key={}", encode(key))));
    query.extend(event.retry.iter().map(|retry| format!("retry={retry}")));
    query.extend(event.ttl_ms.iter().map(|ttl_ms| format!("ttl_ms={ttl_ms}")));
    let mut body = raw.as_bytes().to_vec();
    match scene.prng.below(60) {
        0 => {
            body.push(0xff);
            faults.push(400);
        }
        1 => {
            query.push("key=a%0Ab".into());
            faults.push(400);
        }
        _ => {}
    }
    Request { target: format!("/publish?{}", query.join("&")), kind: "text/plain", body }
}

impl Request {
    /// All bytes, and where the head ends.
    fn encode(
        &mut self,
        scene: &mut Scene,
        key: Option<&str>,
        http11: bool,
        chunked: bool,
        expects: bool,
    ) -> (Vec<u8>, usize) {
        let version = if http11 { "1.1" } else { "1.0" };
        let mut head = format!("POST {} HTTP/{version}\r\nHost: localhost\r\n", self.target);
        head.push_str(&format!("Content-Type: {}\r\n", self.kind));
        if !http11 {
            head.push_str("Connection: keep-alive\r\n");
        }
        if let Some(key) = key {
            head.push_str(&format!("Idempotency-Key: {key}\r\n"));
        }
        if expects {
            head.push_str("Expect: 100-continue\r\n");
        }
        let body = std::mem::take(&mut self.body);
        if chunked {
            head.push_str("Transfer-Encoding: chunked\r\n\r\n");
            let mut bytes = head.into_bytes();
            let end = bytes.len();
            let mut rest = &body[..];
            while !rest.is_empty() {
                let size = (1 + scene.prng.below(body.len() as u64 + 20) as usize).min(rest.len());
                bytes.extend_from_slice(format!("{size:X}\r\n").as_bytes());
                bytes.extend_from_slice(&rest[..size]);
                bytes.extend_from_slice(b"\r\n");
                rest = &rest[size..];
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
            (bytes, end)
        } else {
            head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
            let mut bytes = head.into_bytes();
            let end = bytes.len();
            bytes.extend_from_slice(&body);
            (bytes, end)
        }
    }
}

/// An event whose payload is not yet in its final form.
struct Draft {
    number: usize,
    topics: Vec<usize>,
    name: Option<String>,
    key: Option<String>,
    retry: Option<u64>,
    ttl_ms: Option<u64>,
    text: String,
}

fn draw_event(scene: &mut Scene, number: usize, topics: Vec<usize>, long: bool) -> Draft {
    let prng = &mut scene.prng;
    let name = one_in(prng, 2).then(|| pick(prng, &NAMES).to_owned());
    let key = one_in(prng, 2).then(|| pick(prng, &KEYS).to_owned());
    // Where events give way to newer ones, most have something in common.
    let (name, key) = match scene.plan.classes.throttles(topics[0]) && !one_in(prng, 3) {
        true => (None, Some(KEYS[0].to_owned())),
        false => (name, key),
    };
    let retry = one_in(prng, 10).then(|| 1 + prng.below(9_000));
    let mut text = format!("e{number}.t{}.", topics[0]);
    const SCRAPS: [&str; 10] = ["x", "\n", "\r\n", "\r", "\n\ndata: y", "id: 5", "\u{2028}", ":", " ", "ü"];
    for _ in 0..prng.below(6) {
        text.push_str(pick(prng, &SCRAPS));
    }
    if long && one_in(prng, 6) {
        text.push_str(&"long ".repeat(prng.below(500) as usize));
    }
    if scene.plan.large && scene.one_in(3) && scene.take_heavy() {
        text.push_str(&"L".repeat(100_000 + scene.prng.below(200_000) as usize));
    }
    let lives = scene.plan.lives && scene.one_in(2);
    let ttl_ms = lives.then(|| pick(&mut scene.prng, &[1, 20, 200, 2_000, 30_000]));
    Draft { number, topics, name, key, retry, ttl_ms, text }
}

impl Draft {
    /// The event, and its payload or its batch line as sent.
    fn finish(self, scene: &mut Scene, batch: bool) -> (Submission, String) {
        let Draft { number, topics, name, key, retry, ttl_ms, text } = self;
        let mut data = text.replace("\r\n", "\n").replace('\r', "\n");
        let names: Vec<String> = topics.iter().map(|&topic| topic_of(topic)).collect();
        let mut raw = text.clone();
        if batch {
            let mut line = serde_json::json!({ "topic": names, "data": text });
            if names.len() == 1 {
                line["topic"] = names[0].as_str().into();
            }
            if scene.one_in(6) {
                let value = serde_json::json!([format!("e{number}.t{}.", topics[0]), 1, true]);
                data = value.to_string();
                line["data"] = value;
            }
            for (field, value) in [("event", &name), ("key", &key)] {
                if let Some(value) = value {
                    line[field] = value.as_str().into();
                }
            }
            for (field, value) in [("retry", retry), ("ttl_ms", ttl_ms)] {
                if let Some(value) = value {
                    line[field] = value.into();
                }
            }
            raw = line.to_string();
        }
        let classes = &scene.plan.classes;
        let names = if name.is_some() { vec![name.clone()] } else { classes.names_of(&topics) };
        let unnamed = name.is_none().then_some(scene.ledger.in_force);
        let exact_name = unnamed.and_then(|in_force| classes.name_in_force(&topics, in_force));
        scene.cover.hit_if(name.is_none() && names.iter().all(Option::is_some), Branch::NamedAfterTopic);
        let (ids, group) = (Vec::new(), 0);
        (Submission { topics, name, names, exact_name, key, retry, ttl_ms, data, ids, group }, raw)
    }
}

fn is_larger_than_history(scene: &Scene, job: &Job) -> bool {
    job.bytes.len() - job.head > scene.plan.settings.history_topic_bytes_max
}
