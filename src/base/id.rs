//! Event ids: `<unix ms>-<n>`, packed in a `u64`, one increasing order for the whole node.
//!
//! ```text
//!  63                              20 19        10 9          0
//! +----------------------------------+------------+------------+
//! | Unix milliseconds                | count      | tag        |     text: <ms>-<count * 1024 + tag>
//! +----------------------------------+------------+------------+
//! ```
//!
//! The text form is that of a Redis stream id. The tag is that of the run, so an id of another run, or of
//! another node, is known as foreign. It is never 0, so `<ms>-0` is no event's id: it means the moment before
//! all events of that millisecond. Owns the packing and the text form. Clocks and randomness are arguments.

use std::fmt;

use crate::base::number_text::parse_decimal;

/// Bits that tell runs apart.
const TAG_BITS: u32 = 10;
/// All bits of a tag set; 0 is no tag, so this is also the number of tags.
const TAG_MAX: u64 = (1 << TAG_BITS) - 1;
/// Bits below the millisecond: the count within it, and the tag.
const N_BITS: u32 = 20;
/// The largest number behind the hyphen.
const N_MAX: u64 = (1 << N_BITS) - 1;
/// The largest millisecond that fits; the year 2527.
const MS_MAX: u64 = (1 << (64 - N_BITS)) - 1;
/// Difference between an id and the next one of its run.
const STEP: u64 = 1 << TAG_BITS;
/// Bytes of the longest text form: 14 digits, a hyphen, 7 digits.
pub(crate) const EVENT_ID_TEXT_BYTES_MAX: usize = 22;

/// The id of an event: 44 bits of Unix milliseconds, 10 bits of count, 10 bits of the run's tag. Also a
/// subscriber's position.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EventId(u64);

/// Mark of a run in all of its ids; between 1 and 1 023.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdTag(u64);

impl IdTag {
    /// Makes a tag of random bits.
    pub fn from_random(bits: u64) -> IdTag {
        IdTag(1 + bits % TAG_MAX)
    }
}

impl EventId {
    /// The position before every event.
    pub const ZERO: EventId = EventId(0);
    /// After all others.
    pub(crate) const MAX: EventId = EventId(u64::MAX);

    /// The moment at which a millisecond begins: `<ms>-0`, before all of its events, and of no run. Times
    /// beyond the representable range are clamped.
    pub fn at_ms(unix_ms: u64) -> EventId {
        EventId(unix_ms.min(MS_MAX) << N_BITS)
    }

    /// The position at which a run with this tag starts: before its first event.
    pub fn start_of_run(unix_ms: u64, tag: IdTag) -> EventId {
        EventId(EventId::at_ms(unix_ms).0 | tag.0)
    }

    /// Unix milliseconds at which the event was published.
    pub fn ms(self) -> u64 {
        self.0 >> N_BITS
    }

    /// The number behind the hyphen: the count within the millisecond, and the tag.
    pub fn n(self) -> u64 {
        self.0 & N_MAX
    }

    /// The tag of the run that gave the id; none for a moment, and for ids that no run has given.
    pub(crate) fn tag(self) -> Option<IdTag> {
        let tag = self.0 & TAG_MAX;
        (tag != 0).then_some(IdTag(tag))
    }

    /// The number of that tag; 0 for none.
    pub(crate) fn tag_number(self) -> u64 {
        self.0 & TAG_MAX
    }

    /// Whether it is the beginning of a millisecond and not an event's id.
    pub(crate) fn is_moment(self) -> bool {
        self.n() == 0
    }

    /// The next id of the run that gave this one: the clock's millisecond, or one past this id when the clock
    /// stands still or steps back. Strictly increasing until the year 2527.
    pub fn next_after(self, unix_ms: u64) -> EventId {
        let by_clock = EventId(EventId::at_ms(unix_ms).0 | self.0 & TAG_MAX);
        if by_clock > self { by_clock } else { EventId(self.0.saturating_add(STEP)) }
    }

    /// The largest id of its run before this one.
    pub(crate) fn preceding(self) -> EventId {
        EventId(self.0.saturating_sub(STEP))
    }

    /// Reads the text form. Strict: decimal digits, one hyphen, no sign, no leading zero but a lone one, in
    /// range. Anything else is not one of our ids.
    pub fn parse(text: &[u8]) -> Option<EventId> {
        let hyphen = text.iter().position(|&b| b == b'-')?;
        let ms = parse_canonical(&text[..hyphen])?;
        let n = parse_canonical(&text[hyphen + 1..])?;
        (ms <= MS_MAX && n <= N_MAX).then_some(EventId(ms << N_BITS | n))
    }
}

/// Reads a decimal in the one form in which it is written: without leading zeros.
fn parse_canonical(digits: &[u8]) -> Option<u64> {
    let is_canonical = digits.len() == 1 || digits.first() != Some(&b'0');
    parse_decimal(digits).filter(|_| is_canonical)
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms(), self.n())
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

    fn run() -> EventId {
        EventId::start_of_run(1_000, IdTag(7))
    }

    #[test]
    fn ids_go_on_rising_when_the_clock_steps_back_or_a_millisecond_is_full() {
        let mut last = run();
        for _ in 0..1_024 {
            let next = last.next_after(1_000);
            assert!(next > last && next.tag() == Some(IdTag(7)));
            last = next;
        }
        assert_eq!(last.to_string(), "1001-7", "a millisecond counts 1 024");
        assert!(last.next_after(5) > last);
        assert_eq!(last.next_after(2_000).to_string(), "2000-7");
        assert_eq!(last.next_after(2_000).next_after(2_000).to_string(), "2000-1031");
    }

    #[test]
    fn no_run_gives_a_moment_and_each_has_a_tag_of_its_own() {
        for bits in [0, 1, 1_022, 1_023, 1_024, u64::MAX] {
            let tag = IdTag::from_random(bits);
            let start = EventId::start_of_run(1_000, tag);
            assert!((1..=TAG_MAX).contains(&tag.0) && start.tag() == Some(tag) && !start.is_moment());
            assert!(start > EventId::at_ms(1_000) && start < EventId::at_ms(1_001));
        }
        assert!(EventId::at_ms(1_000).is_moment() && EventId::at_ms(1_000).tag().is_none());
        let never_given = EventId::parse(b"1000-2048").expect("in range");
        assert!(!never_given.is_moment() && never_given.tag().is_none());
    }
}
