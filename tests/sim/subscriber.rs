//! A subscriber: opens streams, reads them, is cut or leaves, and comes back with the last id it was given.
//!
//! Owns one connection at a time and tells its session what arrived. Resumes as an EventSource would, or
//! with rubbish.

use fanwheel::base::id::EventId;
use fanwheel::base::listener::ListenerKind;
use fanwheel::base::settings::SlowPolicy;
use fanwheel::base::topic::TopicPattern;

use crate::answer::{Answer, AwaitedAnswer, Got};
use crate::cover::Branch;
use crate::items::{Gap, Item};
use crate::ledger::IDS_PER_MS;
use crate::net::Net;
use crate::peer::{Appetite, End, Peer};
use crate::scene::{Scene, TOPICS, encode};
use crate::session::{Begin, Earlier, Ending, Entry, Session, SnapshotEnd, topic_of};
use crate::setup::pick;

/// Event names that publishers use and subscribers may ask for.
pub const NAMES: [&str; 4] = ["likes", "message", "é ü", "x"];

/// Patterns by which subscribers name topics: of all topics, and of most.
const PATTERNS: [&str; 2] = ["**", "*"];

/// Numbers of the topics that a pattern matches.
fn matched_topics(pattern: &str) -> impl Iterator<Item = usize> + use<> {
    let pattern = TopicPattern::parse(pattern).expect("a pattern");
    (0..TOPICS).filter(move |&number| pattern.matches(&topic_of(number)))
}

/// The number of a request that goes before that for the stream, in the same connection.
const BEFORE: usize = 1;

/// An actor that subscribes and resumes.
pub struct Subscriber {
    /// Topics that it names.
    topics: Vec<usize>,
    /// A pattern of further ones.
    pattern: Option<&'static str>,
    filter: Vec<String>,
    last: Option<EventId>,
    /// The streams so far, if the last was primed.
    earlier: Option<Earlier>,
    link: Option<Link>,
}

struct Link {
    peer: Peer,
    /// Its session; none before a stream has begun.
    session: Session,
    /// Index of the session among all, once it has begun.
    index: Option<usize>,
    browser: bool,
    /// It sent more upstream than is borne.
    noisy: bool,
    /// Topics that it names, whatever its pattern matches.
    named: Vec<usize>,
}

impl Subscriber {
    /// A subscriber with its own taste.
    pub fn new(scene: &mut Scene) -> Subscriber {
        // In bursts those with several topics and a filter have the longest way.
        let bursts = scene.plan.bursts;
        let many = !scene.one_in(if bursts { 4 } else { 2 });
        let topics = scene.draw_topics(if many { 4 } else { 1 });
        let filters = scene.one_in(if bursts { 1 } else { 4 });
        let names = if filters { 1 + scene.prng.below(2) } else { 0 };
        let mut filter: Vec<String> = (0..names).map(|_| pick(&mut scene.prng, &NAMES).to_owned()).collect();
        if names > 0 && scene.plan.classes.names_events() {
            filter.push(topic_of(topics[0]));
        }
        let mut one = Subscriber { topics, pattern: None, filter, last: None, earlier: None, link: None };
        one.draw_pattern(scene);
        one
    }

    /// Names topics by a pattern, in place of names or beside them, where the plan has patterns.
    fn draw_pattern(&mut self, scene: &mut Scene) {
        self.pattern = None;
        if scene.plan.patterns && !scene.one_in(3) {
            self.pattern = Some(pick(&mut scene.prng, &PATTERNS));
            if scene.one_in(2) {
                self.topics.clear();
            }
        }
    }

    /// All topics that it follows, by name or by its pattern.
    fn followed(&self) -> Vec<usize> {
        let matched = self.pattern.into_iter().flat_map(matched_topics);
        let mut all = self.topics.clone();
        all.extend(matched.filter(|topic| !self.topics.contains(topic)));
        all
    }

    /// Does a little.
    pub fn step(&mut self, net: &mut Net, scene: &mut Scene) {
        match &mut self.link {
            None if !scene.calm && scene.one_in(3) => self.connect(net, scene),
            None => {}
            Some(_) => self.proceed(net, scene),
        }
    }

