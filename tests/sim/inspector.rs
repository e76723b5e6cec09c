//! An inspector: lists connections and topics, ends some connections, and compares each answer with the
//! sockets, which know the truth.
//!
//! While things move, a row must name a connection that there is or was, with its own client and topics, and
//! no more bytes than it got. At rest the answers must be exact.

use std::collections::{BTreeMap, BTreeSet};

use fanwheel::base::limits::SURVEY_TELL_MS;
use fanwheel::base::listener::ListenerKind;
use fanwheel::base::time::{Now, TICK_MS};
use fanwheel::fanout::node::Node;
use fanwheel::fanout::worker::ConnToken;
use serde_json::Value;

use crate::answer::{Answer, AwaitedAnswer};
use crate::conversation::Conversation;
use crate::cover::Branch;
use crate::ledger::Forgetting;
use crate::net::Net;
use crate::peer::is_proxy;
use crate::scene::{Scene, encode};
use crate::session::topic_of;
use crate::setup::pick;

/// A stream waits so long for events on their way to it before it is ended, or a little less.
const END_MS: u64 = 1_300;

const CONNECTION_SORTS: [&str; 5] = ["lag", "age", "bytes", "slow", "address"];
const TOPIC_SORTS: [&str; 4] = ["subscribers", "events", "bytes", "name"];

