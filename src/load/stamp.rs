//! The stamp in an event of the load, by which a receiver judges it: publisher, number and moment of sending.
//! Owns the text form; knows no clock.

use std::io::Write;

/// An event's stamp. As text: four decimals with a space behind each, then filling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EventStamp {
    /// The index of the publisher's connection.
    pub(crate) publisher: u32,
    /// Which event of this publisher on this topic, from 1 on without a hole.
    pub(crate) number: u32,
    /// Which event of the whole run, from 0 on.
    pub(crate) index: u64,
    /// When it was sent, or should have been, in nanoseconds since the run began.
    pub(crate) sent_ns: u64,
}

impl EventStamp {
    /// Appends the text, filled up to `bytes`; longer if the stamp alone is.
    pub(crate) fn write(&self, bytes: usize, out: &mut Vec<u8>) {
        let start = out.len();
        let EventStamp { publisher, number, index, sent_ns } = self;
        write!(out, "{publisher} {number} {index} {sent_ns} ").expect("memory takes every write");
        if out.len() - start < bytes {
            out.resize(start + bytes, b'x');
        }
    }

    /// Reads a stamp back; `None` for data that no run has sent.
    pub(crate) fn read(data: &[u8]) -> Option<EventStamp> {
        let mut rest = data;
        let publisher = u32::try_from(decimal(&mut rest)?).ok()?;
        let number = u32::try_from(decimal(&mut rest)?).ok()?;
        let (index, sent_ns) = (decimal(&mut rest)?, decimal(&mut rest)?);
        rest.iter().all(|&byte| byte == b'x').then_some(EventStamp { publisher, number, index, sent_ns })
    }
}

/// Takes the decimal that `rest` begins with, and the space behind it.
fn decimal(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for (at, &byte) in rest.iter().enumerate() {
        match byte {
            b'0'..=b'9' => value = value.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?,
            b' ' if at > 0 => {
                *rest = &rest[at + 1..];
                return Some(value);
            }
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_reads_back_at_any_size() {
        let stamp = EventStamp { publisher: 3, number: 41, index: 1 << 40, sent_ns: u64::MAX };
        for bytes in [0, 64, 100_000] {
            let mut text = Vec::new();
            stamp.write(bytes, &mut text);
            assert!(text.len() >= bytes && text.len() <= bytes.max(64));
            assert_eq!(EventStamp::read(&text), Some(stamp));
        }
    }

    #[test]
    fn what_no_run_has_sent_is_no_stamp() {
        for text in
            ["", "1 2 3 4", "1 2 3 x ", "1  3 4 ", "1 2 3 4 xy", "-1 2 3 4 ", "1 2 3 99999999999999999999 "]
        {
            assert_eq!(EventStamp::read(text.as_bytes()), None, "{text:?}");
        }
    }
}
