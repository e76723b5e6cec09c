//! Lines of the log for refusals: how many of each reason came since the last line, at most one line of each
//! reason a second. A flood costs as many lines as its reasons, and a quiet server writes none.
//!
//! Single refusals are lines of the debug log. Knows no clock: it is asked once a second.

use crate::base::counters::{Count, CounterTotals, REFUSED_NAMES};

/// The reason of requests that cannot be understood: the counter's name.
const BAD: &str = "requests_bad";

/// Writes the lines, and remembers what they have told.
#[derive(Debug)]
pub(crate) struct RefusalLines {
    told: [u64; REFUSED_NAMES.len()],
    bad_told: u64,
}

impl Default for RefusalLines {
    // Not derived: the standard library knows defaults of 32 elements at most.
    fn default() -> RefusalLines {
        RefusalLines { told: [0; REFUSED_NAMES.len()], bad_told: 0 }
    }
}

impl RefusalLines {
    /// Returns a line for each reason whose count has grown since the last call.
    pub(crate) fn lines(&mut self, totals: &CounterTotals) -> Vec<String> {
        let refused = REFUSED_NAMES.iter().zip(self.told.iter_mut().zip(totals.refused));
        let refused = refused.map(|(reason, (told, count))| (*reason, told, count));
        let bad = (BAD, &mut self.bad_told, totals.counts[Count::RequestsBad as usize]);
        refused.chain([bad]).filter_map(|(reason, told, count)| line(reason, told, count)).collect()
    }
}

fn line(reason: &str, told: &mut u64, count: u64) -> Option<String> {
    let fresh = count.saturating_sub(std::mem::replace(told, count));
    (fresh > 0).then(|| format!("event=requests_refused reason={reason} count={fresh} total={count}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::counters::RefusalReason;

    #[test]
    fn a_flood_is_one_line_of_each_reason_and_silence_is_none() {
        let (mut lines, mut totals) = (RefusalLines::default(), CounterTotals::default());
        assert_eq!(lines.lines(&totals), Vec::<String>::new());
        totals.refused[RefusalReason::Topics as usize] += 5_000;
        totals.counts[Count::RequestsBad as usize] += 3;
        assert_eq!(
            lines.lines(&totals),
            [
                "event=requests_refused reason=topics_full count=5000 total=5000",
                "event=requests_refused reason=requests_bad count=3 total=3"
            ]
        );
        assert_eq!(lines.lines(&totals), Vec::<String>::new());
        totals.refused[RefusalReason::Topics as usize] += 1;
        assert_eq!(lines.lines(&totals), ["event=requests_refused reason=topics_full count=1 total=5001"]);
    }
}
