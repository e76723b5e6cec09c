//! The line of the log for each minute: its figures in logfmt.

use super::watch::{RateWindow, Watch};
use crate::base::counters::Count;

/// Writes the lines, and remembers the totals of the last one.
#[derive(Debug, Default)]
pub(crate) struct MinuteSummary {
    /// Connections, subscribers and topics of the last line.
    last_totals: Option<[u64; 3]>,
}

impl MinuteSummary {
    /// Returns the line of the minute that ends now; none when it was idle and its totals are unchanged.
    pub(crate) fn line(&mut self, watch: &Watch) -> Option<String> {
        let snapshot = &watch.last().snapshot;
        let totals = &snapshot.totals;
        let now = [totals.connections_open, totals.subscribers_open, snapshot.topics as u64];
        let in_last_minute = |what| watch.count_in_window(what, RateWindow::Minute);
        let (accepted, requests) = (in_last_minute(Count::Accepted), in_last_minute(Count::Requests));
        let (published, delivered) = (in_last_minute(Count::Published), in_last_minute(Count::Delivered));
        let idle = accepted + requests + published + delivered == 0;
        let unchanged = self.last_totals.replace(now) == Some(now);
        if idle && unchanged {
            return None;
        }
        let rates = watch.rates(RateWindow::Minute);
        let [connections, subscribers, topics] = now;
        let host = &watch.last().host;
        let lost = |rate: f64| (rate * 60.0).round();
        let mut line = format!(
            "event=minute connections={connections} subscribers={subscribers} lagging={} topics={topics} \
             accepted={accepted} requests={requests} published={published} delivered={delivered} \
             refused={} errors={} gaps={} cpu_percent={:.1} resident_bytes={}",
            totals.lagging,
            lost(rates.refused),
            lost(rates.errors),
            in_last_minute(Count::Gaps),
            rates.cpu_percent,
            host.resident_bytes,
        );
        if let (Some(each), Some(last)) = (watch.latency_each(), watch.latency_last()) {
            let more = format!(" each_p99_ms={:.3} last_p99_ms={:.3}", each.p99_ms, last.p99_ms);
            line.push_str(&more);
        }
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::watch::{WatchBounds, WatchSample};

    /// A minute in which `published` events a second come.
    fn minute(watch: &mut Watch, nth: u64, published: u64, connections: u64) {
        for second in 60 * nth..60 * (nth + 1) {
            let mut sample = WatchSample { mono_ms: second * 1_000, ..WatchSample::default() };
            let totals = &mut sample.snapshot.totals;
            totals.counts = watch.last().snapshot.totals.counts;
            totals.counts[Count::Published as usize] += published;
            totals.connections_open = connections;
            watch.push(sample);
        }
    }

    #[test]
    fn a_minute_is_told_unless_it_was_idle_and_nothing_changed() {
        let (mut watch, mut summary) = (Watch::new(WatchBounds::default()), MinuteSummary::default());
        minute(&mut watch, 0, 2, 5);
        let line = summary.line(&watch).expect("it was busy");
        assert!(line.starts_with("event=minute connections=5 subscribers=0 "), "{line}");
        assert!(line.contains(" published=118 ") && !line.contains("p99"), "{line}");
        minute(&mut watch, 1, 0, 7);
        minute(&mut watch, 2, 0, 7);
        assert!(summary.line(&watch).expect("connections came").contains("published=0 "));
        minute(&mut watch, 3, 0, 7);
        assert_eq!(summary.line(&watch), None);
        minute(&mut watch, 4, 0, 6);
        assert!(summary.line(&watch).is_some(), "one left");
    }
}
