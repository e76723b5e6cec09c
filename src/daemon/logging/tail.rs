//! The page `/log`: the newest lines of the log, kept in bounded memory.
//!
//! The log's thread keeps each line that it writes, so that whoever logs pays nothing. Any worker reads.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use log::Level;
use serde_json::json;

use crate::base::limits::KIB;
use crate::daemon::logging;

/// Lines that are kept: more than anybody reads on a page.
const TAIL_LINES_MAX: usize = 200;
/// Bytes of their texts; long lines push out several short ones.
const TAIL_BYTES_MAX: usize = 64 * KIB;
const _: () = assert!(logging::LOG_LINE_BYTES_MAX < TAIL_BYTES_MAX);

/// A line with the moment of its writing.
#[derive(Debug)]
struct TailLine {
    at_ms: u64,
    level: Level,
    text: String,
}

/// The kept lines, oldest first, and the bytes of their texts.
#[derive(Debug, Default)]
struct TailLines {
    lines: VecDeque<TailLine>,
    bytes: usize,
}

/// The newest lines, shared by the log's thread and the workers.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogTail(Arc<Mutex<TailLines>>);

impl LogTail {
    /// Keeps a line; the oldest ones give way to it.
    pub(crate) fn keep(&self, at_ms: u64, level: Level, text: &str) {
        let mut kept = self.lock();
        kept.bytes += text.len();
        kept.lines.push_back(TailLine { at_ms, level, text: text.to_owned() });
        while kept.lines.len() > TAIL_LINES_MAX || kept.bytes > TAIL_BYTES_MAX {
            let Some(oldest) = kept.lines.pop_front() else { return };
            kept.bytes -= oldest.text.len();
        }
    }

    /// Writes the page: the lines, oldest first, and the number of those that never reached the output.
    pub(crate) fn page(&self) -> String {
        let kept = self.lock();
        let line = |line: &TailLine| {
            let level = line.level.as_str().to_ascii_lowercase();
            json!({ "at_ms": line.at_ms, "level": level, "text": line.text })
        };
        let lines: Vec<_> = kept.lines.iter().map(line).collect();
        json!({ "lines": lines, "dropped": logging::lines_dropped() }).to_string()
    }

    fn lock(&self) -> MutexGuard<'_, TailLines> {
        self.0.lock().expect("a panic ends the process, so the lock is never poisoned")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn lines(tail: &LogTail) -> Vec<Value> {
        let page: Value = serde_json::from_str(&tail.page()).expect("JSON");
        page["lines"].as_array().expect("an array").clone()
    }

    #[test]
    fn the_newest_lines_stay_in_order_within_both_bounds() {
        let tail = LogTail::default();
        assert!(lines(&tail).is_empty());
        (0..1_000).for_each(|n| tail.keep(n, Level::Info, &format!("event=x n={n}")));
        let kept = lines(&tail);
        assert_eq!(kept.len(), TAIL_LINES_MAX);
        assert_eq!(kept[0], json!({ "at_ms": 800, "level": "info", "text": "event=x n=800" }));
        assert_eq!(kept[TAIL_LINES_MAX - 1]["at_ms"], 999);
        let long = "x".repeat(logging::LOG_LINE_BYTES_MAX);
        (0..100).for_each(|n| tail.keep(n, Level::Warn, &long));
        assert_eq!(lines(&tail).len(), TAIL_BYTES_MAX / logging::LOG_LINE_BYTES_MAX);
        assert!(tail.lock().bytes <= TAIL_BYTES_MAX);
    }

    #[test]
    fn a_text_of_strangers_stays_a_text() {
        let tail = LogTail::default();
        tail.keep(1, Level::Error, "agent=\"<script>\\\"");
        assert_eq!(lines(&tail)[0]["text"], "agent=\"<script>\\\"");
    }
}
