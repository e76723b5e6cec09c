//! One message to one destination: tries, pauses between them, and the last try. The try and the pause are
//! arguments; a pause may end the tries early.

use std::time::Duration;

use log::{debug, error, warn};

use crate::base::logfmt::LogValue;
use crate::base::prng::Prng;
use crate::monitor::alerts::AlertNotice;

/// Times that a message is tried before it counts as failed; with the pauses between, about two minutes.
const ALERT_TRIES_MAX: u32 = 8;
/// Milliseconds before the second try; doubled for each further one.
const ALERT_PAUSE_MS: u64 = 1_000;
/// Longest pause before a further try, milliseconds.
const ALERT_PAUSE_MS_MAX: u64 = 60_000;
/// Per cent by which a pause before a further try differs: servers that lost the same network must not all
/// come back in the same moment.
const ALERT_JITTER_PERCENT: u64 = 20;

/// Sends messages to one destination, with retries.
#[derive(Debug)]
pub(crate) struct RetryingSender {
    destination: String,
    prng: Prng,
}

impl RetryingSender {
    /// Makes a sender for a destination; its name is for the log.
    pub(crate) fn new(destination: String, seed: u64) -> RetryingSender {
        RetryingSender { destination, prng: Prng::new(seed) }
    }

    /// Tries until the message is delivered or the tries are used up; returns whether it was delivered.
    pub(crate) fn send_with_retries(
        &mut self,
        notice: &AlertNotice,
        mut deliver: impl FnMut(&AlertNotice) -> Result<(), String>,
        mut pause: impl FnMut(Duration) -> bool,
    ) -> bool {
        let (alert, state) = (&notice.rule.name, notice.change.name());
        let mut number = 0;
        loop {
            number += 1;
            let destination = LogValue(&self.destination);
            let Err(words) = deliver(notice) else {
                debug!("event=alert_sent destination={destination} alert={alert} state={state} try={number}");
                return true;
            };
            let words = LogValue(&words);
            if number < ALERT_TRIES_MAX {
                warn!(
                    "event=alert_failed destination={destination} alert={alert} state={state} try={number} \
                     error={words}"
                );
            }
            if number == ALERT_TRIES_MAX || !pause(self.next_pause(number)) {
                let destination = LogValue(&self.destination);
                error!(
                    "event=alert_given_up destination={destination} alert={alert} state={state} \
                     tries={number} error={words}"
                );
                return false;
            }
        }
    }

    /// Returns the pause after the failed try `number`.
    fn next_pause(&mut self, number: u32) -> Duration {
        let doubled = ALERT_PAUSE_MS << (number - 1).min(16);
        Duration::from_millis(self.prng.jittered(doubled.min(ALERT_PAUSE_MS_MAX), ALERT_JITTER_PERCENT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::alerts::{AlertBound, AlertChange, AlertRule, Severity};
    use crate::monitor::watch::metric_named;

    fn notice() -> AlertNotice {
        let rule = AlertRule {
            name: "x".to_owned(),
            metric: metric_named("ready").unwrap(),
            bound: AlertBound::Below(1.0),
            for_ms: 0,
            severity: Severity::Critical,
            cooldown_ms: 0,
        };
        AlertNotice { rule, change: AlertChange::Firing, value: Some(0.0), why: None, at_ms: 0, since_ms: 0 }
    }

    /// Whether it arrived, the number of tries and the pauses, when the first `failures` tries fail.
    fn send_with_retries(failures: u32, pauses_max: usize) -> (bool, u32, Vec<u64>) {
        let (mut tries, mut pauses) = (0, Vec::new());
        let deliver = |_: &AlertNotice| {
            tries += 1;
            if tries <= failures { Err("no".to_owned()) } else { Ok(()) }
        };
        let pause = |pause: Duration| {
            pauses.push(u64::try_from(pause.as_millis()).unwrap());
            pauses.len() < pauses_max
        };
        let carried = RetryingSender::new("x".to_owned(), 1).send_with_retries(&notice(), deliver, pause);
        (carried, tries, pauses)
    }

    #[test]
    fn a_message_is_tried_until_it_arrives() {
        assert_eq!(send_with_retries(0, 9), (true, 1, vec![]));
        let (carried, tries, pauses) = send_with_retries(3, 9);
        assert!(carried && tries == 4 && pauses.len() == 3, "{tries} {pauses:?}");
    }

    #[test]
    fn a_pause_may_end_it() {
        let (carried, tries, _) = send_with_retries(u32::MAX, 2);
        assert!(!carried && tries == 2);
    }

    #[test]
    fn pauses_double_with_jitter_up_to_a_bound_and_patience_ends() {
        let (carried, tries, pauses) = send_with_retries(u32::MAX, 9);
        assert!(!carried && tries == ALERT_TRIES_MAX);
        for (pause, wanted) in pauses.iter().zip([1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000]) {
            assert!(pause.abs_diff(wanted) <= wanted / 5, "{pauses:?}");
        }
        assert!(pauses.iter().any(|pause| pause % 1_000 != 0), "no jitter: {pauses:?}");
    }
}
