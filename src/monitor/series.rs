//! The part `series` of `/status`: the curves of five minutes, an hour or a day, oldest value first.

use serde_json::{Value, json};

use super::status::rounded;
use super::watch::{SecondPoint, SpanPoint, SpanRing, Watch};
use crate::base::counters::Count;
use crate::base::snapshot::SeriesRange;

/// Writes the curves of a range.
pub(super) fn object(watch: &Watch, range: SeriesRange) -> Value {
    match range {
        SeriesRange::FiveMinutes => seconds(watch),
        SeriesRange::Hour => spans(watch, watch.hour()),
        SeriesRange::Day => spans(watch, watch.day()),
    }
}

/// Returns one value for each second.
fn seconds(watch: &Watch) -> Value {
    let of = |value: fn(&SecondPoint) -> u64| -> Vec<u64> { watch.points().map(value).collect() };
    let ms = |value: fn(&SecondPoint) -> Option<f64>| -> Vec<Option<f64>> {
        watch.points().map(|point| value(point).map(|us| rounded(us / 1_000.0))).collect()
    };
    json!({
        "step_ms": 1_000,
        "at_ms": watch.points().map(|point| taken_ms(watch, point.mono_ms)).collect::<Vec<u64>>(),
        "connections": of(|point| point.connections),
        "deliveries": differences(watch, |point| point.count(Count::Delivered) as f64),
        "latency_p99_ms": ms(|point| point.each_p99_us),
        "latency_last_p99_ms": ms(|point| point.last_p99_us),
        "cpu_percent": differences(watch, |point| point.cpu_seconds * 100.0),
        "resident_bytes": of(|point| point.resident_bytes),
        "lagging": of(|point| point.lagging),
    })
}

/// Returns one value for each span. JSON has no word for what is not a number, so it becomes `null`.
fn spans(watch: &Watch, ring: &SpanRing) -> Value {
    let of = |value: fn(&SpanPoint) -> f32| -> Vec<f64> {
        ring.points().map(|point| rounded(f64::from(value(&point)))).collect()
    };
    let end_ms = |point: SpanPoint| taken_ms(watch, u64::from(point.end_s) * 1_000);
    json!({
        "step_ms": ring.step_ms(),
        "at_ms": ring.points().map(end_ms).collect::<Vec<u64>>(),
        "connections": of(|point| point.connections),
        "deliveries": of(|point| point.deliveries),
        "latency_p99_ms": of(|point| point.each_p99_us / 1_000.0),
        "latency_last_p99_ms": of(|point| point.last_p99_us / 1_000.0),
        "cpu_percent": of(|point| point.cpu_percent),
        "resident_bytes": of(|point| point.resident_bytes),
        "lagging": of(|point| point.lagging),
    })
}

/// Returns the Unix milliseconds of a moment by the wall clock of the newest sample. All moments are on one
/// clock, so that a jump of the wall clock bends no curve back on itself.
fn taken_ms(watch: &Watch, mono_ms: u64) -> u64 {
    let last = watch.last();
    last.wall_ms.saturating_sub(last.mono_ms.saturating_sub(mono_ms))
}

/// Returns the growth of a sum in each second; that of the first is not known.
fn differences(watch: &Watch, value: fn(&SecondPoint) -> f64) -> Vec<Option<f64>> {
    let mut before: Option<&SecondPoint> = None;
    let difference = |point| {
        let before = before.replace(point)?;
        let seconds = (point.mono_ms - before.mono_ms).max(1) as f64 / 1_000.0;
        Some(rounded((value(point) - value(before)).max(0.0) / seconds))
    };
    watch.points().map(difference).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::watch::{WatchBounds, WatchSample};

    #[test]
    fn a_clock_that_jumps_bends_no_curve() {
        let mut watch = Watch::new(WatchBounds::default());
        for (second, wall_ms) in [(1, 100_000), (2, 101_000), (3, 50_000), (4, 900_000)] {
            watch.push(WatchSample { mono_ms: second * 1_000, wall_ms, ..WatchSample::default() });
        }
        let at_ms = |range| object(&watch, range)["at_ms"].clone();
        assert_eq!(at_ms(SeriesRange::FiveMinutes), json!([897_000, 898_000, 899_000, 900_000]));
        assert_eq!(at_ms(SeriesRange::Hour), json!([900_000]));
    }

    #[test]
    fn long_curves_have_the_columns_of_short_ones_and_null_for_no_latency() {
        let mut watch = Watch::new(WatchBounds::default());
        for second in 1..=200 {
            watch.push(WatchSample { mono_ms: second * 1_000, ..WatchSample::default() });
        }
        let columns = |range| {
            let object = object(&watch, range);
            let names: Vec<String> = object.as_object().expect("an object").keys().cloned().collect();
            (names, object["at_ms"].as_array().map(Vec::len), object["latency_p99_ms"][0].clone())
        };
        let (names, seconds, latency) = columns(SeriesRange::FiveMinutes);
        assert_eq!((seconds, latency), (Some(200), Value::Null));
        assert_eq!(columns(SeriesRange::Hour), (names.clone(), Some(14), Value::Null));
        assert_eq!(columns(SeriesRange::Day), (names, Some(2), Value::Null));
    }
}
