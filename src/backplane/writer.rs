//! The thread that publishes: gathers all that waits into one call, and has a few calls under way.
//!
//! Owns the writing connection, and the moments of probes and of trimming. Commits nothing: events come back
//! to this node through the reader, as those of other nodes do.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use redis::Value;

use super::entry::{NodeState, encode_events, encode_mark};
use super::flights::WaitingRepeat;
use super::link::{Link, LinkFault};
use super::retry::RetryPauses;
use super::script::{
    ScriptAnswer, ScriptArguments, ScriptForm, ScriptKey, ScriptPublish, StoredScript, read_answers,
};
use super::shared::{ServedNode, SharedState};
use crate::base::counters::RefusalReason;
use crate::base::id::EventId;
use crate::base::limits::PROBE_PERIOD_MS;
use crate::fanout::hub::{OrderRequest, PublishReceipt};

/// Publishes of one call.
const CALL_PUBLISHES_MAX: usize = 512;
/// Bytes of memory of the events of one call, unless a single publish has more.
const CALL_BYTES_MAX: usize = 1 << 20;
/// Calls under way: while Redis works on one, the next is on its way.
const CALLS_MAX: usize = 2;
/// The longest wait for the next publish, and so the interval of looks at flights that are late.
const WAIT_TIME: Duration = Duration::from_millis(50);
/// Time from one probe to the next.
const PROBE_INTERVAL: Duration = Duration::from_millis(PROBE_PERIOD_MS);
/// Time to the next probe while Redis refuses publishes.
const TRIAL_INTERVAL: Duration = Duration::from_millis(250);

/// A call that was sent.
struct Call {
    /// Publishes of it, by their numbers; none for a probe.
    publishes: Vec<Option<u64>>,
    arguments: ScriptArguments,
}

/// Bounds of the stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamBounds {
    /// Age up to which some class keeps events.
    pub(super) age_ms: u64,
    /// Bytes of memory in Redis.
    pub(super) bytes: u64,
    /// Time for which idempotency keys are kept.
    pub(super) key_ms: u64,
}

/// State of the thread.
pub(super) struct Writer {
    shared: Arc<SharedState>,
    served: ServedNode,
    requests: Receiver<OrderRequest>,
    bounds: StreamBounds,
    script: StoredScript,
    link: Option<Link>,
    calls: VecDeque<Call>,
    pauses: RetryPauses,
    next_try: Instant,
    next_probe: Instant,
    next_look: Instant,
    next_number: u64,
    /// The greatest id that Redis has given here.
    newest: EventId,
}

impl Writer {
    /// Makes the thread's state; it connects when it runs.
    pub(super) fn new(
        shared: Arc<SharedState>,
        served: ServedNode,
        requests: Receiver<OrderRequest>,
        bounds: StreamBounds,
        seed: u64,
    ) -> Writer {
        let now = Instant::now();
        Writer {
            newest: shared.start,
            shared,
            served,
            requests,
            bounds,
            script: StoredScript::publish(),
            link: None,
            calls: VecDeque::new(),
            pauses: RetryPauses::new(seed),
            next_try: now,
            next_probe: now,
            next_look: now,
            next_number: 0,
        }
    }

    /// Works until the process ends.
    pub(super) fn run(mut self) {
        loop {
            self.take_turn();
        }
    }

    fn take_turn(&mut self) {
        let now = Instant::now();
        if now >= self.next_look {
            self.next_look = now + WAIT_TIME;
            self.answer_late();
        }
        if self.link.is_none() && now >= self.next_try {
            self.connect();
        }
        let gathered = self.gather();
        if self.link.is_none() {
            gathered.into_iter().for_each(|request| self.refuse(request));
            return;
        }
        let probes = Instant::now() >= self.next_probe;
        if !gathered.is_empty() || probes {
            self.send_call(gathered, probes);
        }
        let idle = self.requests.is_empty();
        while self.calls.len() >= if idle { 1 } else { CALLS_MAX } {
            self.receive_answer();
        }
        if probes {
            while !self.calls.is_empty() {
                self.receive_answer();
            }
            self.trim_stream();
        }
    }

    fn connect(&mut self) {
        match self.shared.target.connect() {
            Ok(link) => {
                self.shared.writer.note_connect();
                self.link = Some(link);
                // Its answer tells whether publishes are taken.
                self.next_probe = Instant::now();
            }
            Err(fault) => self.lose_link(fault.to_string()),
        }
    }

