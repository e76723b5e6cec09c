//! Repeated errors: the first is logged at once, those that follow within a minute are one line.
//!
//! Owns the comparison of errors, the classes of frequency, and the words. Pure: time is an argument. Only
//! warnings and errors that hold ` error=` are compared; other lines are new each time.
//!
//! | class | means |
//! | --- | --- |
//! | `occasional` | fewer than [`LOG_FREQUENT_MIN`] in a minute |
//! | `frequent` | as many or more |
//! | `repeated` | frequent for [`LOG_REPEATED_MINUTES`] minutes on end: it does not go away by itself |

use log::Level;

use crate::base::limits::MINUTE_MS;

/// Kinds of errors that are told apart within a minute; further ones share a line.
const LOG_KINDS_MAX: usize = 64;
/// Errors of a kind in one minute from which on the log calls them frequent.
const LOG_FREQUENT_MIN: u64 = 10;
/// Minutes on end after which the log calls frequent errors repeated.
const LOG_REPEATED_MINUTES: u32 = 3;

/// The key of errors beyond [`LOG_KINDS_MAX`] kinds.
const OTHERS: &str = "others";

/// The errors of the current minute, each kind once.
#[derive(Debug, Default)]
pub(crate) struct RepeatedErrors {
    errors: Vec<RepeatedError>,
}

/// Errors that differ in nothing but numbers.
#[derive(Debug)]
struct RepeatedError {
    key: String,
    level: Level,
    /// The newest line of this kind.
    line: String,
    minute_began_ms: u64,
    /// Errors of this minute that were not written.
    held: u64,
    /// Whether an error of this minute was written at once.
    told: bool,
    /// Frequent minutes in a row, without this one.
    frequent_minutes: u32,
}

impl RepeatedErrors {
    /// Takes a line and returns the line to write now, if any.
    pub(crate) fn admit_line(&mut self, now_ms: u64, level: Level, line: String) -> Option<String> {
        if level > Level::Warn || !line.contains(" error=") {
            return Some(line);
        }
        let mut key = without_numbers(&line);
        let is_known = |errors: &[RepeatedError], key: &str| errors.iter().any(|error| error.key == key);
        if self.errors.len() >= LOG_KINDS_MAX && !is_known(&self.errors, &key) {
            key = OTHERS.to_owned();
        }
        if let Some(error) = self.errors.iter_mut().find(|error| error.key == key) {
            error.held += 1;
            (error.level, error.line) = (level, line);
            return None;
        }
        let written = format!("{line} class=occasional");
        let (minute_began_ms, held, told) = (now_ms, 0, true);
        self.errors.push(RepeatedError {
            key,
            level,
            line,
            minute_began_ms,
            held,
            told,
            frequent_minutes: 0,
        });
        Some(written)
    }

    /// Milliseconds until [`RepeatedErrors::due_lines`] has something to do.
    pub(crate) fn ms_until_due(&self, now_ms: u64) -> Option<u64> {
        let ends = self.errors.iter().map(|error| error.minute_began_ms + MINUTE_MS);
        ends.min().map(|end| end.saturating_sub(now_ms))
    }

    /// Returns the lines for the minutes that are over. A kind that was quiet for a minute is forgotten.
    pub(crate) fn due_lines(&mut self, now_ms: u64) -> Vec<(Level, String)> {
        let mut lines = Vec::new();
        self.errors.retain_mut(|error| {
            let over = now_ms.saturating_sub(error.minute_began_ms) >= MINUTE_MS;
            if over {
                lines.extend(error.held_line());
                let frequent = error.held + u64::from(error.told) >= LOG_FREQUENT_MIN;
                error.frequent_minutes = if frequent { error.frequent_minutes + 1 } else { 0 };
            }
            let quiet = error.held == 0;
            if over {
                (error.minute_began_ms, error.held, error.told) = (now_ms, 0, false);
            }
            !(over && quiet)
        });
        lines
    }

    /// Returns the lines for all held errors, before the process ends.
    pub(crate) fn take_held_lines(&mut self) -> Vec<(Level, String)> {
        let lines = self.errors.iter().filter_map(RepeatedError::held_line).collect();
        for error in &mut self.errors {
            error.held = 0;
        }
        lines
    }
}

impl RepeatedError {
    fn class(&self) -> &'static str {
        if self.held + u64::from(self.told) < LOG_FREQUENT_MIN {
            "occasional"
        } else if self.frequent_minutes + 1 < LOG_REPEATED_MINUTES {
            "frequent"
        } else {
            "repeated"
        }
    }

    /// Returns one line for all held errors, in the words of the newest.
    fn held_line(&self) -> Option<(Level, String)> {
        let RepeatedError { held, line, .. } = self;
        (*held > 0).then(|| (self.level, format!("{line} class={} count={held}", self.class())))
    }
}

