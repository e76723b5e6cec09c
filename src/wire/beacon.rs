//! The beacon of the client library: figures of one page since its last beacon, one JSON object.
//!
//! A page may lie, so each number is bounded. Knows nothing of sums.

use serde::Deserialize;

use crate::base::counters::{CLIENT_CAUSE_NAMES, ClientCount};
use crate::base::limits::{BEACON_BYTES_MAX, BEACON_NUMBER_MAX};
use crate::wire::problem::Problem;

/// Upper bounds of the classes of delays, milliseconds, as in the library; one more class holds the rest.
pub(crate) const DELAY_BOUNDS_MS: [u64; 11] = [5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000];
/// Delay that counts for one beyond the last bound.
pub(crate) const DELAY_LONGEST_MS: u64 = 2 * DELAY_BOUNDS_MS[DELAY_BOUNDS_MS.len() - 1];

/// Figures of one page.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Beacon {
    connects: u64,
    connect_ms: u64,
    connected_ms: u64,
    total_ms: u64,
    events: u64,
    bytes: u64,
    gaps: u64,
    duplicates: u64,
    /// Live events by their delay, in the classes of [`DELAY_BOUNDS_MS`].
    pub(crate) delays: [u64; DELAY_BOUNDS_MS.len() + 1],
    /// Ends and failed attempts by cause; a cause that is missing is none.
    #[serde(default)]
    reconnects: Reconnects,
}

/// Ends by cause, under the names of [`CLIENT_CAUSE_NAMES`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Reconnects {
    ended: u64,
    cut: u64,
    silent: u64,
    refused: u64,
    failed: u64,
    timeout: u64,
    held: u64,
}

impl Beacon {
    /// Reads a body, whose numbers are then at most `BEACON_NUMBER_MAX`.
    pub(crate) fn parse(body: &[u8]) -> Result<Beacon, Problem> {
        if body.len() > BEACON_BYTES_MAX {
            return Err(Problem::BadBeacon);
        }
        let beacon: Beacon = serde_json::from_slice(body).map_err(|_| Problem::BadBeacon)?;
        let counts = beacon.counts().map(|(_, value)| value);
        let mut numbers = counts.iter().chain(&beacon.delays).copied().chain(beacon.causes());
        if numbers.all(|number| number <= BEACON_NUMBER_MAX) { Ok(beacon) } else { Err(Problem::BadBeacon) }
    }

    /// Values of the counters that the beacon adds to.
    pub(crate) fn counts(&self) -> [(ClientCount, u64); 8] {
        [
            (ClientCount::Connects, self.connects),
            (ClientCount::ConnectMs, self.connect_ms),
            (ClientCount::ConnectedMs, self.connected_ms),
            (ClientCount::ObservedMs, self.total_ms),
            (ClientCount::Events, self.events),
            (ClientCount::Bytes, self.bytes),
            (ClientCount::Gaps, self.gaps),
            (ClientCount::Duplicates, self.duplicates),
        ]
    }

    /// Ends for each cause, in the order of [`CLIENT_CAUSE_NAMES`].
    pub(crate) fn causes(&self) -> [u64; CLIENT_CAUSE_NAMES.len()] {
        let Reconnects { ended, cut, silent, refused, failed, timeout, held } = self.reconnects;
        [ended, cut, silent, refused, failed, timeout, held]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = concat!(
        r#"{"connects":1,"connect_ms":12,"connected_ms":900,"total_ms":1000,"events":5,"bytes":321,"#,
        r#""gaps":2,"duplicates":3,"delays":[1,0,0,0,4,0,0,0,0,0,0,7],"reconnects":{"cut":2,"held":1}}"#,
    );

    #[test]
    fn figures_are_read_and_bounded() {
        let beacon = Beacon::parse(WHOLE.as_bytes()).expect("a beacon");
        assert_eq!(beacon.counts().map(|(_, value)| value), [1, 12, 900, 1_000, 5, 321, 2, 3]);
        assert_eq!(beacon.causes(), [0, 2, 0, 0, 0, 0, 1]);
        assert_eq!((beacon.delays[4], beacon.delays[11]), (4, 7));
        let with = |from: &str, to: &str| WHOLE.replace(from, to);
        let rows = [
            (WHOLE.replace(",\"reconnects\":{\"cut\":2,\"held\":1}", ""), true),
            (with("\"bytes\":321", "\"bytes\":1000000000"), true),
            (with("\"bytes\":321", "\"bytes\":1000000001"), false),
            (with("\"cut\":2", "\"cut\":1000000001"), false),
            (with("[1,", "[1000000001,"), false),
            (with("\"gaps\":2", "\"gaps\":-2"), false),
            (with("\"gaps\":2", "\"gaps\":2.5"), false),
            (with("\"gaps\":2,", ""), false),
            (with("\"gaps\":2", "\"holes\":2"), false),
            (with("\"cut\":2", "\"torn\":2"), false),
            (with("[1,", "["), false),
            (with("[1,", "[1,1,"), false),
            (format!("{WHOLE}{}", " ".repeat(BEACON_BYTES_MAX)), false),
            ("[]".to_owned(), false),
            (String::new(), false),
        ];
        for (body, expected) in rows {
            assert_eq!(Beacon::parse(body.as_bytes()).is_ok(), expected, "{body:.300}");
        }
    }
}
