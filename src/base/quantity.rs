//! Counts, bytes and times as people write them: a number, and perhaps a unit.
//!
//! Owns the units of all sources: the file, the environment and the flags of every subcommand. Takes a unit
//! only where it has one meaning. Bounds belong to the caller.

use std::fmt;
use std::ops::RangeInclusive;

/// The unit of a number that has none written behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QuantityUnit {
    /// Things that are counted; `k` is 1 000.
    Count,
    /// Bytes; `64M` and `64MiB` are binary, `64MB` is decimal.
    Bytes,
    /// Bits a second, decimal.
    BitsPerSecond,
    /// Milliseconds.
    Milliseconds,
    /// Seconds.
    Seconds,
}

/// A unit as it is written, and how many of the plain unit it holds.
struct WrittenUnit(&'static str, u64);

const COUNTS: &[WrittenUnit] = &[
    WrittenUnit("k", 1_000),
    WrittenUnit("K", 1_000),
    WrittenUnit("M", 1_000_000),
    WrittenUnit("G", 1_000_000_000),
];
/// A letter alone is binary, as nginx and systemd take it. `mb` is missing: it may mean either, or bits.
const BYTES: &[WrittenUnit] = &[
    WrittenUnit("B", 1),
    WrittenUnit("k", 1 << 10),
    WrittenUnit("K", 1 << 10),
    WrittenUnit("KiB", 1 << 10),
    WrittenUnit("kB", 1_000),
    WrittenUnit("KB", 1_000),
    WrittenUnit("m", 1 << 20),
    WrittenUnit("M", 1 << 20),
    WrittenUnit("MiB", 1 << 20),
    WrittenUnit("MB", 1_000_000),
    WrittenUnit("g", 1 << 30),
    WrittenUnit("G", 1 << 30),
    WrittenUnit("GiB", 1 << 30),
    WrittenUnit("GB", 1_000_000_000),
    WrittenUnit("T", 1 << 40),
    WrittenUnit("TiB", 1 << 40),
    WrittenUnit("TB", 1_000_000_000_000),
];
const BITS_PER_SECOND: &[WrittenUnit] = &[
    WrittenUnit("k", 1_000),
    WrittenUnit("K", 1_000),
    WrittenUnit("M", 1_000_000),
    WrittenUnit("G", 1_000_000_000),
    WrittenUnit("T", 1_000_000_000_000),
];
/// What may stand behind the prefix of bits a second.
const BITS_PER_SECOND_ENDS: [&str; 4] = ["bit/s", "bit", "bps", "b/s"];
/// `M` is missing: it may mean months.
const MILLISECONDS: &[WrittenUnit] = &[
    WrittenUnit("ms", 1),
    WrittenUnit("s", 1_000),
    WrittenUnit("m", 60_000),
    WrittenUnit("min", 60_000),
    WrittenUnit("h", 3_600_000),
    WrittenUnit("d", 86_400_000),
];
const SECONDS: &[WrittenUnit] = &[
    WrittenUnit("s", 1),
    WrittenUnit("m", 60),
    WrittenUnit("min", 60),
    WrittenUnit("h", 3_600),
    WrittenUnit("d", 86_400),
];

impl QuantityUnit {
    /// Returns the unit that the name of a setting or of a flag ends with or holds.
    pub(crate) fn of_name(name: &str) -> QuantityUnit {
        let mut words = name.split(['_', '-']);
        match words.clone().next_back() {
            Some("ms") => QuantityUnit::Milliseconds,
            Some("seconds") => QuantityUnit::Seconds,
            _ if words.any(|word| word == "bytes") => QuantityUnit::Bytes,
            _ => QuantityUnit::Count,
        }
    }

    fn written_units(self) -> &'static [WrittenUnit] {
        match self {
            QuantityUnit::Count => COUNTS,
            QuantityUnit::Bytes => BYTES,
            QuantityUnit::BitsPerSecond => BITS_PER_SECOND,
            QuantityUnit::Milliseconds => MILLISECONDS,
            QuantityUnit::Seconds => SECONDS,
        }
    }

    /// Returns spellings that are taken, for an error line.
    pub(crate) fn spellings(self) -> &'static str {
        match self {
            QuantityUnit::Count => "500k or 2M (k is 1000)",
            QuantityUnit::Bytes => "64KiB, 64MiB, 16GiB or 16GB (GiB is 2^30, GB is 10^9)",
            QuantityUnit::BitsPerSecond => "500M or 10G, bits a second",
            QuantityUnit::Milliseconds => "250ms, 15s, 2m or 1h",
            QuantityUnit::Seconds => "15s, 2m or 1h",
        }
    }

    /// Returns how many plain units one of `written` holds.
    fn factor(self, written: &str) -> Option<u64> {
        let mut written = written;
        if self == QuantityUnit::BitsPerSecond {
            let end = BITS_PER_SECOND_ENDS.iter().find_map(|end| written.strip_suffix(end));
            written = end.unwrap_or(written);
        }
        if written.is_empty() {
            return Some(1);
        }
        self.written_units().iter().find(|WrittenUnit(name, _)| *name == written).map(|unit| unit.1)
    }
}