    fn connect(&mut self, net: &mut Net, scene: &mut Scene) {
        if scene.one_in(8) {
            self.topics = scene.draw_topics(4);
            self.draw_pattern(scene);
            self.last = None;
            self.earlier = None;
        }
        let begin = self.draw_begin(scene);
        let listener = if scene.one_in(10) { ListenerKind::Control } else { ListenerKind::Public };
        let mut peer = Peer::connect(net, scene, listener);
        let http11 = !scene.one_in(4);
        let clock = scene.one_in(5);
        let browser = scene.one_in(4);
        let (primed, prime) = draw_prime(scene, browser);
        let goes_on = self.last.is_some_and(|last| begin == Begin::After(last));
        let snapshot = scene.plan.snapshots && scene.one_in(2);
        let request = self.request(scene, &begin, http11, clock, browser, listener);
        let asked = if snapshot { "&snapshot=1" } else { "" };
        let request = request.replacen(" HTTP/", &format!("{prime}{asked} HTTP/"), 1);
        scene.trace(|| format!("conn {} asks {:?}", peer.conn, request.lines().next()));
        if scene.one_in(6) {
            scene.hit(Branch::StreamBehindAnswers);
            for _ in 0..1 + scene.prng.below(3) {
                let first = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
                peer.ask(first, AwaitedAnswer { tag: BEFORE, head_only: false, http11: true });
            }
        }
        peer.ask(request.as_bytes(), AwaitedAnswer { tag: 0, head_only: false, http11 });
        let earlier = self.earlier.take().filter(|_| goes_on);
        let begun = Session::new(scene, peer.conn, &self.followed(), &self.filter, begin);
        let session = Session { clock, snapshot, primed, http11, earlier, ..begun };
        self.link =
            Some(Link { peer, session, index: None, browser, noisy: false, named: self.topics.clone() });
    }

    fn draw_begin(&self, scene: &mut Scene) -> Begin {
        let known: Vec<EventId> = scene.ledger.ids().rev().take(40).collect();
        match scene.prng.below(16) {
            0 => {
                scene.hit(Branch::ResumeUnknown);
                Begin::Foreign(
                    pick(&mut scene.prng, &["$-1", "abc", "1-2-3", "\"q", "99999999999999-1"]).into(),
                )
            }
            1 => {
                scene.hit(Branch::ResumeForeign);
                Begin::Foreign(pick(&mut scene.prng, &["0-0", "1-5", "17592186044415-3", "12345-0"]).into())
            }
            6 if !known.is_empty() => {
                scene.hit(Branch::ResumeOtherRun);
                Begin::Foreign(of_another_run(pick(&mut scene.prng, &known)))
            }
            7 if !known.is_empty() => {
                scene.hit(Branch::ResumeMoment);
                Begin::After(EventId::at_ms(pick(&mut scene.prng, &known).ms()))
            }
            2 if !known.is_empty() => Begin::After(pick(&mut scene.prng, &known)),
            3 | 4 if self.last.is_none() => {
                scene.hit(Branch::ResumeLast);
                Begin::Newest(1 + scene.prng.below(5) as usize)
            }
            5 => Begin::Now,
            _ => self.last.map_or(Begin::Now, Begin::After),
        }
    }

    fn request(
        &self,
        scene: &mut Scene,
        begin: &Begin,
        http11: bool,
        clock: bool,
        browser: bool,
        listener: ListenerKind,
    ) -> String {
        let mut query: Vec<String> =
            self.topics.iter().map(|&topic| format!("topic={}", encode(&topic_of(topic)))).collect();
        query.extend(self.pattern.map(|pattern| format!("pattern={pattern}")));
        query.extend(self.filter.iter().map(|name| format!("event={}", encode(name))));
        if clock {
            query.push("clock=1".into());
        }
        let mut fields = String::new();
        let resume = match begin {
            Begin::Now => None,
            Begin::Newest(count) => {
                query.push(format!("last={count}"));
                None
            }
            Begin::After(id) => Some(id.to_string()),
            Begin::Foreign(text) => Some(text.clone()),
        };
        match resume {
            Some(id) if scene.one_in(3) => {
                let name = pick(&mut scene.prng, &["last_event_id", "lastEventId", "lastEventID"]);
                query.push(format!("{name}={}", encode(&id)));
            }
            Some(id) => fields.push_str(&format!("Last-Event-ID: {id}\r\n")),
            None => {}
        }
        if browser {
            fields.push_str("Accept: text/event-stream\r\nCache-Control: no-cache\r\n");
            fields.push_str("User-Agent: Mozilla/5.0 (X11)\r\n");
        }
        let host = if listener == ListenerKind::Control { "127.0.0.1:8081" } else { "example.org" };
        let version = if http11 { "1.1" } else { "1.0" };
        format!("GET /events?{} HTTP/{version}\r\nHost: {host}\r\n{fields}\r\n", query.join("&"))
    }

