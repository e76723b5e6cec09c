//! Facts about requests that wait for the word of the application.

use std::sync::Arc;

use fanwheel::base::counters::Count;
use fanwheel::base::limits::AUTHORIZE_MS;
use fanwheel::base::listener::ListenerKind;
use fanwheel::base::settings::{Settings, SubscribeAccess};
use fanwheel::fanout::application_desk::OpenQuestion;
use fanwheel::wire::auth::access::AccessRules;
use fanwheel::wire::auth::application::ApplicationAnswer;
use fanwheel::wire::auth::class_access::ClassAccess;

use super::{Bench, batch};

const SUBSCRIBE: &str = "GET /events?topic=t HTTP/1.1\r\nHost: a\r\n";

fn bench() -> Bench {
    let bench = Bench::new(Settings { subscribe: SubscribeAccess::Token, ..Settings::default() });
    let mut rules = AccessRules::default();
    (rules.asks_application, rules.classes) = (true, ClassAccess::new(&bench.node.settings));
    bench.node.replace_access(Arc::new(rules));
    bench
}

impl Bench {
    fn turns(&mut self, ms: u64) {
        (0..5).for_each(|_| self.turn(ms));
    }

    /// A public connection that has sent this.
    fn asks(&mut self, request: &str) -> usize {
        let conn = self.connect(ListenerKind::Public, request.as_bytes());
        self.turns(1);
        conn
    }

    /// The questions that wait.
    fn questions(&self) -> Vec<OpenQuestion> {
        self.node.questions().try_iter().collect()
    }

    fn settle(&mut self, question: &OpenQuestion, status: u16) {
        let answer = ApplicationAnswer::read(status, "", b"", self.now.wall_ms);
        self.node.settle_question(question, answer, self.now);
        self.turns(1);
    }
}

#[test]
fn a_request_waits_for_its_own_word_and_others_wait_for_nothing() {
    let mut bench = bench();
    let [first, second] = [(); 2].map(|()| bench.asks(&format!("{SUBSCRIBE}\r\n")));
    let questions = bench.questions();
    assert_eq!(questions.len(), 2);
    bench.settle(&questions[1], 403);
    assert_eq!(bench.read(first), "");
    assert!(bench.read(second).starts_with("HTTP/1.1 403"));
    bench.settle(&questions[0], 200);
    assert!(bench.read(first).starts_with("HTTP/1.1 200"));
    let publisher = bench.connect(ListenerKind::Control, &batch(2));
    bench.turns(1);
    assert!(bench.read(publisher).starts_with("HTTP/1.1 202"), "the operator's listener asks nobody");
    bench.assert_brought(first, 2);
}

#[test]
fn a_word_is_for_one_request_and_the_answers_come_in_order() {
    let mut bench = bench();
    let publish = "POST /publish?topic=t HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx";
    let health = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
    let conn = bench.asks(&format!("{health}{publish}{publish}{health}"));
    assert!(bench.read(conn).starts_with("HTTP/1.1 200"), "what came before waits for nobody");
    let questions = bench.questions();
    assert_eq!(questions.len(), 1, "one at a time");
    bench.settle(&questions[0], 200);
    assert!(bench.read(conn).starts_with("HTTP/1.1 202"));
    let questions = bench.questions();
    assert_eq!(questions.len(), 1, "the next request has a question of its own");
    bench.settle(&questions[0], 200);
    let text = bench.read(conn);
    assert!(text.starts_with("HTTP/1.1 202") && text.contains("HTTP/1.1 200"), "{text}");
    assert_eq!(bench.node.totals().counts[Count::Published as usize], 2);
}

#[test]
fn a_word_that_comes_late_or_to_another_owner_lets_nobody_in() {
    let mut bench = bench();
    let late = bench.asks(&format!("{SUBSCRIBE}\r\n"));
    let browser =
        bench.asks(&format!("{SUBSCRIBE}Accept: text/event-stream\r\nCache-Control: no-cache\r\n\r\n"));
    let gone = bench.asks(&format!("{SUBSCRIBE}\r\n"));
    let questions = bench.questions();
    bench.net.finish(gone);
    bench.turns(AUTHORIZE_MS / 4);
    bench.turns(1);
    assert!(bench.read(late).starts_with("HTTP/1.1 503"));
    let text = bench.read(browser);
    assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("0\r\n\r\n"), "it may come again: {text}");
    let next = bench.asks(&format!("{SUBSCRIBE}\r\n"));
    bench.net.send(late, format!("{SUBSCRIBE}\r\n").as_bytes());
    bench.turns(1);
    for question in &questions {
        bench.settle(question, 200);
    }
    assert_eq!(
        (bench.read(next), bench.read(late)),
        (String::new(), String::new()),
        "they wait for their own"
    );
    assert_eq!(bench.node.totals().counts[Count::Subscribed as usize], 0);
}