    /// Waits for a publish, and takes all that wait with it.
    fn gather(&mut self) -> Vec<OrderRequest> {
        let due = if self.link.is_some() { self.next_probe } else { self.next_try };
        let wait = WAIT_TIME.min(due.saturating_duration_since(Instant::now()));
        let Ok(first) = self.requests.recv_timeout(wait) else { return Vec::new() };
        let memory = |request: &OrderRequest| -> usize {
            request.events.iter().map(|event| event.memory_bytes()).sum()
        };
        let mut bytes = memory(&first);
        let mut gathered = vec![first];
        while gathered.len() < CALL_PUBLISHES_MAX
            && bytes < CALL_BYTES_MAX
            && let Ok(next) = self.requests.try_recv()
        {
            bytes += memory(&next);
            gathered.push(next);
        }
        gathered
    }

    fn send_call(&mut self, gathered: Vec<OrderRequest>, probes: bool) {
        let tag = self.shared.start.tag_number();
        let floor = self.newest.max(self.served.node.hub.lock().head());
        let mut arguments = ScriptArguments::publish(&self.shared.keys, floor, tag, self.bounds.key_ms);
        let mut publishes = Vec::with_capacity(gathered.len() + 1);
        for OrderRequest { ticket, events, key, local } in gathered {
            let number = self.draw_number();
            let payload = match local {
                true => encode_mark(self.shared.own, number, None),
                false => encode_events(self.shared.own, number, &events),
            };
            let key_words = key.as_ref().map(|key| ScriptKey {
                text: &key.text,
                fingerprint: key.fingerprint,
                subscribers: self.served.node.hub.count_subscribers(&events),
            });
            let publish = ScriptPublish { places: events.len(), payload, key: key_words };
            arguments.add(&self.shared.keys, publish);
            publishes.push(Some(number));
            self.shared.flights.begin(number, ticket, events, key);
        }
        if probes {
            let number = self.draw_number();
            let payload = encode_mark(self.shared.own, number, Some(&self.own_state()));
            arguments.add(&self.shared.keys, ScriptPublish { places: 1, payload, key: None });
            publishes.push(None);
            self.shared.trips.note_sent(number);
            self.next_probe = Instant::now() + PROBE_INTERVAL;
        }
        let packed = self.script.command(&arguments, ScriptForm::ByHash).get_packed_command();
        self.calls.push_back(Call { publishes, arguments });
        let Some(link) = &mut self.link else { return };
        if let Err(fault) = link.send(&packed) {
            self.lose_link(fault.to_string());
        }
    }

    fn draw_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn own_state(&self) -> NodeState {
        let round_trip_ms = self.shared.trips.latest().as_millis();
        NodeState {
            name: self.shared.name.clone(),
            subscribers: self.served.node.totals().subscribers_open,
            round_trip_ms: u64::try_from(round_trip_ms).unwrap_or(u64::MAX),
            draining: self.served.node.is_draining(),
        }
    }

    /// Waits for the answer to the oldest call.
    fn receive_answer(&mut self) {
        let (Some(call), Some(link)) = (self.calls.pop_front(), &mut self.link) else { return };
        let mut answer = link.receive();
        if matches!(answer, Err(LinkFault::NoScript)) {
            answer = self.send_text(&call);
        }
        match answer {
            Ok(value) => self.settle(&call, value),
            Err(LinkFault::Cut(words)) => {
                // It may have been carried out: the reader will tell.
                self.calls.push_front(call);
                self.lose_link(words);
            }
            Err(fault) => {
                self.next_probe = self.next_probe.min(Instant::now() + TRIAL_INTERVAL);
                self.shared.writer.mark_away(fault.to_string());
                self.refuse_call(&call);
            }
        }
    }

    /// Sends a call again with the whole script, which Redis has forgotten. Later calls are answered first.
    fn send_text(&mut self, call: &Call) -> Result<Value, LinkFault> {
        let Some(link) = &mut self.link else { return Err(LinkFault::NoScript) };
        // Later calls have met the same. They are refused rather than sent again out of their order.
        link.send(&self.script.command(&call.arguments, ScriptForm::WithText).get_packed_command())?;
        let mut later = VecDeque::new();
        for _ in 0..self.calls.len() {
            later.push_back(link.receive());
        }
        let answer = link.receive();
        let calls: Vec<Call> = self.calls.drain(..).collect();
        for (call, met) in calls.into_iter().zip(later) {
            match met {
                Ok(value) => self.settle(&call, value),
                Err(LinkFault::Cut(words)) => return Err(LinkFault::Cut(words)),
                Err(_) => self.refuse_call(&call),
            }
        }
        answer
    }

