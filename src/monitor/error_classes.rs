//! Errors by class: the counters of each, so that pages and alerts mean the same by an error.
//!
//! An error does not happen with well-behaved clients on a healthy host. A refusal over a limit is no error,
//! nor is a reset of a connection, since phones and closed tabs leave like that. Both have counters of
//! their own.

use crate::base::counters::{CloseReason, Count, CounterTotals};

/// A class of errors and the counters that it sums.
struct ErrorClass {
    name: &'static str,
    closed: &'static [CloseReason],
    counts: &'static [Count],
}

const CLASSES: [ErrorClass; 5] = [
    // Answered 4xx, or closed for a malformed head: each of these closings has its count there.
    ErrorClass { name: "request", closed: &[], counts: &[Count::RequestsBad] },
    ErrorClass {
        name: "timeout",
        closed: &[CloseReason::HeadTimeout, CloseReason::BodyTimeout, CloseReason::AnswerTimeout],
        counts: &[],
    },
    ErrorClass {
        name: "slow",
        closed: &[CloseReason::SlowStalled, CloseReason::SlowEvicted, CloseReason::SlowUnacknowledged],
        counts: &[],
    },
    ErrorClass { name: "upstream", closed: &[CloseReason::Upstream], counts: &[] },
    ErrorClass { name: "host", closed: &[], counts: &[Count::AcceptErrors, Count::RegisterErrors] },
];

/// Returns each class with its number of errors.
pub(crate) fn count_by_class(totals: &CounterTotals) -> impl Iterator<Item = (&'static str, u64)> {
    CLASSES.iter().map(|class| {
        let closed: u64 = class.closed.iter().map(|why| totals.closed[*why as usize]).sum();
        let counts: u64 = class.counts.iter().map(|what| totals.counts[*what as usize]).sum();
        (class.name, closed + counts)
    })
}

/// Counts the errors of all classes.
pub(crate) fn count_all(totals: &CounterTotals) -> u64 {
    count_by_class(totals).map(|(_, count)| count).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::counters::CLOSED_NAMES;

    #[test]
    fn faults_are_counted_and_ordinary_ends_are_not() {
        let mut totals = CounterTotals { closed: [1; CLOSED_NAMES.len()], ..CounterTotals::default() };
        totals.counts[Count::RequestsBad as usize] = 5;
        totals.counts[Count::Delivered as usize] = 1_000;
        totals.refused[0] = 1_000;
        let classes: Vec<_> = count_by_class(&totals).collect();
        assert_eq!(classes, [("request", 5), ("timeout", 3), ("slow", 3), ("upstream", 1), ("host", 0)]);
        assert_eq!(count_all(&totals), 12);
    }
}
