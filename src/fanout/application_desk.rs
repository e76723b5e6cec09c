//! Questions to the application on their way out, and its answers on their way back.
//!
//! ```text
//! worker: find (a kept answer) ──► ask ──► next_question: a thread outside of the workers asks
//!                                                                  │
//! worker: take_verdicts ◄── the mailbox of the asker ◄── settle ◄──┘ keeps the answer, if it says so
//! ```
//!
//! | bound | of |
//! | --- | --- |
//! | `QUESTIONS_MAX` | questions that wait; beyond them a request is refused |
//! | `AUTHORIZE_MS` | the wait of one request |
//! | `KEPT_ANSWERS_MAX` | answers kept; beyond them the ones that have ended go, else none is added |
//!
//! Sends nothing, and reads no answer.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::hash::SeededHash;
use super::token::{Asker, ConnToken};
use crate::base::limits::AUTHORIZE_MS;
use crate::base::time::Now;
use crate::wire::auth::application::{ApplicationAnswer, ApplicationQuestion, ApplicationVerdict};

/// Questions that wait to be asked.
const QUESTIONS_MAX: usize = 1_024;
/// Answers that are kept.
const KEPT_ANSWERS_MAX: usize = 65_536;
/// Milliseconds between two looks for answers that have ended, while there is no room.
const SWEEP_PAUSE_MS: u64 = 1_000;

/// A question that waits to be asked, or is being asked.
#[derive(Debug)]
pub struct OpenQuestion {
    /// The question itself.
    pub question: ApplicationQuestion,
    /// Millisecond of the monotonic clock from which on nobody waits for the answer.
    pub due_ms: u64,
    asker: Asker,
    number: u64,
}

/// A verdict on its way to the worker whose connection waits for it.
#[derive(Debug)]
pub(crate) struct VerdictMail {
    /// The connection, which may be gone.
    pub(crate) token: ConnToken,
    /// Tells this question from later ones of the same connection.
    pub(crate) number: u64,
    /// The verdict.
    pub(crate) verdict: ApplicationVerdict,
}

/// An answer that holds for some time.
#[derive(Debug)]
struct KeptAnswer {
    verdict: ApplicationVerdict,
    until_ms: u64,
}

/// The answers that are kept.
#[derive(Debug)]
struct KeptAnswers {
    by_key: HashMap<u128, KeptAnswer, SeededHash>,
    /// Millisecond of the last look for those that have ended.
    swept_ms: u64,
}

/// All questions and kept answers of a node.
#[derive(Debug)]
pub(crate) struct ApplicationDesk {
    questions: Sender<OpenQuestion>,
    waiting: Receiver<OpenQuestion>,
    kept: Mutex<KeptAnswers>,
    hash: SeededHash,
    numbers: AtomicU64,
}

impl ApplicationDesk {
    /// A desk without a question. Clients choose questions, so their table has a keyed `hash`.
    pub(crate) fn new(hash: SeededHash) -> ApplicationDesk {
        let (questions, waiting) = bounded(QUESTIONS_MAX);
        let kept = KeptAnswers { by_key: HashMap::with_hasher(hash.clone()), swept_ms: 0 };
        ApplicationDesk { questions, waiting, kept: Mutex::new(kept), hash, numbers: AtomicU64::new(0) }
    }

    /// Returns the answer that is kept for a question.
    pub(crate) fn find(&self, question: &ApplicationQuestion, now: Now) -> Option<ApplicationVerdict> {
        let kept = self.kept.lock().expect("a panic ends the process");
        let answer =
            kept.by_key.get(&self.key_of(question)).filter(|answer| answer.until_ms > now.mono_ms)?;
        let ended = |verdict: &ApplicationVerdict| {
            verdict.as_ref().is_ok_and(|owner| owner.ends_ms.is_some_and(|ends_ms| ends_ms <= now.wall_ms))
        };
        (!ended(&answer.verdict)).then(|| answer.verdict.clone())
    }

    /// Hands a question over. Returns its number, or none if too many wait.
    pub(crate) fn ask(&self, question: ApplicationQuestion, asker: Asker, now: Now) -> Option<u64> {
        let number = self.numbers.fetch_add(1, Relaxed);
        let due_ms = now.mono_ms + AUTHORIZE_MS;
        let open = OpenQuestion { question, due_ms, asker, number };
        self.questions.try_send(open).is_ok().then_some(number)
    }

    /// Returns the questions that wait; each goes to one of those that take them.
    pub(crate) fn waiting(&self) -> &Receiver<OpenQuestion> {
        &self.waiting
    }

