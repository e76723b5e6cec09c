//! Faults by class: which counts belong to which, so that pages and alerts mean the same by an error.
//!
//! An error is what should not happen with well-behaved clients on a healthy host. A refusal over a limit is
//! none, nor is the end of a connection by a reset: phones and closed tabs leave like that. Those have
//! counters of their own.

use crate::base::counters::{CloseReason, Count, CounterTotals};

/// A class of faults and what it is made of.
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
    ErrorClass { name: "slow", closed: &[CloseReason::SlowStalled, CloseReason::SlowEvicted], counts: &[] },
    ErrorClass { name: "upstream", closed: &[CloseReason::Upstream], counts: &[] },
    ErrorClass { name: "host", closed: &[], counts: &[Count::AcceptErrors, Count::RegisterErrors] },
];

/// The classes with how many faults each has had.
pub fn count_by_class(totals: &CounterTotals) -> impl Iterator<Item = (&'static str, u64)> {
    CLASSES.iter().map(|class| {
        let closed: u64 = class.closed.iter().map(|why| totals.closed[*why as usize]).sum();
        let counts: u64 = class.counts.iter().map(|what| totals.counts[*what as usize]).sum();
        (class.name, closed + counts)
    })
}

/// Faults of all classes.
pub fn count_all(totals: &CounterTotals) -> u64 {
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
        assert_eq!(classes, [("request", 5), ("timeout", 3), ("slow", 2), ("upstream", 1), ("host", 0)]);
        assert_eq!(count_all(&totals), 11);
    }
}