/// A text as its digits before and behind the point, and the unit behind them.
struct QuantityText<'a> {
    whole: &'a str,
    fraction: &'a str,
    unit: &'a str,
}

/// Splits a text; none when it does not begin with a decimal number.
fn split_quantity(text: &str) -> Option<QuantityText<'_>> {
    let is_number = |c: char| c.is_ascii_digit() || c == '_' || c == '.';
    let (number, unit) = text.split_at(text.find(|c| !is_number(c)).unwrap_or(text.len()));
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
        Some(_) => return None,
        None => (number, ""),
    };
    let plain = |digits: &str| digits.starts_with(|c: char| c.is_ascii_digit()) && !digits.ends_with('_');
    let good = plain(whole) && (fraction.is_empty() || plain(fraction)) && !fraction.contains('.');
    // One space may stand between them, as people write it; none behind them.
    let unit = unit.strip_prefix(' ').filter(|unit| !unit.is_empty()).unwrap_or(unit);
    good.then_some(QuantityText { whole, fraction, unit })
}

/// Reads `500000`, `500_000`, `500k` or `1.5M` as so many of the plain unit. None for any other text, and for
/// what is no whole number of them.
pub(crate) fn parse_quantity(text: &str, unit: QuantityUnit) -> Option<u64> {
    let QuantityText { whole, fraction, unit: written } = split_quantity(text)?;
    let factor = u128::from(unit.factor(written)?);
    let digits = |text: &str| text.replace('_', "");
    let (whole, fraction) = (digits(whole).parse::<u128>().ok()?, digits(fraction));
    // More places than any unit has cannot make a whole number.
    let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).ok().filter(|&places| places <= 15)?)?;
    let part = if fraction.is_empty() { 0 } else { fraction.parse::<u128>().ok()?.checked_mul(factor)? };
    let sum = whole.checked_mul(factor)?.checked_add(part / scale)?;
    (part % scale == 0).then(|| u64::try_from(sum).ok())?
}

/// Reads a number that need not be whole: `0.5`, `1e-3` or `20k`.
pub(crate) fn parse_real(text: &str) -> Option<f64> {
    let (digits, factor) = match text.strip_suffix(['k', 'K']) {
        Some(digits) => (digits, 1e3),
        None => text.strip_suffix('M').map_or((text, 1.0), |digits| (digits, 1e6)),
    };
    digits.parse::<f64>().ok().map(|value| value * factor).filter(|value| value.is_finite())
}

/// Rule for a whole number, as an error line tells it.
pub(crate) struct QuantityRule<'a> {
    /// The text that was refused.
    pub(crate) text: &'a str,
    /// The unit of the number.
    pub(crate) unit: QuantityUnit,
    /// Values that are allowed.
    pub(crate) allowed: RangeInclusive<u64>,
}

impl fmt::Display for QuantityRule<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.allowed.start(), self.allowed.end()) {
            (least, &u64::MAX) => write!(f, "a whole number of at least {least}")?,
            (least, most) => write!(f, "a whole number from {least} to {most}")?,
        }
        // A number out of bounds needs no lesson in spelling.
        let has_unit = split_quantity(self.text).is_some_and(|text| !text.unit.is_empty());
        match has_unit && parse_quantity(self.text, self.unit).is_none() {
            true => write!(f, ", or written as {}", self.unit.spellings()),
            false => Ok(()),
        }
    }
}

/// Reads a whole number within bounds.
///
/// # Errors
/// The rule that the text breaks.
pub(crate) fn parse_within(
    text: &str,
    unit: QuantityUnit,
    allowed: RangeInclusive<u64>,
) -> Result<u64, QuantityRule<'_>> {
    let taken = parse_quantity(text, unit).filter(|value| allowed.contains(value));
    taken.ok_or(QuantityRule { text, unit, allowed })
}

#[cfg(test)]
mod tests {
    use super::*;
    use QuantityUnit::{BitsPerSecond, Bytes, Count, Milliseconds, Seconds};