    /// Keeps an answer for as long as it says. Returns the index of the worker that has asked, and its mail.
    pub(crate) fn settle(
        &self,
        open: &OpenQuestion,
        answer: ApplicationAnswer,
        now: Now,
    ) -> (usize, VerdictMail) {
        let ApplicationAnswer { verdict, kept_ms } = answer;
        if kept_ms > 0 {
            let kept = KeptAnswer { verdict: verdict.clone(), until_ms: now.mono_ms + kept_ms };
            self.keep(self.key_of(&open.question), kept, now.mono_ms);
        }
        (open.asker.worker, VerdictMail { token: open.asker.token, number: open.number, verdict })
    }

    fn keep(&self, key: u128, answer: KeptAnswer, now_ms: u64) {
        let mut kept = self.kept.lock().expect("a panic ends the process");
        // Workers wait meanwhile, so it looks seldom.
        if kept.by_key.len() >= KEPT_ANSWERS_MAX && now_ms >= kept.swept_ms + SWEEP_PAUSE_MS {
            kept.swept_ms = now_ms;
            kept.by_key.retain(|_, answer| answer.until_ms > now_ms);
        }
        if kept.by_key.len() < KEPT_ANSWERS_MAX {
            kept.by_key.insert(key, answer);
        }
    }

    /// The key of a question: as long as that nobody meets the answer to another one by chance.
    fn key_of(&self, question: &ApplicationQuestion) -> u128 {
        let half = |salt: u8| {
            let mut hasher = self.hash.hasher(salt);
            question.hash(&mut hasher);
            u128::from(hasher.finish())
        };
        half(1) << 64 | half(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::counters::RefusalReason;

    fn question(target: &str) -> ApplicationQuestion {
        let target = target.as_bytes().into();
        ApplicationQuestion { method: "GET", target, cookie: None, authorization: None }
    }

    fn at(mono_ms: u64) -> Now {
        Now { mono_ms, mono_us: mono_ms * 1_000, wall_ms: 1_000_000 + mono_ms }
    }

    fn answer(cache_control: &str, body: &str) -> ApplicationAnswer {
        ApplicationAnswer::read(200, cache_control, body.as_bytes(), 0)
    }

    fn asker() -> Asker {
        Asker { worker: 3, token: ConnToken::new(5, 6) }
    }

    /// Asks, and settles the question with an answer.
    fn settle(desk: &ApplicationDesk, target: &str, answer: ApplicationAnswer, now: Now) -> VerdictMail {
        let number = desk.ask(question(target), asker(), now).expect("room");
        let open = desk.waiting().try_recv().expect("it waits");
        let (worker, mail) = desk.settle(&open, answer, now);
        assert_eq!((worker, mail.number, mail.token), (3, number, asker().token));
        mail
    }

    #[test]
    fn an_answer_goes_to_its_asker_and_holds_for_its_time_and_its_question() {
        let desk = ApplicationDesk::new(SeededHash::new(1));
        assert!(settle(&desk, "/a", answer("max-age=10", ""), at(0)).verdict.is_ok());
        assert!(settle(&desk, "/b", answer("", ""), at(0)).verdict.is_ok());
        let found = |target, now_ms| desk.find(&question(target), at(now_ms)).is_some();
        assert!(found("/a", 9_999) && !found("/a", 10_000) && !found("/b", 1) && !found("/c", 1));
        let mut other = question("/a");
        other.cookie = Some(b"x=1"[..].into());
        assert_eq!(desk.find(&other, at(1)), None, "another client");
        settle(&desk, "/d", answer("max-age=10", r#"{"expires":1002}"#), at(0));
        assert!(found("/d", 1_999) && !found("/d", 2_000), "its owner has ended");
        let refused = ApplicationAnswer::read(403, "max-age=10", b"", 0);
        settle(&desk, "/e", refused, at(0));
        assert_eq!(desk.find(&question("/e"), at(1)), Some(Err(RefusalReason::NotAuthorized)));
    }

    #[test]
    fn questions_and_kept_answers_are_bounded() {
        let desk = ApplicationDesk::new(SeededHash::new(1));
        let asked = (0..2_000).filter(|n| desk.ask(question(&format!("/{n}")), asker(), at(0)).is_some());
        assert_eq!(asked.count(), QUESTIONS_MAX);
        while desk.waiting().try_recv().is_ok() {}
        for n in 0..KEPT_ANSWERS_MAX + 10 {
            settle(&desk, &format!("/{n}"), answer("max-age=10", ""), at(0));
        }
        assert!(desk.find(&question("/7"), at(1)).is_some());
        assert!(desk.find(&question(&format!("/{KEPT_ANSWERS_MAX}")), at(1)).is_none(), "there is no room");
        settle(&desk, "/new", answer("max-age=10", ""), at(10_000));
        assert!(desk.find(&question("/new"), at(10_001)).is_some(), "ended ones give way");
    }
}
