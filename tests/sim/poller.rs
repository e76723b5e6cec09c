//! A poller: asks for one answer with `wait_ms` at a time, on a connection that it keeps, each after the last
//! id that the answers before brought.
//!
//! Owns the oracle of long polls: an answer has a length and holds the items of a stream. It comes at once
//! when something is newer than its id, not before its time when nothing is, and not after its time.

use fanwheel::base::id::EventId;
use fanwheel::base::listener::ListenerKind;
use fanwheel::base::time::TICK_MS;

use crate::answer::{Answer, AwaitedAnswer, Got};
use crate::cover::Branch;
use crate::items::Item;
use crate::net::Net;
use crate::peer::Peer;
use crate::scene::{Scene, TOPICS, encode};
use crate::session::{Begin, Ending, Entry, Session, SnapshotEnd, topic_of};
use crate::setup::pick;
use crate::subscriber::NAMES;

/// By how much an answer may be late: ticks are rounded up, and a turn may come within one.
const SLACK_MS: u64 = 3 * TICK_MS;

/// An actor that polls.
pub struct Poller {
    topics: Vec<usize>,
    filter: Vec<String>,
    primed: bool,
    last: Option<EventId>,
    peer: Option<Peer>,
    poll: Option<Poll>,
    /// It has sent bytes that belong to no request.
    noisy: bool,
}

/// A request on its way to its answer.
struct Poll {
    session: Session,
    wait_ms: u64,
    /// Its last byte has been sent.
    sent: bool,
    /// When the world was at rest and it waited, for the first time: the server has read it by then.
    seen_ms: Option<u64>,
}

impl Poller {
    /// A poller with its own taste.
    pub fn new(scene: &mut Scene) -> Poller {
        let topics = scene.draw_topics(3);
        let filters = scene.one_in(3);
        let filter = if filters { vec![pick(&mut scene.prng, &NAMES).to_owned()] } else { Vec::new() };
        let primed = scene.one_in(3);
        Poller { topics, filter, primed, last: None, peer: None, poll: None, noisy: false }
    }

    /// Does a little.
    pub fn step(&mut self, net: &mut Net, scene: &mut Scene) {
        if self.peer.is_none() && !scene.calm && scene.one_in(3) {
            self.peer = Some(Peer::connect(net, scene, ListenerKind::Public));
            self.noisy = false;
        }
        if self.peer.is_none() {
            return;
        }
        if self.poll.is_none() && !scene.calm && scene.one_in(3) {
            self.ask(scene);
        }
        self.read(net, scene);
        if self.peer.is_some() && !scene.calm {
            self.misbehave(net, scene);
        }
    }

    fn ask(&mut self, scene: &mut Scene) {
        let Some(peer) = &mut self.peer else { return };
        let begin = match scene.prng.below(8) {
            0 => Begin::Now,
            1 => Begin::Newest(1 + scene.prng.below(5) as usize),
            2 => Begin::Foreign("abc".into()),
            _ => self.last.map_or(Begin::Now, Begin::After),
        };
        let wait_ms = pick(&mut scene.prng, &[0, 50, 1_000, 60_000]);
        let clock = scene.one_in(5);
        let snapshot = scene.plan.snapshots && scene.one_in(3);
        let mut query: Vec<String> =
            self.topics.iter().map(|&topic| format!("topic={}", encode(&topic_of(topic)))).collect();
        query.extend(self.filter.iter().map(|name| format!("event={}", encode(name))));
        query.extend(clock.then(|| "clock=1".to_owned()));
        query.extend(snapshot.then(|| "snapshot=1".to_owned()));
        query.extend(self.primed.then(|| "prime=1".to_owned()));
        query.push(format!("wait_ms={wait_ms}"));
        query.extend(match &begin {
            Begin::Now => None,
            Begin::Newest(count) => Some(format!("last={count}")),
            Begin::After(id) => Some(format!("last_event_id={id}")),
            Begin::Foreign(text) => Some(format!("last_event_id={text}")),
        });
        let request = format!("GET /events?{} HTTP/1.1\r\nHost: example.org\r\n\r\n", query.join("&"));
        scene.trace(|| format!("conn {} polls {:?}", peer.conn, request.lines().next()));
        peer.ask(request.as_bytes(), AwaitedAnswer { tag: 0, head_only: false, http11: true });
        // After an id it has had it.
        let snapshot = snapshot && matches!(begin, Begin::Now | Begin::Newest(_));
        let begun = Session::new(scene, peer.conn, &self.topics, &self.filter, begin);
        let session = Session { clock, snapshot, primed: self.primed, ..begun };
        scene.polls.insert(peer.conn, self.topics.clone());
        self.poll = Some(Poll { session, wait_ms, sent: false, seen_ms: None });
    }

