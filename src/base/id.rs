//! Event ids: `<unix ms>-<n>`, packed in a `u64`, one increasing order for the whole node.
//!
//! The text form is that of a Redis stream id. Owns the packing and the text form; knows nothing of clocks:
//! the time is an argument.

use std::fmt;

/// Bits that count events within one millisecond.
const COUNT_BITS: u32 = 20;
/// The largest count within one millisecond.
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;
/// The largest millisecond that fits; the year 2527.
const MS_MAX: u64 = (1 << (64 - COUNT_BITS)) - 1;
/// Bytes of the longest text form: 14 digits, a hyphen, 7 digits.
pub(crate) const EVENT_ID_TEXT_BYTES_MAX: usize = 22;

/// The id of an event: 44 bits of Unix milliseconds, 20 bits of count. Also a subscriber's position.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EventId(u64);

impl EventId {
    /// The position before every event.
    pub const ZERO: EventId = EventId(0);

    /// The first id of a millisecond; times beyond the representable range are clamped.
    pub fn at_ms(unix_ms: u64) -> EventId {
        EventId(unix_ms.min(MS_MAX) << COUNT_BITS)
    }

    /// Unix milliseconds at which the event was published.
    pub fn ms(self) -> u64 {
        self.0 >> COUNT_BITS
    }

    /// The count within its millisecond.
    pub fn count(self) -> u64 {
        self.0 & COUNT_MAX
    }

    /// The next id of the node: the clock's millisecond, or one past the last id when the clock stands
    /// still or steps back. Strictly increasing until the year 2527.
    pub(crate) fn next_after(self, unix_ms: u64) -> EventId {
        let by_clock = EventId::at_ms(unix_ms);
        if by_clock > self { by_clock } else { EventId(self.0.saturating_add(1)) }
    }

    /// Reads the text form. Strict: decimal digits, one hyphen, no sign, no leading zero but a lone one, in
    /// range. Anything else is not one of our ids.
    pub fn parse(text: &[u8]) -> Option<EventId> {
        let hyphen = text.iter().position(|&b| b == b'-')?;
        let ms = parse_decimal(&text[..hyphen])?;
        let count = parse_decimal(&text[hyphen + 1..])?;
        (ms <= MS_MAX && count <= COUNT_MAX).then_some(EventId(ms << COUNT_BITS | count))
    }
}

fn parse_decimal(digits: &[u8]) -> Option<u64> {
    let canonical = !digits.is_empty() && (digits.len() == 1 || digits[0] != b'0');
    if !canonical || digits.len() > 19 {
        return None;
    }
    digits.iter().try_fold(0u64, |value, &digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms(), self.count())
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips_and_rubbish_is_refused() {
        let rows: &[(&str, Option<&str>)] = &[
            ("0-0", Some("0-0")),
            ("1700000000000-0", Some("1700000000000-0")),
            ("1700000000000-1048575", Some("1700000000000-1048575")),
            ("1700000000000-1048576", None),
            ("17592186044415-0", Some("17592186044415-0")),
            ("17592186044416-0", None),
            ("", None),
            ("-", None),
            ("1-", None),
            ("-1", None),
            ("+1-0", None),
            ("01-0", None),
            ("1-00", None),
            ("1-0 ", None),
            ("1-0-0", None),
            ("$-1", None),
            ("18446744073709551615-0", None),
            ("99999999999999999999999999-1", None),
        ];
        for (text, expected) in rows {
            let got = EventId::parse(text.as_bytes()).map(|id| id.to_string());
            assert_eq!(got.as_deref(), *expected, "{text}");
        }
    }

    #[test]
    fn ids_go_on_rising_when_the_clock_steps_back_or_a_millisecond_is_full() {
        let mut last = EventId::at_ms(1_000);
        for _ in 0..=COUNT_MAX {
            let next = last.next_after(1_000);
            assert!(next > last);
            last = next;
        }
        assert_eq!(last.ms(), 1_001);
        assert!(last.next_after(5) > last);
        assert_eq!(last.next_after(2_000), EventId::at_ms(2_000));
    }
}
