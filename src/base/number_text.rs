//! Numbers as text for people. Knows no unit.

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