/// Returns the key of an error: its line with each number replaced by `#`.
fn without_numbers(line: &str) -> String {
    let mut key = String::with_capacity(line.len());
    for c in line.chars() {
        let c = if c.is_ascii_digit() { '#' } else { c };
        if c != '#' || !key.ends_with('#') {
            key.push(c);
        }
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "event=x worker=1 error=\"no room\"";

    /// Everything written when an error comes at each of these moments, as `(ms, words behind the line)`.
    fn written(moments: &[u64], until_ms: u64) -> Vec<(u64, String)> {
        let (mut repeats, mut written) = (RepeatedErrors::default(), Vec::new());
        let mut moments = moments.iter().peekable();
        for now_ms in (0..=until_ms).step_by(100) {
            let due = repeats.due_lines(now_ms).into_iter().map(|(_, line)| line);
            let mut lines: Vec<String> = due.collect();
            while moments.next_if(|at| **at <= now_ms).is_some() {
                lines.extend(repeats.admit_line(now_ms, Level::Warn, LINE.to_owned()));
            }
            let behind = |line: String| line.strip_prefix(LINE).expect("in its own words").trim().to_owned();
            written.extend(lines.into_iter().map(|line| (now_ms, behind(line))));
        }
        written
    }

    fn check(moments: &[u64], until_ms: u64, expected: &[(u64, &str)]) {
        let written = written(moments, until_ms);
        let written: Vec<(u64, &str)> = written.iter().map(|(ms, words)| (*ms, words.as_str())).collect();
        assert_eq!(written, expected);
    }

    #[test]
    fn the_first_error_is_told_at_once_and_a_quiet_minute_forgets_it() {
        check(&[500], 200_000, &[(500, "class=occasional")]);
        check(&[500, 100_000], 200_000, &[(500, "class=occasional"), (100_000, "class=occasional")]);
    }

    #[test]
    fn a_few_more_are_one_line_and_many_are_frequent() {
        check(&[0, 100, 200], 130_000, &[(0, "class=occasional"), (60_000, "class=occasional count=2")]);
        let many: Vec<u64> = (0..600).map(|n| n * 100).collect();
        check(&many, 200_000, &[(0, "class=occasional"), (60_000, "class=frequent count=599")]);
        let ten: Vec<u64> = (0..LOG_FREQUENT_MIN).collect();
        check(&ten, 61_000, &[(0, "class=occasional"), (60_000, "class=frequent count=9")]);
    }

    #[test]
    fn what_is_frequent_for_minutes_is_repeated() {
        let all_the_time: Vec<u64> = (0..3_000).map(|n| n * 100).collect();
        check(
            &all_the_time,
            299_000,
            &[
                (0, "class=occasional"),
                (60_000, "class=frequent count=599"),
                (120_000, "class=frequent count=600"),
                (180_000, "class=repeated count=600"),
                (240_000, "class=repeated count=600"),
            ],
        );
    }

    #[test]
    fn a_flood_is_a_line_at_once_and_one_a_minute() {
        let mut repeats = RepeatedErrors::default();
        let mut lines = 0;
        for number in 0..100_000_u64 {
            let line = format!("event=accept_failed worker={} error=\"os error {number}\"", number % 64);
            lines += usize::from(repeats.admit_line(number, Level::Error, line).is_some());
            lines += repeats.due_lines(number).len();
        }
        assert_eq!(lines, 2);
        assert_eq!(repeats.errors.len(), 1);
    }

    #[test]
    fn kinds_are_bounded_and_the_rest_share_a_line() {
        let mut repeats = RepeatedErrors::default();
        let name = |number: usize| format!("{number:b}").replace('0', "a").replace('1', "b");
        let line = |number: usize| format!("event={} error=x", name(number));
        let lines: Vec<_> =
            (0..500).filter_map(|number| repeats.admit_line(0, Level::Warn, line(number))).collect();
        assert_eq!((lines.len(), repeats.errors.len()), (LOG_KINDS_MAX + 1, LOG_KINDS_MAX + 1));
        let due = repeats.due_lines(MINUTE_MS);
        assert_eq!(due.len(), 1);
        assert_eq!(due[0].1, format!("{} class=frequent count={}", line(499), 499 - LOG_KINDS_MAX));
    }

    #[test]
    fn other_lines_pass_and_what_is_held_is_told_before_the_end() {
        let mut repeats = RepeatedErrors::default();
        for _ in 0..3 {
            let alert = "event=alert state=firing alert=x".to_owned();
            assert_eq!(repeats.admit_line(0, Level::Error, alert.clone()), Some(alert));
            assert_eq!(repeats.admit_line(0, Level::Info, LINE.to_owned()), Some(LINE.to_owned()));
        }
        assert_eq!(repeats.ms_until_due(0), None);
        for _ in 0..3 {
            repeats.admit_line(1_000, Level::Warn, LINE.to_owned());
        }
        assert_eq!(repeats.ms_until_due(31_000), Some(30_000));
        assert_eq!(repeats.take_held_lines(), [(Level::Warn, format!("{LINE} class=occasional count=2"))]);
        assert_eq!(repeats.take_held_lines(), []);
    }
}
