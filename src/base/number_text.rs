//! Numbers as text: for people, and decimals that are read back.

use crate::base::limits::{GIB, KIB, MIB};

/// Decimal digits only; `None` for anything else, for no digits, and for a number that `u64` cannot hold.
pub(crate) fn parse_decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |value, &digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

/// A binary unit of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ByteUnit {
    /// Its symbol, such as `KiB`.
    pub(crate) symbol: &'static str,
    /// Bytes of one of it.
    pub(crate) bytes: usize,
}

/// Returns the largest unit of which a number of bytes has at least one; of few bytes, the byte.
pub(crate) fn byte_unit(bytes: f64) -> ByteUnit {
    let units = [("GiB", GIB), ("MiB", MIB), ("KiB", KIB), ("B", 1)];
    let units = units.map(|(symbol, bytes)| ByteUnit { symbol, bytes });
    units.into_iter().find(|unit| bytes.abs() >= unit.bytes as f64).unwrap_or(units[3])
}

/// Writes a number with about three significant digits; a whole number has no decimals.
pub fn short_number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_digits_that_fit() {
        let rows: &[(&str, Option<u64>)] = &[
            ("0", Some(0)),
            ("007", Some(7)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("18446744073709551621", None),
            ("9999999999999999999999999999999999999999", None),
            ("", None),
            ("+5", None),
            ("-5", None),
            ("5 5", None),
            ("5,6", None),
            ("0x5", None),
            ("5\0", None),
            ("1e3", None),
            ("٣", None),
        ];
        for (text, expected) in rows {
            assert_eq!(parse_decimal(text.as_bytes()), *expected, "{text:?}");
        }
    }

    #[test]
    fn bytes_have_the_largest_unit_that_they_fill() {
        let rows =
            [(0.0, "B"), (1_023.0, "B"), (1_024.0, "KiB"), (-2_048.0, "KiB"), (1e6, "KiB"), (2e9, "GiB")];
        for (bytes, expected) in rows {
            assert_eq!(byte_unit(bytes).symbol, expected, "{bytes}");
        }
    }

    #[test]
    fn numbers_have_about_three_digits() {
        let rows = [
            (0.0, "0"),
            (0.004, "0.00"),
            (0.125, "0.12"),
            (7.0, "7"),
            (9.876, "9.88"),
            (12.34, "12.3"),
            (99.96, "100.0"),
            (123.4, "123"),
            (-12.34, "-12.3"),
            (1e6, "1000000"),
        ];
        for (value, expected) in rows {
            assert_eq!(short_number(value), expected);
        }
    }
}