    fn proceed(&mut self, net: &mut Net, scene: &mut Scene) {
        let Some(link) = &mut self.link else { return };
        let mut got = link.peer.pump(net, scene);
        got.retain(|got| !matches!(got, Got::Answer(Answer { tag: BEFORE, .. })));
        if let (None, Some(Got::Answer(answer))) = (link.index, got.first()) {
            check_refusal(scene, answer.status, self.topics.len(), link.browser);
            net.leave(link.peer.conn);
            self.link = None;
            return;
        }
        for item in got {
            link.take(net, scene, item);
        }
        let session = link.session_mut(scene);
        if let Some(last) = session.last {
            self.last = Some(last);
            self.earlier = session.primed.then(|| session.as_earlier());
        }
        if let Some(end) = link.peer.end {
            link.ended(net, scene, end);
            self.link = None;
        } else if !scene.calm {
            self.misbehave(net, scene);
        }
    }

    fn misbehave(&mut self, net: &mut Net, scene: &mut Scene) {
        let Some(link) = &mut self.link else { return };
        let conn = link.peer.conn;
        match scene.prng.below(if scene.plan.large { 150 } else { 400 }) {
            0..3 => net.reset(conn),
            3..6 => net.leave(conn),
            6 if !net.socks[conn].peer_finished => {
                scene.hit(Branch::HalfClosedPeer);
                net.finish(conn);
                return;
            }
            // Only upstream of a stream it means nothing; before, it would be a request.
            7 | 8 if link.index.is_none() => {}
            7 => link.peer.say(&vec![b'x'; 1 + scene.prng.below(500) as usize]),
            8 if scene.one_in(4) => {
                link.noisy = true;
                link.peer.say(&vec![b'x'; 70_000]);
            }
            9..13 => {
                link.peer.appetite =
                    pick(&mut scene.prng, &[Appetite::Eager, Appetite::Slow, Appetite::Never]);
            }
            _ => {}
        }
        if net.socks[conn].is_gone() {
            scene.trace(|| format!("conn {conn} left"));
            if link.index.is_some() {
                link.session_mut(scene).ending = Ending::Left;
            }
            self.link = None;
        }
    }

    /// Whether a calm step would do something.
    pub fn has_news(&self, net: &Net) -> bool {
        self.link.as_ref().is_some_and(|link| link.peer.has_news(net))
    }

    /// Asserts the conditions that hold when nothing is left to do.
    pub fn check_at_rest(&self, net: &Net, scene: &Scene) {
        let Some(link) = &self.link else { return };
        let sock = &net.socks[link.peer.conn];
        if sock.token.is_none() || sock.peer_finished || scene.ending {
            return;
        }
        let session = link.index.map(|index| &scene.sessions[index]);
        let session = session.unwrap_or_else(|| panic!("conn {} got no answer", link.peer.conn));
        assert!(session.is_open && link.peer.reader.is_between(), "conn {} got half", link.peer.conn);
        assert!(
            !session.snapshot || session.snapshot_end().is_some(),
            "no end of its snapshot: {session:#?}"
        );
        session.judge_losses(&scene.ledger, &scene.plan.classes, Some(scene.head));
        // The operator's end is another one, with a time of its own.
        if !session.farewell && !scene.operated.contains(&session.conn) {
            session.judge_overdue(&scene.ledger, &scene.plan.classes, scene.now.mono_ms);
        }
    }

    /// Widens or narrows the window.
    pub fn set_calm(&self, net: &mut Net, calm: bool) {
        if let Some(link) = &self.link {
            link.peer.set_calm(net, calm);
        }
    }

    /// Loses its connection.
    pub fn leave(&mut self, net: &mut Net, scene: &mut Scene) {
        if let Some(mut link) = self.link.take() {
            if scene.one_in(2) {
                net.reset(link.peer.conn)
            } else {
                net.leave(link.peer.conn)
            }
            if link.index.is_some() {
                link.session_mut(scene).ending = Ending::Left;
            }
        }
    }
}

/// Whether a stream is told its position, and the parameter by which it asks.
fn draw_prime(scene: &mut Scene, browser: bool) -> (bool, &'static str) {
    match scene.prng.below(4) {
        0 => (false, "&prime=0"),
        1 => (true, "&prime=1"),
        _ => (browser, ""),
    }
}