    fn read(&mut self, net: &mut Net, scene: &mut Scene) {
        let Some(peer) = &mut self.peer else { return };
        let got = peer.pump(net, scene);
        let (conn, end, sent) = (peer.conn, peer.end, peer.has_sent());
        if let Some(poll) = &mut self.poll {
            poll.sent |= sent;
        }
        for got in got {
            match got {
                Got::Poll => {}
                Got::Item(item) => self.take_item(scene, item),
                Got::PollEnd { closes } => self.take_end(net, scene, closes),
                Got::Answer(Answer { status, .. }) => {
                    check_refusal(scene, status, self.topics.len());
                    self.drop_peer(net, scene);
                }
                Got::Interim | Got::Stream | Got::StreamEnd => panic!("a poll brought {got:?}"),
            }
        }
        if end.is_some() {
            scene.trace(|| format!("conn {conn} was ended: {end:?}"));
            self.forget(scene);
        }
    }

    fn take_item(&mut self, scene: &mut Scene, item: Item) {
        let (now, head) = (scene.now, scene.head);
        let sent_since_ms = self.peer.as_ref().map_or(0, |peer| peer.sent_since_ms);
        let Some(Poll { session, .. }) = &mut self.poll else { panic!("{item:?} that nobody asked for") };
        scene.trace(|| format!("conn {} got {:.160}", session.conn, format!("{item:?}")));
        session.item_ms = now.mono_ms;
        let clock_first = session.is_open && session.clock && session.heartbeats == 0;
        assert!(!clock_first || matches!(item, Item::Clock(_)), "{item:?} before the clock event");
        match item {
            Item::Retry(ms) => {
                let retry_ms = scene.plan.settings.retry_ms;
                assert!((retry_ms * 8 / 10..=retry_ms * 12 / 10).contains(&ms), "reconnect after {ms} ms");
                assert!(!session.is_open, "two reconnection times");
                session.is_open = true;
            }
            Item::Clock(_) => {
                assert!(session.is_open && session.clock && session.heartbeats == 0, "a clock out of place");
                session.heartbeats = 1;
            }
            Item::Position(id) => session.position(id, head),
            Item::Event(event) => {
                let number = scene.ledger.sight_alive(&event, now.mono_ms, sent_since_ms);
                session.event(&event, &scene.ledger.submissions[number].topics);
            }
            Item::Gap(gap) => {
                for name in &gap.topics {
                    let topic = (0..TOPICS).find(|&number| topic_of(number) == *name).expect("a topic");
                    session.gap(&gap, topic, head, now.mono_ms);
                }
            }
            Item::SnapshotEnd { topics, events } => {
                session.end_snapshot(topics, events, SnapshotEnd { head, at_ms: now.mono_ms });
                scene.hit(Branch::SnapshotPolled);
            }
            Item::Greeting(_) | Item::Heartbeat => panic!("{item:?} is for streams"),
        }
    }

    /// An answer is whole.
    fn take_end(&mut self, net: &mut Net, scene: &mut Scene, closes: bool) {
        let Some(Poll { mut session, wait_ms, .. }) = self.poll.take() else { panic!("nobody asked for it") };
        assert!(session.is_open, "an answer without a reconnection time");
        let brought = |entry: &Entry| !matches!(entry, Entry::Position(_));
        let empty = !session.entries.iter().any(brought);
        let waited_ms = scene.now.mono_ms - session.asked_ms;
        let early = waited_ms + TICK_MS < wait_ms - wait_ms / 10;
        // Without an id it is told its position first.
        let early = early && !(session.primed && session.begin == Begin::Now);
        let ended =
            scene.ending || scene.plan.classes.ends_by_age() || scene.operated.contains(&session.conn);
        assert!(!(empty && early) || ended, "nothing came after {waited_ms} ms of {wait_ms}");
        self.last = session.last.or(self.last);
        if empty && matches!(session.begin, Begin::After(_)) {
            // Nothing up to the request was left for it.
            session.last = session.last.max(Some(session.head_before));
        }
        scene.hit(if empty { Branch::PolledInVain } else { Branch::PolledEvents });
        let noisy = self.noisy;
        conclude(scene, session, Ending::Clean);
        if closes || noisy || scene.calm {
            self.drop_peer(net, scene);
        } else {
            scene.hit(Branch::PolledAgain);
        }
    }