    /// Notes the ids of a call, and answers repeats.
    fn settle(&mut self, call: &Call, value: Value) {
        let answers = read_answers(value).filter(|answers| answers.len() == call.publishes.len());
        let Some(answers) = answers else {
            self.lose_link("an answer that this program does not know".to_owned());
            return;
        };
        self.pauses.reset();
        self.shared.writer.mark_up();
        for (number, answer) in call.publishes.iter().zip(answers) {
            if let ScriptAnswer::Ordered(id) = answer {
                self.newest = self.newest.max(id);
            }
            let Some(number) = *number else { continue };
            match answer {
                ScriptAnswer::Ordered(id) => self.shared.flights.note_answer(number, id),
                ScriptAnswer::Known { fingerprint, receipt } => self.repeat(number, fingerprint, receipt),
            }
        }
    }

    fn repeat(&mut self, number: u64, fingerprint: u64, receipt: PublishReceipt) {
        let Some(flight) = self.shared.flights.take(number) else { return };
        let hub = &self.served.node.hub;
        if flight.key.is_none_or(|key| key.fingerprint != fingerprint) {
            self.served.wake(hub.refuse(flight.ticket, RefusalReason::KeyReused));
        } else if let Some(ready) = self.shared.flights.hold_repeat(flight.ticket, receipt) {
            self.served.wake(hub.repeat(ready.ticket, ready.receipt));
        }
    }

    /// Answers publishers whose events Redis holds and this node has not read in time.
    fn answer_late(&self) {
        let hub = &self.served.node.hub;
        for held in self.shared.flights.take_held() {
            let subscribers = hub.count_subscribers(&held.flight.events);
            let events = held.flight.events.len() as u64;
            let receipt = PublishReceipt { id: held.id, events, subscribers };
            self.served.wake(hub.accept(held.flight.ticket, receipt));
        }
        for WaitingRepeat { ticket, receipt, .. } in self.shared.flights.take_late_repeats() {
            self.served.wake(hub.repeat(ticket, receipt));
        }
    }

    fn refuse(&self, request: OrderRequest) {
        self.served.wake(self.served.node.hub.refuse(request.ticket, RefusalReason::BackplaneAway));
    }

    fn refuse_call(&self, call: &Call) {
        for number in call.publishes.iter().flatten() {
            if let Some(flight) = self.shared.flights.take(*number) {
                self.served.wake(self.served.node.hub.refuse(flight.ticket, RefusalReason::BackplaneAway));
            }
        }
    }

    /// Gives the connection up. Calls under way may have been carried out: their publishers wait for the
    /// reader.
    fn lose_link(&mut self, words: String) {
        self.link = None;
        self.calls.clear();
        self.shared.flights.mark_cut();
        self.shared.writer.mark_away(words);
        self.next_try = Instant::now() + self.pauses.next_pause();
    }

    /// Keeps the stream within the bounds of history, roughly: Redis lets whole blocks of entries go.
    fn trim_stream(&mut self) {
        let stream = self.shared.keys.stream();
        let oldest_ms = self.newest.ms().saturating_sub(self.bounds.age_ms);
        let mut by_age = redis::cmd("XTRIM");
        by_age.arg(&stream).arg("MINID").arg("~").arg(format!("{oldest_ms}-0"));
        let Some(link) = &mut self.link else { return };
        let mut trim = || {
            link.call(&by_age)?;
            let used = link.call(redis::cmd("MEMORY").arg("USAGE").arg(&stream))?;
            let length = link.call(redis::cmd("XLEN").arg(&stream))?;
            if let (Value::Int(used), Value::Int(length)) = (used, length)
                && let Some(kept) = kept_entries(used, length, self.bounds.bytes)
            {
                link.call(redis::cmd("XTRIM").arg(&stream).arg("MAXLEN").arg(kept))?;
            }
            Ok(())
        };
        match trim() {
            Err(LinkFault::Cut(words)) => self.lose_link(words),
            // Without the right to trim, somebody else has to.
            Err(LinkFault::Refused(_) | LinkFault::NoScript) | Ok(()) => {}
        }
    }
}

/// Returns how many entries fit the bytes of a stream that uses too many.
fn kept_entries(used: i64, length: i64, bytes: u64) -> Option<u64> {
    let (used, length) = (u64::try_from(used).ok()?, u64::try_from(length).ok()?);
    let share = bytes as f64 / used.max(1) as f64;
    (used > bytes).then_some((length as f64 * share * 0.95) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_cut_only_beyond_its_bytes_and_then_to_fewer() {
        assert_eq!(kept_entries(1_000, 10, 1_000), None);
        assert_eq!(kept_entries(2_000, 100, 1_000), Some(47));
        assert_eq!(kept_entries(-1, 100, 1_000), None);
        assert_eq!(kept_entries(i64::MAX, 1, 1_000), Some(0));
    }
}
