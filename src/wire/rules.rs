//! Rules for the texts that publishers and subscribers choose: event names, keys, times. Those for topics are
//! in `base`.
//!
//! Owns these rules once for queries, headers and batches. Each returns the rule that is broken, as words
//! that continue a sentence which begins with the parameter's name. Knows nothing of requests.

use std::num::NonZeroU32;

use crate::base::limits::KEY_BYTES_MAX;
use crate::base::number_text::parse_decimal;
use crate::base::topic::{RESERVED_PREFIX, check_controls};
pub(crate) use crate::base::topic::{check_topic, is_reserved_topic};

/// Bytes of an event's name: it is repeated in every frame.
const EVENT_NAME_BYTES_MAX: usize = 128;
/// Milliseconds of a reconnection time: an hour. Node's clients take a time beyond 31 bits for 1 ms, and
/// connect hundreds of times a second.
const RETRY_MS_MAX: u64 = 3_600_000;
/// Milliseconds of an event's life: 30 days, counted in 32 bits where it is kept.
const TTL_MS_MAX: u32 = 30 * 24 * 3_600_000;

/// The type of an event that was published without a name (WHATWG HTML §9.2.6).
pub(crate) const UNNAMED_EVENT: &str = "message";

/// The topic on which the server tells its own state, once a second while somebody listens; its events have
/// the same name.
pub(crate) const STATUS_TOPIC: &str = "fanwheel.status";

const _: () = assert!(EVENT_NAME_BYTES_MAX == 128 && KEY_BYTES_MAX == 256, "texts below");

/// An event name. Besides controls, a name like a field line of the event stream is refused: no honest
/// name begins so, and clients with lax parsers have been fooled by it.
pub(crate) fn check_event(text: &str) -> Result<(), &'static str> {
    if text.len() > EVENT_NAME_BYTES_MAX {
        return Err("must be at most 128 bytes");
    }
    check_controls(text)?;
    let start = text.trim_start();
    if ["data:", "event:", "id:", "retry:", ":"].iter().any(|field| start.starts_with(field)) {
        return Err("must not look like a field of the event stream");
    }
    Ok(())
}

/// Whether an event name is one of the server's own, which no publisher may use: subscribers trust a gap.
pub(crate) fn is_reserved_event(text: &str) -> bool {
    text.starts_with(RESERVED_PREFIX)
}

/// One sentence about a name that an `EventSource` gives to events of its own as well (WHATWG HTML §9.2.3): a
/// page's handler for these runs at a published event, too.
pub(crate) fn warn_of_event(name: &str) -> Option<&'static str> {
    match name {
        "error" => {
            Some("An event named error also runs onerror in pages; only the browser's own has no data.")
        }
        "open" => Some("An event named open also runs onopen in pages; only the browser's own has no data."),
        _ => None,
    }
}

/// A key for latest-per-key.
pub(crate) fn check_key(text: &str) -> Result<(), &'static str> {
    if text.len() > KEY_BYTES_MAX {
        return Err("must be at most 256 bytes");
    }
    check_controls(text)
}

/// A reconnection time in decimal digits and nothing else.
pub(crate) fn parse_retry_ms(digits: &[u8]) -> Result<u64, &'static str> {
    check_retry_ms(parse_decimal(digits).unwrap_or(0))
}

/// A reconnection time: neither none, with which clients would come back without a pause, nor beyond what
/// timers of 31 bits take for none.
pub(crate) fn check_retry_ms(retry_ms: u64) -> Result<u64, &'static str> {
    const _: () = assert!(RETRY_MS_MAX == 3_600_000, "text below");
    let within = (1..=RETRY_MS_MAX).contains(&retry_ms);
    within.then_some(retry_ms).ok_or("must be a whole number of milliseconds from 1 to 3600000")
}

/// A life in decimal digits and nothing else.
pub(crate) fn parse_ttl_ms(digits: &[u8]) -> Result<NonZeroU32, &'static str> {
    check_ttl_ms(parse_decimal(digits).unwrap_or(0))
}

/// The life of an event.
pub(crate) fn check_ttl_ms(ttl_ms: u64) -> Result<NonZeroU32, &'static str> {
    const _: () = assert!(TTL_MS_MAX == 2_592_000_000, "text below");
    let within = u32::try_from(ttl_ms).ok().filter(|ttl_ms| *ttl_ms <= TTL_MS_MAX);
    within.and_then(NonZeroU32::new).ok_or("must be a whole number of milliseconds from 1 to 2592000000")
}

/// Adds a text unless it is there.
pub(crate) fn push_unique(list: &mut Vec<Box<str>>, text: &str) {
    if !list.iter().any(|known| **known == *text) {
        list.push(text.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_names_neither_break_nor_imitate_lines() {
        let long = "x".repeat(128);
        let longer = "x".repeat(4_000);
        let rows: &[(&str, bool)] = &[
            ("likes", true),
            ("user:created", true),
            ("identity: x", true),
            ("", true),
            (&long, true),
            (&longer, false),
            ("a\nb", false),
            ("a\rb", false),
            ("a\r\nretry: 1", false),
            ("a\0", false),
            ("retry:", false),
            ("retry: 1", false),
            ("id:", false),
            (" id: 5", false),
            ("data: x", false),
            ("event:y", false),
            (":", false),
        ];
        for (text, ok) in rows {
            assert_eq!(check_event(text).is_ok(), *ok, "{text:?}");
        }
        for (name, warns) in
            [("error", true), ("open", true), ("Error", false), ("message", false), ("", false)]
        {
            assert_eq!(warn_of_event(name).is_some(), warns, "{name}");
        }
    }

    #[test]
    fn keys_are_bounded_and_lists_hold_each_text_once() {
        assert!(check_key(&"k".repeat(256)).is_ok());
        assert!(check_key(&"k".repeat(257)).is_err());
        assert!(check_key("a\nb").is_err());
        let mut list = Vec::new();
        for text in ["a", "b", "a", "A"] {
            push_unique(&mut list, text);
        }
        assert_eq!(list, ["a".into(), "b".into(), "A".into()] as [Box<str>; 3]);
    }
}