/// The id that another run would have given in place of this one.
fn of_another_run(id: EventId) -> String {
    let (count, tag) = (id.n() / IDS_PER_MS, id.n() % IDS_PER_MS);
    format!("{}-{}", id.ms(), count * IDS_PER_MS + if tag == 1 { 2 } else { tag - 1 })
}

/// A stream may be refused for a limit, or because the request was never whole.
fn check_refusal(scene: &mut Scene, status: u16, topics: usize, browser: bool) {
    let too_many = topics > scene.plan.settings.topics_per_connection_max;
    match status {
        400 => assert!(too_many, "a good request was refused"),
        408 => {}
        503 => assert!(!browser, "a browser would never come back"),
        other => panic!("a stream was answered with {other}"),
    }
}

impl Link {
    fn session_mut<'a>(&'a mut self, scene: &'a mut Scene) -> &'a mut Session {
        match self.index {
            Some(index) => &mut scene.sessions[index],
            None => &mut self.session,
        }
    }

    fn take(&mut self, net: &Net, scene: &mut Scene, got: Got) {
        let conn = self.peer.conn;
        match got {
            Got::Stream => {
                self.session.greeted = net.socks[conn].greeted;
                self.session.item_ms = scene.now.mono_ms;
                self.session.begun_ms = scene.now.mono_ms;
                scene.sessions.push(self.session.clone());
                self.index = Some(scene.sessions.len() - 1);
            }
            Got::Item(item) => self.take_item(scene, item),
            Got::StreamEnd => {
                let session = self.session_mut(scene);
                assert!(session.farewell, "a stream ended without a reconnection time");
                session.ending = Ending::Clean;
            }
            Got::Answer(_) | Got::Interim | Got::Poll | Got::PollEnd { .. } => {
                panic!("a stream brought {got:?}")
            }
        }
    }

    fn take_item(&mut self, scene: &mut Scene, item: Item) {
        let conn = self.peer.conn;
        let now = scene.now;
        let retry_ms = scene.plan.settings.retry_ms;
        scene.trace(|| format!("conn {conn} got {:.160}", format!("{item:?}")));
        let session = self.session_mut(scene);
        assert!(!session.farewell, "{item:?} after the farewell");
        session.item_ms = now.mono_ms;
        let clock_first = session.is_open && session.clock && session.heartbeats == 0;
        assert!(!clock_first || matches!(item, Item::Clock(_)), "{item:?} before the first clock event");
        if let Item::Greeting(ms) | Item::Retry(ms) = item {
            assert!((retry_ms * 8 / 10..=retry_ms * 12 / 10).contains(&ms), "reconnect after {ms} ms");
        }
        match item {
            Item::Greeting(_) => {
                assert!(!session.is_open, "greeted twice");
                session.is_open = true;
            }
            Item::Heartbeat => {
                assert!(session.is_open && !session.clock, "a heartbeat out of place");
                session.check_told("a heartbeat");
                session.heartbeats += 1;
                let late = session.last.is_some();
                scene.cover.hit_if(late, Branch::HeartbeatAfterEvent);
            }
            Item::Position(id) => {
                let head = scene.head;
                let session = self.session_mut(scene);
                let (heartbeats, gap) = (session.heartbeats > 0, session.owes_position);
                session.position(id, head);
                scene.cover.hit_if(heartbeats && !gap, Branch::PositionBeforeHeartbeat);
                scene.cover.hit_if(gap, Branch::PositionAfterGap);
            }
            Item::SnapshotEnd { topics, events } => {
                let end = SnapshotEnd { head: scene.head, at_ms: now.mono_ms };
                let session = self.session_mut(scene);
                session.end_snapshot(topics, events, end);
                let state = session.is_told_state();
                scene.hit(if state { Branch::SnapshotEnded } else { Branch::SnapshotAfterId });
            }
            Item::Clock(_) => {
                assert!(session.is_open && session.clock, "a clock event that was not asked for");
                session.heartbeats += 1;
            }
            // Before the greeting it is all there is: the stream that a refused browser gets.
            Item::Retry(_) => {
                let told = matches!(session.entries.last(), Some(Entry::Position(_)));
                session.farewell = true;
                let refused = !session.is_open;
                assert!(!refused || self.browser, "not a browser");
                scene.cover.hit_if(refused, Branch::OverloadStream);
                scene.cover.hit_if(told, Branch::PositionBeforeEnd);
            }
            Item::Event(event) => {
                let number = scene.ledger.sight_alive(&event, now.mono_ms, self.peer.sent_since_ms);
                let topics = scene.ledger.submissions[number].topics.clone();
                assert!(event.id <= scene.head, "an id from the future");
                let session = self.session_mut(scene);
                let caught_up = session.last.is_some_and(|last| session.greeted.is_some_and(|at| last <= at));
                let live = session.greeted.is_some_and(|at| event.id > at);
                session.event(&event, &topics);
                scene.cover.hit_if(live && scene.has_appeared(&topics), Branch::MatchedLater);
                scene.cover.hit_if(caught_up && live, Branch::CaughtUpThenLive);
            }
            Item::Gap(gap) => {
                scene.cover.hit_if(gap.topics.len() > 1, Branch::GapOfSeveralTopics);
                gap.topics.iter().for_each(|topic| self.take_gap(scene, &gap, topic));
            }
        }
    }

