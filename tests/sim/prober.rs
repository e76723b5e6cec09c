//! A prober: everything that is neither a stream nor a publish, good and bad, alone and in pipelines.
//!
//! Owns a table of requests and the statuses that each may be answered with.

use fanwheel::base::listener::ListenerKind;

use crate::answer::AwaitedAnswer;
use crate::conversation::Conversation;
use crate::cover::Branch;
use crate::net::Net;
use crate::peer::Peer;
use crate::scene::Scene;
use crate::setup::pick;

/// A request: where, its bytes, the statuses that may answer it besides those that anything may get.
struct Row(ListenerKind, &'static str, &'static [u16]);

const PUBLIC: ListenerKind = ListenerKind::Public;
const CONTROL: ListenerKind = ListenerKind::Control;
const METRICS: ListenerKind = ListenerKind::Metrics;

const TABLE: &[Row] = &[
    Row(PUBLIC, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", &[200]),
    Row(PUBLIC, "HEAD /healthz HTTP/1.1\r\nHost: a\r\n\r\n", &[200]),
    Row(PUBLIC, "GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", &[200]),
    Row(PUBLIC, "GET /healthz HTTP/1.0\r\n\r\n", &[200]),
    Row(PUBLIC, "GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", &[200]),
    Row(PUBLIC, "GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n", &[200, 503]),
    Row(PUBLIC, "GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n", &[200, 503]),
    Row(PUBLIC, "HEAD /readyz HTTP/1.1\r\nHost: a\r\n\r\n", &[200, 503]),
    Row(CONTROL, "GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n", &[200, 503]),
    Row(CONTROL, "GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n", &[200]),
    Row(CONTROL, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", &[200]),
    Row(CONTROL, "GET /status HTTP/1.1\r\nHost: evil.example\r\n\r\n", &[421]),
    Row(CONTROL, "GET /status HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\r\n", &[403]),
    Row(PUBLIC, "GET /status HTTP/1.1\r\nHost: a\r\n\r\n", &[404]),
    Row(PUBLIC, "GET /events HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
    Row(PUBLIC, "DELETE /events?topic=t0 HTTP/1.1\r\nHost: a\r\n\r\n", &[405]),
    Row(PUBLIC, "HEAD /events?topic=t0 HTTP/1.1\r\nHost: a\r\n\r\n", &[200]),
    Row(PUBLIC, "OPTIONS /events HTTP/1.1\r\nHost: a\r\n\r\n", &[204]),
    Row(PUBLIC, "GET /events?topic=t0 HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\n\r\n", &[406]),
    Row(PUBLIC, "POST /publish?topic=t0 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", &[403]),
    Row(CONTROL, "POST /publish?topic=t0 HTTP/1.1\r\nHost: localhost\r\n\r\n", &[411]),
    Row(METRICS, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", &[200]),
    Row(METRICS, "HEAD /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n", &[200, 503]),
    Row(METRICS, "GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n", &[421]),
    Row(METRICS, "GET /events?topic=t0 HTTP/1.1\r\nHost: localhost\r\n\r\n", &[404]),
    Row(
        METRICS,
        "POST /publish?topic=t0 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello",
        &[404],
    ),
    Row(METRICS, "POST /drain HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", &[404]),
    Row(PUBLIC, "BLAH\r\n\r\n", &[400]),
    Row(PUBLIC, "GET /healthz HTTP/1.1\r\nHost: a\r\nbad field\r\n\r\n", &[400]),
];

/// Beginnings of requests that never go on.
const UNFINISHED: &[Row] = &[
    Row(PUBLIC, "GET /heal", &[408]),
    Row(PUBLIC, "GET /healthz HTTP/1.1\r\nHost: a\r\n", &[408]),
    Row(METRICS, "GET /metr", &[408]),
    Row(
        CONTROL,
        "POST /publish?topic=t0 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\nnot all",
        &[408, 413],
    ),
    Row(
        CONTROL,
        "POST /publish?topic=t0 HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nnot",
        &[408],
    ),
];

/// An actor that sends requests of the table.
pub struct Prober {
    conversation: Conversation,
    listener: ListenerKind,
    /// Nothing more is asked on this connection, and its last request may not be whole.
    is_stuck: bool,
    /// It half-closes once everything is sent.
    finishes: bool,
}

impl Prober {
    /// Makes a prober without a connection.
    pub fn new() -> Prober {
        Prober { conversation: Conversation::default(), listener: PUBLIC, is_stuck: false, finishes: false }
    }

    /// Does a little.
    pub fn step(&mut self, net: &mut Net, scene: &mut Scene) {
        if self.conversation.wants_to_connect(scene, 4) {
            self.listener = match scene.prng.below(6) {
                0 | 1 => CONTROL,
                2 => METRICS,
                _ => PUBLIC,
            };
            self.conversation.connect(net, scene, self.listener);
            (self.is_stuck, self.finishes) = (false, false);
        }
        if self.conversation.is_free() && !self.is_stuck && !scene.calm && scene.one_in(3) {
            self.ask(scene);
        }
        for answer in self.conversation.pump(net, scene) {
            let Row(_, request, statuses) = row(answer.tag);
            let status = answer.status;
            let expected = statuses.contains(&status) || matches!(status, 503 | 408);
            assert!(expected, "{status} {:?} to {request:?}", answer.body);
            scene.cover.hit_if(answer.body.contains("\"not_ready\""), Branch::ProbeTimedOut);
        }
        if let Some(peer) = &self.conversation.peer
            && self.finishes
            && peer.has_sent()
            && !net.socks[peer.conn].peer_finished
        {
            scene.hit(Branch::HalfClosedPeer);
            net.finish(peer.conn);
        }
        if self.conversation.wants_to_leave(scene, 200) {
            self.leave(net, scene);
        }
    }

    fn ask(&mut self, scene: &mut Scene) {
        let Some(peer) = &mut self.conversation.peer else { return };
        let count = match scene.prng.below(30) {
            0 => 150,
            1..6 => 2 + scene.prng.below(4),
            _ => 1,
        };
        scene.cover.hit_if(count == 150, Branch::PipelineHeld);
        for _ in 0..count {
            let tags = 0..TABLE.len();
            let fitting: Vec<usize> = tags.filter(|&tag| TABLE[tag].0 == self.listener).collect();
            let cheap = if self.listener == PUBLIC { 0 } else { fitting[0] };
            let tag = if count > 100 { cheap } else { pick(&mut scene.prng, &fitting) };
            ask_row(peer, tag);
        }
        if scene.one_in(12) {
            let tags = 0..UNFINISHED.len();
            let fitting: Vec<usize> = tags.filter(|&tag| UNFINISHED[tag].0 == self.listener).collect();
            ask_row(peer, TABLE.len() + pick(&mut scene.prng, &fitting));
            self.is_stuck = true;
        } else if scene.one_in(15) {
            (self.is_stuck, self.finishes) = (true, true);
        }
        let conn = peer.conn;
        scene.trace(|| format!("conn {conn} probes {count} times"));
    }

    /// Whether a calm step would do something.
    pub fn has_news(&self, net: &Net) -> bool {
        self.conversation.has_news(net)
    }

    /// Asserts the conditions that hold when nothing is left to do.
    pub fn check_at_rest(&self, net: &Net) {
        self.conversation.check_at_rest(net, |tag| tag < TABLE.len());
    }

    /// Widens or narrows the window.
    pub fn set_calm(&self, net: &mut Net, calm: bool) {
        self.conversation.set_calm(net, calm);
    }

    /// Leaves, or leaves a conversation.
    pub fn leave(&mut self, net: &mut Net, scene: &mut Scene) {
        self.conversation.leave(net, scene);
    }
}

fn row(tag: usize) -> &'static Row {
    TABLE.get(tag).unwrap_or_else(|| &UNFINISHED[tag - TABLE.len()])
}

fn ask_row(peer: &mut Peer, tag: usize) {
    let Row(_, request, _) = row(tag);
    let http11 = !request.contains("HTTP/1.0");
    peer.ask(request.as_bytes(), AwaitedAnswer { tag, head_only: request.starts_with("HEAD"), http11 });
}