    #[test]
    fn units_have_one_meaning_each_and_doubtful_ones_are_refused() {
        let rows: &[(QuantityUnit, &str, Option<u64>)] = &[
            (Count, "500000", Some(500_000)),
            (Count, "500_000", Some(500_000)),
            (Count, "500k", Some(500_000)),
            (Count, "1.5M", Some(1_500_000)),
            (Count, "2 M", Some(2_000_000)),
            (Count, "5m", None),
            (Count, "5KiB", None),
            (Count, "15s", None),
            (Count, "0.0005k", None),
            (Bytes, "64K", Some(65_536)),
            (Bytes, "64KiB", Some(65_536)),
            (Bytes, "64kB", Some(64_000)),
            (Bytes, "64M", Some(64 << 20)),
            (Bytes, "64m", Some(64 << 20)),
            (Bytes, "64MiB", Some(64 << 20)),
            (Bytes, "64 MiB", Some(64 << 20)),
            (Bytes, "16GiB", Some(16 << 30)),
            (Bytes, "16GB", Some(16_000_000_000)),
            (Bytes, "1.5GiB", Some(3 << 29)),
            (Bytes, "0.3MiB", None),
            (Bytes, "16Gb", None),
            (Bytes, "16gb", None),
            (Bytes, "16Gi", None),
            (Bytes, "16X", None),
            (Bytes, "1s", None),
            (Bytes, "18446744073709551615", Some(u64::MAX)),
            (Bytes, "18446744073709551616", None),
            (Bytes, "99999999999TiB", None),
            (BitsPerSecond, "10G", Some(10_000_000_000)),
            (BitsPerSecond, "2.5Gbit/s", Some(2_500_000_000)),
            (BitsPerSecond, "500Mbps", Some(500_000_000)),
            (BitsPerSecond, "1GB", None),
            (Milliseconds, "250", Some(250)),
            (Milliseconds, "250ms", Some(250)),
            (Milliseconds, "15s", Some(15_000)),
            (Milliseconds, "1.5s", Some(1_500)),
            (Milliseconds, "2m", Some(120_000)),
            (Milliseconds, "2min", Some(120_000)),
            (Milliseconds, "1h", Some(3_600_000)),
            (Milliseconds, "1d", Some(86_400_000)),
            (Milliseconds, "2M", None),
            (Milliseconds, "15S", None),
            (Milliseconds, "15 sec", None),
            (Milliseconds, "0.5ms", None),
            (Milliseconds, "1h30m", None),
            (Seconds, "15", Some(15)),
            (Seconds, "2m", Some(120)),
            (Seconds, "250ms", None),
        ];
        for (unit, text, expected) in rows {
            assert_eq!(parse_quantity(text, *unit), *expected, "{text} as {unit:?}");
        }
        for text in ["", "-1", "+1", " 1", "1 ", "1  k", "k", ".5k", "1.", "1.2.3", "_1", "1_", "1e3", "0x10"]
        {
            assert_eq!(parse_quantity(text, Count), None, "{text:?}");
        }
        assert_eq!(parse_quantity("1.0000000000000000000000000000000000000001", Count), None);
    }

    #[test]
    fn real_numbers_take_the_units_of_counts() {
        let rows = [("0.5", Some(0.5)), ("20k", Some(20e3)), ("1.5M", Some(1.5e6)), ("-1", Some(-1.0))];
        for (text, expected) in rows {
            assert_eq!(parse_real(text), expected, "{text}");
        }
        for text in ["", "k", "nan", "inf", "1e308M", "5m", "x"] {
            assert_eq!(parse_real(text), None, "{text}");
        }
    }

    #[test]
    fn a_name_tells_its_unit() {
        let rows = [
            ("heartbeat_ms", Milliseconds),
            ("retry-ms", Milliseconds),
            ("idle-seconds", Seconds),
            ("history_topic_bytes_max", Bytes),
            ("bytes", Bytes),
            ("connections_max", Count),
            ("ramp-per-second", Count),
        ];
        for (name, unit) in rows {
            assert_eq!(QuantityUnit::of_name(name), unit, "{name}");
        }
    }

    #[test]
    fn a_refusal_names_the_bounds_and_spells_what_was_misspelled() {
        let rows = [
            ("5", "a whole number from 100 to 3600000"),
            ("2h", "a whole number from 100 to 3600000"),
            ("many", "a whole number from 100 to 3600000"),
            ("15S", "a whole number from 100 to 3600000, or written as 250ms, 15s, 2m or 1h"),
        ];
        for (text, expected) in rows {
            let refused = parse_within(text, Milliseconds, 100..=3_600_000).expect_err("refused");
            assert_eq!(refused.to_string(), expected);
        }
        let refused = parse_within("0", Count, 1..=u64::MAX).expect_err("refused");
        assert_eq!(refused.to_string(), "a whole number of at least 1");
    }
}