/// A question of the inspector.
#[derive(Clone, Debug)]
enum Question {
    Connections(&'static str),
    Topics(&'static str),
    /// A connection that may have ended since, with its number; none for an id that never was.
    End(String, Option<usize>),
    /// A topic's number, and that of the request in the ledger.
    Forget(usize, usize),
}

/// An actor that reads the server's surveys and ends connections.
pub struct Inspector {
    conversation: Conversation,
    /// With the time when it was asked.
    asked: Vec<(Question, u64)>,
    /// Streams seen, by id, with their numbers.
    known: BTreeMap<String, usize>,
    /// Connections that the server says it ends, and when it said so.
    ended: BTreeMap<usize, u64>,
    /// The answers of an exact look.
    kept: Option<Vec<Value>>,
}

impl Inspector {
    /// One that has seen nothing.
    pub fn new() -> Inspector {
        Inspector {
            conversation: Conversation::default(),
            asked: Vec::new(),
            known: BTreeMap::new(),
            ended: BTreeMap::new(),
            kept: None,
        }
    }

    /// Does a little.
    pub fn step(&mut self, net: &mut Net, scene: &mut Scene) {
        if self.conversation.wants_to_connect(scene, 6) {
            self.connect(net, scene);
        }
        if self.conversation.is_free() && !scene.calm && scene.one_in(5) {
            for _ in 0..if scene.one_in(6) { 3 } else { 1 } {
                let question = self.draw(scene);
                self.ask(scene, question);
            }
        }
        for answer in self.conversation.pump(net, scene) {
            self.judge(net, scene, &answer);
        }
        if self.conversation.wants_to_leave(scene, 100) {
            self.leave(net, scene);
        }
    }

    fn connect(&mut self, net: &mut Net, scene: &mut Scene) {
        self.conversation.connect(net, scene, ListenerKind::Control);
        self.asked.clear();
    }

    /// Forgets the ids of a server that has ended: the next one gives them to other connections.
    pub fn forget_ids(&mut self) {
        self.known.clear();
    }

    fn draw(&self, scene: &mut Scene) -> Question {
        match scene.prng.below(8) {
            0..4 => Question::Connections(pick(&mut scene.prng, &CONNECTION_SORTS)),
            4 if scene.one_in(3) => self.draw_forgetting(scene),
            4 => Question::Topics(pick(&mut scene.prng, &TOPIC_SORTS)),
            5 => Question::End(format!("0-{}-9999999", scene.prng.below(9)), None),
            _ => {
                let known: Vec<(&String, &usize)> = self.known.iter().collect();
                match known.is_empty() {
                    true => Question::Connections("slow"),
                    false => {
                        let (id, &conn) = pick(&mut scene.prng, &known);
                        Question::End(id.clone(), Some(conn))
                    }
                }
            }
        }
    }

    fn draw_forgetting(&self, scene: &mut Scene) -> Question {
        let topic = scene.draw_topics(1)[0];
        let (asked_ms, asked_at) = (scene.now.mono_ms, scene.head);
        scene.ledger.forgettings.push(Forgetting { topic, asked_ms, asked_at, answered_at: None });
        Question::Forget(topic, scene.ledger.forgettings.len() - 1)
    }

    fn ask(&mut self, scene: &mut Scene, question: Question) {
        let Some(peer) = &mut self.conversation.peer else { return };
        let line = match &question {
            Question::Connections(sort) => format!("GET /connections?sort={sort}&limit=1000&info=1"),
            Question::Topics(sort) => format!("GET /topics?sort={sort}&limit=1000"),
            Question::End(id, conn) => {
                scene.operated.extend(conn);
                format!("DELETE /connections/{id}")
            }
            Question::Forget(topic, _) => format!("DELETE /topics?topic={}", encode(&topic_of(*topic))),
        };
        let request = format!("{line} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        peer.ask(request.as_bytes(), AwaitedAnswer { tag: self.asked.len(), head_only: false, http11: true });
        let conn = peer.conn;
        scene.trace(|| format!("conn {conn} asks {line}"));
        self.asked.push((question, scene.now.mono_ms));
    }

    fn judge(&mut self, net: &Net, scene: &mut Scene, answer: &Answer) {
        let (question, asked_ms) = self.asked[answer.tag].clone();
        match (&question, answer.status) {
            (_, 408) => {}
            (_, 503) => scene.cover.hit_if(answer.body.contains("surveys_full"), Branch::RefusedSurveys),
            (Question::Connections(_), 200) => {
                let page: Value = serde_json::from_str(&answer.body).expect("JSON");
                if page.get("incomplete").is_some() {
                    let waited_ms = scene.now.mono_ms - asked_ms;
                    assert!(waited_ms + TICK_MS >= SURVEY_TELL_MS, "given up after {waited_ms} ms");
                    scene.hit(Branch::SurveyIncomplete);
                }
                self.judge_rows(net, scene, &page);
                self.kept.iter_mut().for_each(|kept| kept.push(page.clone()));
            }
            (Question::Topics(_), 200) => {
                let page: Value = serde_json::from_str(&answer.body).expect("JSON");
                self.kept.iter_mut().for_each(|kept| kept.push(page.clone()));
            }
            (Question::End(_, Some(conn)), 204) => {
                scene.hit(Branch::EndedByOperator);
                self.ended.insert(*conn, scene.now.mono_ms);
            }
            (Question::End(_, Some(conn)), 404) => {
                assert!(net.socks[*conn].token.is_none(), "conn {conn} is open");
                scene.hit(Branch::EndedBefore);
            }
            (Question::End(_, None), 404) => {}
            (&Question::Forget(_, nth), 200 | 404) => {
                scene.ledger.note_forgotten(nth, scene.head);
                let some = answer.status == 200 && !answer.body.contains("{\"events\":0}");
                scene.cover.hit_if(some, Branch::Forgotten);
            }
            (question, status) => panic!("{status} {:?} to {question:?}", answer.body),
        }
        if let Question::End(id, _) = &question {
            self.known.remove(id);
        }
    }

    /// Each row is some connection's own.
    fn judge_rows(&mut self, net: &Net, scene: &Scene, page: &Value) {
        let mut seen = BTreeSet::new();
        for row in page["connections"].as_array().expect("rows") {
            let conn = conn_of(net, row);
            assert!(seen.insert(conn), "conn {conn} is told twice");
            let sock = &net.socks[conn];
            let address = row["address"].as_str().expect("an address");
            // The header that names it may be on its way.
            let known =
                [Some(sock.client_name()), Some(sock.peer_name()).filter(|_| row["state"] == "talking")];
            let is_own = known.into_iter().flatten().any(|name| address == name.to_string());
            assert!(is_own, "conn {conn} has another client: {address}");
            assert!(row["bytes"].as_u64().expect("a number") <= sock.bytes_taken, "conn {conn}: {row}");
            if row["state"] != "talking" {
                self.known.insert(row["id"].as_str().expect("an id").to_owned(), conn);
            }
            let session = scene.sessions.iter().find(|session| session.conn == conn);
            let topics = session.map(|session| &session.topics).or(scene.polls.get(&conn));
            if let Some(topics) = topics.filter(|_| row["state"] != "talking") {
                let names: Vec<String> = topics.iter().map(|&topic| topic_of(topic)).collect();
                assert_eq!(row["topics"], serde_json::json!(names), "conn {conn}");
            }
        }
    }

    /// Begins an exact look, with the world at rest.
    pub fn begin_look(&mut self, net: &mut Net, scene: &mut Scene) {
        if self.conversation.owes() {
            return;
        }
        if let Some(peer) = self.conversation.peer.take() {
            net.leave(peer.conn);
        }
        self.connect(net, scene);
        self.kept = Some(Vec::new());
        let sort = pick(&mut scene.prng, &CONNECTION_SORTS);
        self.ask(scene, Question::Connections(sort));
        let sort = pick(&mut scene.prng, &TOPIC_SORTS);
        self.ask(scene, Question::Topics(sort));
    }

    /// Judges it, with the world at rest again.
    pub fn end_look(&mut self, net: &Net, scene: &mut Scene, node: &Node) {
        let Some(kept) = self.kept.take() else { return };
        let [connections, topics] = &kept[..] else { panic!("{} answers of 2", kept.len()) };
        let [(Question::Connections(by), _), (Question::Topics(topics_by), _)] = &self.asked[..2] else {
            unreachable!("asked in this order")
        };
        assert_eq!((connections.get("incomplete"), topics.get("incomplete")), (None, None));
        judge_all_connections(net, scene, connections, by);
        judge_all_topics(net, scene, topics, topics_by, node);
        scene.hit(Branch::ExactLook);
    }

    /// Whether a calm step would do something.
    pub fn has_news(&self, net: &Net) -> bool {
        self.conversation.has_news(net)
    }

    /// Asserts the conditions that hold when nothing is left to do.
    pub fn check_at_rest(&self, net: &Net, now: Now) {
        for (conn, &ended_ms) in &self.ended {
            let is_over = net.socks[*conn].token.is_none() || now.mono_ms < ended_ms + END_MS;
            assert!(is_over, "conn {conn} goes on after it was ended");
        }
        self.conversation.check_at_rest(net, |_| true);
    }

    /// Widens or narrows the window.
    pub fn set_calm(&self, net: &mut Net, calm: bool) {
        self.conversation.set_calm(net, calm);
    }

    /// Leaves, or leaves the workers with a question.
    pub fn leave(&mut self, net: &mut Net, scene: &mut Scene) {
        scene.cover.hit_if(self.conversation.owes(), Branch::AskerGone);
        self.conversation.leave(net, scene);
    }
}

/// The number of the connection that a row names.
fn conn_of(net: &Net, row: &Value) -> usize {
    let id = row["id"].as_str().expect("an id");
    let numbers: Vec<u32> = id.split('-').map(|number| number.parse().expect("a number")).collect();
    let [worker, slot, generation] = numbers[..] else { panic!("{id}") };
    let token = ConnToken::new(slot, generation);
    let named = |sock: &crate::net::Sock| sock.worker == worker as usize && sock.born == Some(token);
    net.socks.iter().position(named).unwrap_or_else(|| panic!("{id} never was"))
}

fn open_conns(net: &Net) -> BTreeSet<usize> {
    (0..net.backlog.len()).flat_map(|worker| net.open_on(worker)).collect()
}

fn judge_all_connections(net: &Net, scene: &Scene, page: &Value, sort: &str) {
    let rows = page["connections"].as_array().expect("rows");
    let told: BTreeSet<usize> = rows.iter().map(|row| conn_of(net, row)).collect();
    assert_eq!(told, open_conns(net), "sorted by {sort}");
    assert_eq!(page["total"], rows.len());
    for row in rows {
        let conn = conn_of(net, row);
        let session = scene.sessions.iter().find(|session| session.conn == conn && session.is_open);
        let peer_finished = net.socks[conn].peer_finished;
        if session.is_some_and(|session| !session.farewell) && !peer_finished {
            assert_eq!((&row["state"], &row["lag_ms"]), (&"live".into(), &0.into()), "conn {conn}");
        }
        assert!(row["state"] != "talking" || session.is_none(), "conn {conn} streams");
    }
    let number = |name: &'static str| rows.iter().map(move |row| row[name].as_u64().expect("a number"));
    match sort {
        "lag" => assert!(number("lag_ms").is_sorted_by(|a, b| a >= b)),
        "age" => assert!(number("age_ms").is_sorted_by(|a, b| a >= b)),
        "address" => {
            assert!(rows.iter().map(|row| net.socks[conn_of(net, row)].client_name().ip()).is_sorted());
        }
        "bytes" => {
            // The asker's own answer was not sent yet when it was described.
            assert!(number("bytes").is_sorted_by(|a, b| a >= b));
        }
        _ => {}
    }
}

fn judge_all_topics(net: &Net, scene: &Scene, page: &Value, sort: &str, node: &Node) {
    let rows = page["topics"].as_array().expect("rows");
    let sizes = node.hub.sizes();
    let sum = |name: &str| rows.iter().map(|row| row[name].as_u64().expect("a number")).sum::<u64>() as usize;
    assert_eq!((rows.len(), &page["total"]), (sizes.topics, &sizes.topics.into()));
    // An event of several topics counts in each of them, and once in the node.
    assert!(sum("events") >= sizes.frames && sum("bytes") + sizes.list_bytes >= sizes.bytes);
    assert_eq!(sum("events") == 0, sizes.frames == 0);
    let most = |name: &str| rows.iter().map(|row| row[name].as_u64().expect("a number")).max().unwrap_or(0);
    assert!(most("events") as usize <= sizes.frames && most("bytes") as usize <= sizes.bytes);
    let open = open_conns(net);
    // A refused browser gets an answer that looks like a stream, but is never greeted.
    let streams = scene.sessions.iter().filter(|session| session.is_open && open.contains(&session.conn));
    let polls = scene.polls.iter().filter(|(conn, _)| open.contains(conn)).map(|(_, topics)| topics);
    let listened = streams.map(|session| &session.topics).chain(polls).flatten();
    let listened: Vec<String> = listened.map(|&topic| topic_of(topic)).collect();
    for row in rows {
        let name = row["topic"].as_str().expect("a name");
        let subscribers = listened.iter().filter(|topic| *topic == name).count();
        assert_eq!(row["subscribers"], subscribers, "{name}");
    }
    let number = |name: &'static str| rows.iter().map(move |row| row[name].as_u64().expect("a number"));
    match sort {
        "name" => assert!(rows.iter().map(|row| row["topic"].as_str()).is_sorted()),
        "events" => assert!(number("events").is_sorted_by(|a, b| a >= b)),
        "bytes" => assert!(number("bytes").is_sorted_by(|a, b| a >= b)),
        _ => assert!(number("subscribers").is_sorted_by(|a, b| a >= b)),
    }
}

/// Asserts that the addresses counted are those of the open connections.
pub fn judge_addresses(net: &Net, node: &Node) {
    let mut counts = BTreeMap::new();
    for conn in open_conns(net) {
        *counts.entry(net.socks[conn].client_name().ip()).or_insert(0) += 1;
    }
    let told: BTreeMap<_, u64> =
        node.top_addresses().iter().map(|count| (count.address, count.connections)).collect();
    assert_eq!(told, counts);
}

/// Asserts that no client has more streams than an address may have. A proxy that names none has no cap.
pub fn judge_caps(net: &Net, scene: &Scene) {
    let most = scene.plan.settings.connections_per_address_max;
    let mut counts = BTreeMap::new();
    for session in scene.sessions.iter().filter(|session| session.is_open && !session.farewell) {
        let sock = &net.socks[session.conn];
        let client = sock.client_name().ip();
        if !is_proxy(client) && sock.token.is_some() && sock.listener == ListenerKind::Public {
            *counts.entry(client).or_insert(0) += 1;
        }
    }
    let over = counts.iter().find(|(_, streams)| most > 0 && **streams > most);
    assert_eq!(over, None, "a client has more streams than {most}");
}