    fn misbehave(&mut self, net: &mut Net, scene: &mut Scene) {
        let Some(peer) = &mut self.peer else { return };
        match scene.prng.below(300) {
            0 => self.drop_peer(net, scene),
            1 => {
                net.reset(peer.conn);
                self.forget(scene);
            }
            2 if self.poll.as_ref().is_some_and(|poll| poll.sent) => {
                // A request that never becomes whole: its refusal may be read together with the answer.
                match std::mem::replace(&mut self.noisy, true) {
                    false => peer.ask(b"x", AwaitedAnswer { tag: 0, head_only: false, http11: true }),
                    true => peer.say(b"x"),
                }
            }
            _ => {}
        }
    }

    fn drop_peer(&mut self, net: &mut Net, scene: &mut Scene) {
        if let Some(peer) = &self.peer {
            net.leave(peer.conn);
        }
        self.forget(scene);
    }

    /// The connection is gone, and with it what is left of an answer.
    fn forget(&mut self, scene: &mut Scene) {
        self.peer = None;
        if let Some(Poll { session, .. }) = self.poll.take() {
            conclude(scene, session, Ending::Left);
        }
    }

    /// Whether a calm step would do something.
    pub fn has_news(&self, net: &Net) -> bool {
        self.peer.as_ref().is_some_and(|peer| peer.has_news(net))
    }

    /// Asserts the conditions that hold when nothing is left to do.
    pub fn check_at_rest(&mut self, net: &Net, scene: &Scene) {
        let (Some(peer), Some(poll)) = (&self.peer, &mut self.poll) else { return };
        let sock = &net.socks[peer.conn];
        if sock.token.is_none() || sock.peer_finished || scene.ending {
            return;
        }
        assert!(peer.reader.is_between(), "conn {} got half an answer", peer.conn);
        let waited_ms = scene.now.mono_ms - *poll.seen_ms.get_or_insert(scene.now.mono_ms);
        assert!(waited_ms <= poll.wait_ms + SLACK_MS, "conn {} waits for {waited_ms} ms", peer.conn);
        let state = poll.session.is_told_state();
        assert!(!state, "conn {} was not told the state of its topics", peer.conn);
        let foreign = matches!(poll.session.begin, Begin::Foreign(_));
        assert!(!foreign, "conn {} was not told the gap after a foreign id", peer.conn);
        if matches!(poll.session.begin, Begin::After(_)) {
            poll.session.judge_losses(&scene.ledger, &scene.plan.classes, Some(scene.head));
        }
    }

    /// Whether its connection waits for events.
    pub fn waits(&self, net: &Net) -> bool {
        let open = |peer: &Peer| net.socks[peer.conn].token.is_some();
        self.poll.is_some() && self.peer.as_ref().is_some_and(open)
    }

    /// Widens or narrows the window.
    pub fn set_calm(&self, net: &mut Net, calm: bool) {
        if let Some(peer) = &self.peer {
            peer.set_calm(net, calm);
        }
    }

    /// Loses its connection.
    pub fn leave(&mut self, net: &mut Net, scene: &mut Scene) {
        self.drop_peer(net, scene);
    }
}

/// Puts an answer, or the part of it that came, before the judges.
fn conclude(scene: &mut Scene, mut session: Session, ending: Ending) {
    session.ending = ending;
    if matches!(session.begin, Begin::Newest(_)) {
        // Nobody knows which of them were kept when it was asked for.
        session.greeted = session.last;
    }
    scene.polls.remove(&session.conn);
    scene.polled.push(session);
}

/// A poll may be refused for a limit, or because the request was never whole.
fn check_refusal(scene: &Scene, status: u16, topics: usize) {
    let too_many = topics > scene.plan.settings.topics_per_connection_max;
    match status {
        400 => assert!(too_many, "a good request was refused"),
        408 | 503 => {}
        other => panic!("a poll was answered with {other}"),
    }
}
