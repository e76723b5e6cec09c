//! Figures that pages send of themselves, as a part of `/status`.
//!
//! Anybody can send some, so nothing is judged by them: no alert, no insight. Knows no single page.

use serde_json::{Value, json};

use super::status::{named, rounded};
use super::watch::Watch;
use crate::base::counters::{CLIENT_CAUSE_NAMES, ClientCount};
use crate::base::histogram::Distribution;
use crate::base::snapshot::Snapshot;
use crate::wire::beacon::{DELAY_BOUNDS_MS, DELAY_LONGEST_MS};

/// Returns the sums of all beacons, and delays of the last minute; null before the first beacon.
pub(super) fn object(snapshot: &Snapshot, watch: &Watch) -> Value {
    let totals = &snapshot.totals;
    let count = |what: ClientCount| totals.client_counts[what as usize];
    if count(ClientCount::Beacons) == 0 {
        return Value::Null;
    }
    let (connects, observed_ms) = (count(ClientCount::Connects), count(ClientCount::ObservedMs));
    let delays = watch.client_delays();
    json!({
        "trusted": false,
        "beacons": count(ClientCount::Beacons),
        "beacons_dropped": count(ClientCount::BeaconsDropped),
        "connects": connects,
        "connect_ms_mean": ratio(count(ClientCount::ConnectMs), connects),
        // A page that lies may have been connected for longer than it was there.
        "connected_share": ratio(count(ClientCount::ConnectedMs), observed_ms).map(|share| share.min(1.0)),
        "delay_ms": { "p50": delay_ms(&delays, 0.5), "p99": delay_ms(&delays, 0.99) },
        "events": count(ClientCount::Events),
        "bytes": count(ClientCount::Bytes),
        "gaps": count(ClientCount::Gaps),
        "duplicates": count(ClientCount::Duplicates),
        "reconnects": named(&CLIENT_CAUSE_NAMES, &totals.client_causes),
    })
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| rounded(part as f64 / whole as f64))
}

/// Returns the upper bound of the class of delays that holds a percentile; the classes are all that beacons
/// tell.
fn delay_ms(delays: &Distribution, share: f64) -> Option<u64> {
    let guess_us = delays.quantile(share)?;
    let holds = |bound_ms: &u64| (bound_ms * 1_000) as f64 >= guess_us;
    Some(DELAY_BOUNDS_MS.into_iter().find(holds).unwrap_or(DELAY_LONGEST_MS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::histogram::HistogramScale;
    use crate::monitor::watch::{WatchBounds, WatchSample};

    #[test]
    fn delays_are_told_by_the_classes_of_beacons() {
        for (values_ms, expected) in [
            (vec![5], [Some(5), Some(5)]),
            (vec![10; 99], [Some(10), Some(10)]),
            ([vec![25; 60], vec![250; 40]].concat(), [Some(25), Some(250)]),
            (vec![10_000], [Some(10_000), Some(10_000)]),
            (vec![DELAY_LONGEST_MS], [Some(20_000), Some(20_000)]),
            (Vec::new(), [None, None]),
        ] {
            let values_us: Vec<u64> = values_ms.iter().map(|ms| ms * 1_000).collect();
            let delays = Distribution::of(HistogramScale::Spans, &values_us);
            assert_eq!([0.5, 0.99].map(|share| delay_ms(&delays, share)), expected, "{values_ms:?}");
        }
    }

    #[test]
    fn sums_are_shown_from_the_first_beacon_and_a_lie_is_cut() {
        let mut snapshot = Snapshot::default();
        let watch = Watch::new(WatchBounds::default());
        assert_eq!(object(&snapshot, &watch), Value::Null);
        let counts = [
            (ClientCount::Beacons, 2),
            (ClientCount::Connects, 4),
            (ClientCount::ConnectMs, 50),
            (ClientCount::ConnectedMs, 3_000),
            (ClientCount::ObservedMs, 2_000),
        ];
        for (what, value) in counts {
            snapshot.totals.client_counts[what as usize] = value;
        }
        let page = object(&snapshot, &watch);
        assert_eq!((&page["trusted"], &page["connected_share"]), (&json!(false), &json!(1.0)));
        assert_eq!((&page["connect_ms_mean"], &page["delay_ms"]["p99"]), (&json!(12.5), &Value::Null));
        let mut watch = Watch::new(WatchBounds::default());
        for second in 0..3 {
            snapshot.totals.client_counts[ClientCount::Beacons as usize] = second;
            snapshot.distributions.client_delay =
                Distribution::of(HistogramScale::Spans, &vec![50_000; second as usize]);
            let mono_ms = second * 1_000;
            watch.push(WatchSample { mono_ms, snapshot: snapshot.clone(), ..WatchSample::default() });
        }
        assert_eq!(object(&snapshot, &watch)["delay_ms"], json!({ "p50": 50, "p99": 50 }));
    }
}