    /// A gap was told, among others of this topic.
    fn take_gap(&mut self, scene: &mut Scene, gap: &Gap, topic: &str) {
        let (head, at_ms) = (scene.head, scene.now.mono_ms);
        let of_pattern = PATTERNS.contains(&topic);
        let numbers: Vec<usize> = match of_pattern {
            // Gaps of those that it names as well are told by their names.
            true => matched_topics(topic).filter(|number| !self.named.contains(number)).collect(),
            false => (0..TOPICS).filter(|&number| topic_of(number) == topic).collect(),
        };
        assert!(!numbers.is_empty(), "a gap in a topic nobody knows: {gap:?}");
        scene.cover.hit_if(of_pattern, Branch::GapOfPattern);
        let session = self.session_mut(scene);
        let mut at_resume = false;
        for number in numbers {
            at_resume |= session.gap(gap, number, head, at_ms);
            if of_pattern {
                session.mark_pattern_gap();
            }
        }
        scene.hit(if at_resume { Branch::GapAtResume } else { Branch::GapWhileRunning });
        let ends = scene.plan.classes.ends_all_slow();
        scene.cover.hit_if(ends && !at_resume, Branch::PassedByWithoutBeingSlow);
    }

    /// The server has ended the connection.
    fn ended(&mut self, net: &Net, scene: &mut Scene, end: End) {
        let conn = self.peer.conn;
        let sock = &net.socks[conn];
        let between = self.peer.reader.is_between();
        let (left, was_full) = (sock.peer_finished, sock.was_full);
        scene.trace(|| format!("conn {conn} was ended: {end:?}"));
        if self.index.is_none() {
            return;
        }
        let session = self.session_mut(scene);
        session.ending = match end {
            _ if session.ending == Ending::Clean => Ending::Clean,
            End::Reset => Ending::Reset,
            End::Orderly if session.farewell && !session.http11 && between => Ending::Clean,
            End::Orderly => Ending::Torn,
        };
        let ending = session.ending;
        assert!(ending != Ending::Clean || between, "bytes after a clean end");
        self.judge_ending(scene, ending, left, was_full);
    }

    /// Asserts that a stream ended in the middle only for a reason that leaves a slow peer no choice.
    fn judge_ending(&mut self, scene: &mut Scene, ending: Ending, left: bool, was_full: bool) {
        // A stream that was never greeted is still an answer.
        if left || self.noisy || !self.session_mut(scene).is_open {
            return;
        }
        let classes = &scene.plan.classes;
        let topics = self.index.map_or(&[][..], |index| &scene.sessions[index].topics);
        let cut = scene.ending && was_full;
        let allowed = match ending {
            Ending::Torn => cut || scene.stops(),
            Ending::Reset => {
                let operated = scene.operated.contains(&self.peer.conn);
                let timed = scene.ending || classes.ends_by_age() || operated;
                (classes.may_have(topics, SlowPolicy::Disconnect) || timed || scene.plan.sheds) && was_full
            }
            Ending::Clean | Ending::Open | Ending::Left => true,
        };
        if ending == Ending::Clean && !scene.ending && !scene.operated.contains(&self.peer.conn) {
            let session = self.index.map_or(&self.session, |index| &scene.sessions[index]);
            let silent = session.judge_end(&scene.ledger, classes, scene.now.mono_ms);
            scene.cover.hit_if(silent, Branch::EndedBySilence);
        }
        assert!(allowed, "a stream was ended as {ending:?}: {:#?}", self.session_mut(scene));
        scene.cover.hit_if(ending == Ending::Torn && cut, Branch::CutAtDrainDeadline);
    }
}
