//! The chunked transfer coding, decoded strictly and incrementally (RFC 9112 §7.1).
//!
//! Owns where a chunked body ends. Never holds body bytes: they go to the caller's buffer. Extensions and
//! trailers are checked for form, bounded, and forgotten.
//!
//! | state | leaves on | to |
//! | --- | --- | --- |
//! | `Size` | `;` / white space / CR | `Extension` / `Padding` / `SizeEnd` |
//! | `Padding` | `;` | `Extension` |
//! | `Extension` | CR | `SizeEnd` |
//! | `SizeEnd` | LF | `Data`, or `TrailerStart` after size 0 |
//! | `Data` | the chunk's last byte | `DataEnd` |
//! | `DataEnd` | CR | `DataEndLf` |
//! | `DataEndLf` | LF | `Size` |
//! | `TrailerStart` | CR / a name | `End` / `TrailerName` |
//! | `TrailerName` | `:` | `TrailerValue` |
//! | `TrailerValue` | CR | `TrailerEnd` |
//! | `TrailerEnd` | LF | `TrailerStart` |
//! | `End` | LF | `Done` |

use crate::base::limits::KIB;
use crate::wire::fields::is_token_byte;
use crate::wire::problem::Problem;

/// Hexadecimal digits of a chunk size: eight reach 4 GiB, beyond any body that is taken, and fit a `u32`.
const CHUNK_SIZE_DIGITS_MAX: usize = 8;
/// Bytes of framing that each chunk may cost for nothing: its size line and two line ends, without extension.
const CHUNK_FREE_BYTES: usize = 16;
/// Bytes of one chunk-size line, extensions included: extensions have no use here, only attacks have.
const CHUNK_LINE_BYTES_MAX: usize = 256;
/// Bytes of chunk lines and trailers of one body beyond those that its chunks may cost for nothing and its
/// payload is long; keeps one-byte chunks with long extensions from costing more than the body is worth.
const CHUNK_OVERHEAD_BYTES_MAX: usize = 16 * KIB;

const _: () = assert!(CHUNK_SIZE_DIGITS_MAX * 4 <= u32::BITS as usize, "a size fits u32 and cannot wrap");

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ChunkedState {
    #[default]
    Size,
    Padding,
    Extension,
    SizeEnd,
    Data,
    DataEnd,
    DataEndLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerEnd,
    End,
    Done,
}

/// A decoder for one body.
#[derive(Clone, Debug, Default)]
pub struct ChunkedDecoder {
    state: ChunkedState,
    /// The running chunk's size as read so far, then the bytes of it that are still to come.
    left: u32,
    /// Digits of that size.
    digits: u8,
    /// Bytes of the running size or trailer line.
    line_bytes: u16,
    /// Framing bytes that neither payload nor the free share of each chunk has paid for.
    overhead: usize,
    decoded: usize,
}

/// Progress that one piece of input made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyProgress {
    /// Bytes taken from the input: all of it, unless the body ended within it.
    pub consumed: usize,
    /// The body is whole; further bytes belong to the next request.
    pub done: bool,
}

impl ChunkedDecoder {
    /// A decoder at the start of a body.
    pub fn new() -> ChunkedDecoder {
        ChunkedDecoder::default()
    }

    /// Appends the body bytes of `input` to `out`. Errors are final: [`Problem::BadChunk`], or
    /// [`Problem::BodyTooLarge`] as soon as a chunk's size takes the body over `bytes_max`. Once done, takes
    /// nothing more.
    pub fn feed(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        bytes_max: usize,
    ) -> Result<BodyProgress, Problem> {
        let mut at = 0;
        while at < input.len() && self.state != ChunkedState::Done {
            if self.state == ChunkedState::Data {
                let whole = usize::try_from(self.left).expect("u32 fits usize on 64-bit hosts");
                let piece = whole.min(input.len() - at);
                out.extend_from_slice(&input[at..at + piece]);
                at += piece;
                self.decoded += piece;
                self.left -= piece as u32;
                if self.left == 0 {
                    self.state = ChunkedState::DataEnd;
                }
            } else {
                self.state = self.step_framing(input[at], bytes_max)?;
                at += 1;
            }
        }
        Ok(BodyProgress { consumed: at, done: self.state == ChunkedState::Done })
    }

    /// Body bytes decoded so far.
    pub fn decoded(&self) -> usize {
        self.decoded
    }

    /// Takes in one byte of framing.
    fn step_framing(&mut self, byte: u8, bytes_max: usize) -> Result<ChunkedState, Problem> {
        self.count_framing()?;
        match self.state {
            ChunkedState::Size => self.step_size(byte),
            ChunkedState::Padding => match byte {
                b';' => Ok(ChunkedState::Extension),
                b' ' | b'\t' => Ok(ChunkedState::Padding),
                _ => Err(Problem::BadChunk("A chunk size is followed by something else than an extension.")),
            },
            ChunkedState::Extension => match byte {
                b'\r' => Ok(ChunkedState::SizeEnd),
                byte if is_text(byte) => Ok(ChunkedState::Extension),
                _ => Err(Problem::BadChunk("A chunk extension has a control character.")),
            },
            ChunkedState::SizeEnd => {
                expect_byte(byte, b'\n')?;
                self.end_size_line(bytes_max)
            }
            ChunkedState::DataEnd => expect_byte(byte, b'\r').map(|()| ChunkedState::DataEndLf),
            ChunkedState::DataEndLf => {
                expect_byte(byte, b'\n')?;
                (self.digits, self.line_bytes) = (0, 0);
                Ok(ChunkedState::Size)
            }
            ChunkedState::TrailerStart => match byte {
                b'\r' => Ok(ChunkedState::End),
                byte if is_token_byte(byte) => Ok(ChunkedState::TrailerName),
                _ => Err(Problem::BadChunk("A trailer has a broken name.")),
            },
            ChunkedState::TrailerName => match byte {
                b':' => Ok(ChunkedState::TrailerValue),
                byte if is_token_byte(byte) => Ok(ChunkedState::TrailerName),
                _ => Err(Problem::BadChunk("A trailer has a broken name.")),
            },
            ChunkedState::TrailerValue => match byte {
                b'\r' => Ok(ChunkedState::TrailerEnd),
                byte if is_text(byte) => Ok(ChunkedState::TrailerValue),
                _ => Err(Problem::BadChunk("A trailer has a control character.")),
            },
            ChunkedState::TrailerEnd => expect_byte(byte, b'\n').map(|()| ChunkedState::TrailerStart),
            ChunkedState::End => expect_byte(byte, b'\n').map(|()| ChunkedState::Done),
            ChunkedState::Data | ChunkedState::Done => unreachable!("feed handles both before it steps"),
        }
    }

    fn step_size(&mut self, byte: u8) -> Result<ChunkedState, Problem> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            _ if self.digits == 0 => return Err(Problem::BadChunk("A chunk does not begin with its size.")),
            b'\r' => return Ok(ChunkedState::SizeEnd),
            b';' => return Ok(ChunkedState::Extension),
            // RFC 9112 §7.1.1 has recipients pass over white space here, but only before an extension.
            b' ' | b'\t' => return Ok(ChunkedState::Padding),
            _ => return Err(Problem::BadChunk("A chunk size is not hexadecimal.")),
        };
        if usize::from(self.digits) == CHUNK_SIZE_DIGITS_MAX {
            return Err(Problem::BadChunk("A chunk size has too many digits."));
        }
        self.left = if self.digits == 0 { 0 } else { self.left << 4 } | u32::from(digit);
        self.digits += 1;
        Ok(ChunkedState::Size)
    }

    fn end_size_line(&mut self, bytes_max: usize) -> Result<ChunkedState, Problem> {
        if self.left == 0 {
            // Trailers are paid for by nothing but the overhead that is left.
            return Ok(ChunkedState::TrailerStart);
        }
        let size = usize::try_from(self.left).expect("u32 fits usize on 64-bit hosts");
        if size > bytes_max.saturating_sub(self.decoded) {
            return Err(Problem::BodyTooLarge { bytes_max });
        }
        self.overhead = self.overhead.saturating_sub(CHUNK_FREE_BYTES.saturating_add(size));
        Ok(ChunkedState::Data)
    }

    /// Bounds each size line, and all framing together.
    fn count_framing(&mut self) -> Result<(), Problem> {
        self.overhead += 1;
        if self.overhead > CHUNK_OVERHEAD_BYTES_MAX {
            return Err(Problem::BadChunk("The body has more framing than payload."));
        }
        if matches!(
            self.state,
            ChunkedState::Size | ChunkedState::Padding | ChunkedState::Extension | ChunkedState::SizeEnd
        ) {
            self.line_bytes += 1;
            if usize::from(self.line_bytes) > CHUNK_LINE_BYTES_MAX {
                return Err(Problem::BadChunk("A chunk size line is too long."));
            }
        }
        Ok(())
    }
}

fn expect_byte(byte: u8, expected: u8) -> Result<(), Problem> {
    if byte == expected {
        Ok(())
    } else {
        Err(Problem::BadChunk("A line of the body does not end with CR LF."))
    }
}

/// Whether a byte may stand in an extension or a trailer's value: no control may, but HTAB, which is white
/// space.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || byte >= b' ' && byte != 0x7f
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES_MAX: usize = 100_000;

    /// Feeds pieces of at most `piece` bytes; the body and the bytes consumed, or the status.
    fn decode(input: &[u8], piece: usize) -> Result<(Vec<u8>, usize, bool), u16> {
        let mut decoder = ChunkedDecoder::new();
        let mut out = Vec::new();
        let mut consumed = 0;
        for part in input.chunks(piece) {
            let fed = decoder.feed(part, &mut out, BYTES_MAX).map_err(|problem| {
                assert!(problem.closes());
                problem.status()
            })?;
            consumed += fed.consumed;
            if fed.done {
                break;
            }
            assert_eq!(fed.consumed, part.len());
        }
        assert_eq!(decoder.decoded(), out.len());
        Ok((out, consumed, decoder.state == ChunkedState::Done))
    }

    /// Checks that the result is `expected` however the input is cut.
    fn check(input: &[u8], expected: Result<(&[u8], usize), u16>) {
        for piece in [input.len().max(1), 1, 2, 3, 7] {
            let shown = String::from_utf8_lossy(&input[..input.len().min(80)]);
            match (decode(input, piece), expected) {
                (Ok((body, consumed, true)), Ok((expected_body, left))) => {
                    assert_eq!(body, expected_body, "{shown:?}");
                    assert_eq!(input.len() - consumed, left, "{shown:?}");
                }
                (got, expected) => {
                    assert_eq!(got.err(), expected.err(), "{shown:?}");
                    assert!(expected.is_err(), "not finished: {shown:?}");
                }
            }
        }
    }

    #[test]
    fn good_bodies_are_decoded_and_end_where_they_end() {
        let rows: &[(&str, &str, usize)] = &[
            ("0\r\n\r\n", "", 0),
            ("5\r\nhello\r\n0\r\n\r\n", "hello", 0),
            ("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\nGET / HTTP/1.1\r\n", "hello world", 16),
            ("00000005\r\nhello\r\n00000000\r\n\r\n", "hello", 0),
            ("A\r\n0123456789\r\n0\r\n\r\n", "0123456789", 0),
            ("a\r\n\r\n\r\n\r\n\r\n\r\n\r\n0\r\n\r\n", "\r\n\r\n\r\n\r\n\r\n", 0),
            ("5;x=1\r\nhello\r\n0;y\r\n\r\n", "hello", 0),
            ("5 ;x=\"a b\"\r\nhello\r\n0 \t;\r\n\r\n", "hello", 0),
            ("5\r\nhello\r\n0\r\nX: y\r\nContent-Length: 9\r\nEmpty:\r\n\r\nrest", "hello", 4),
        ];
        for (input, body, left) in rows {
            check(input.as_bytes(), Ok((body.as_bytes(), *left)));
        }
    }

    #[test]
    fn broken_framing_is_refused() {
        let sizes = [
            // A6
            "g",
            "",
            "-5",
            "+5",
            "0x5",
            "5_",
            " 5",
            "5g",
            "\t5",
            "#5",
            ";x",
            "ffffffffffffffff",
            "fffffffffffffffff",
            "100000005",
            "10000000000000005",
            "000000005",
            "５",
            "5\0",
            "5\u{7f}",
            "5,5",
            "5 x",
            "5 ",
            "5\t",
            "5 5",
            "5 \u{e4}",
        ];
        for size in sizes {
            check(format!("{size}\r\nhello\r\n0\r\n\r\n").as_bytes(), Err(400));
        }
        check(format!("{}\r\nhello\r\n0\r\n\r\n", "5".repeat(100)).as_bytes(), Err(400));
        check(format!("{}5\r\nhello\r\n0\r\n\r\n", "0".repeat(100)).as_bytes(), Err(400));
        let bodies = [
            // A7
            "5\nhello\r\n0\r\n\r\n",
            "5\rhello\r\n0\r\n\r\n",
            "5\r\rhello\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5\r\nhello\r0\r\n\r\n",
            "5\r\nhello\rX0\r\n\r\n",
            "5\r\nhelloXX0\r\n\r\n",
            "5\r\nhello0\r\n\r\n",
            "5\r\nhello!\r\n0\r\n\r\n",
            "5;a\nb\r\nhello\r\n0\r\n\r\n",
            "5;a\rb\r\nhello\r\n0\r\n\r\n",
            "5;a\0\r\nhello\r\n",
            "5;\x7f\r\nhello\r\n",
            "0\r\n\n",
            "0\r\n\rX",
            "0\r\rX",
            "0\n\n",
            "0\r\nX\r\n\r\n",
            "0\r\nX y: z\r\n\r\n",
            "0\r\nX: y\nZ: z\r\n\r\n",
            "0\r\n: y\r\n\r\n",
            "0\r\n folded\r\n\r\n",
            "0\r\nX: y\r\n z\r\n\r\n",
            "0\r\nX: \0\r\n\r\n",
            "\r\n0\r\n\r\n",
            "5\r\nhello\r\n\r\n0\r\n\r\n",
        ];
        for body in bodies {
            check(body.as_bytes(), Err(400));
        }
    }

    #[test]
    fn lengths_are_bounded_before_the_bytes_come() {
        // A21
        check(b"ffffffff\r\n", Err(413));
        check(format!("{:x}\r\n", BYTES_MAX + 1).as_bytes(), Err(413));
        check(format!("1\r\nx\r\n{BYTES_MAX:x}\r\n").as_bytes(), Err(413));
        let exact =
            [format!("{BYTES_MAX:x}\r\n").as_bytes(), &vec![b'x'; BYTES_MAX], b"\r\n0\r\n\r\n"].concat();
        check(&exact, Ok((&vec![b'x'; BYTES_MAX], 0)));
        assert_eq!(
            ChunkedDecoder::new().feed(b"1\r\n", &mut Vec::new(), 0).map_err(|p| p.status()),
            Err(413)
        );
    }

    #[test]
    fn framing_is_bounded_by_what_it_carries() {
        // A8, A9
        check(format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(MIB_OF_NOTHING)).as_bytes(), Err(400));
        let fits = "x".repeat(CHUNK_LINE_BYTES_MAX - 4);
        check(format!("5;{fits}\r\nhello\r\n0\r\n\r\n").as_bytes(), Ok((b"hello", 0)));
        check(format!("5;{fits}x\r\nhello\r\n0\r\n\r\n").as_bytes(), Err(400));
        let padded = format!("1;{}\r\nx\r\n", "y".repeat(240));
        check(padded.repeat(500).as_bytes(), Err(400));
        check(format!("{}0\r\n\r\n", padded.repeat(50)).as_bytes(), Ok((&[b'x'; 50], 0)));
        check(format!("{}0\r\n\r\n", "1\r\nx\r\n".repeat(50_000)).as_bytes(), Ok((&[b'x'; 50_000], 0)));
        check(format!("0\r\n{}\r\n", "X: y\r\n".repeat(20_000)).as_bytes(), Err(400));
        check(format!("0\r\nX: {}\r\n\r\n", "y".repeat(MIB_OF_NOTHING)).as_bytes(), Err(400));
        check(format!("0\r\n{}\r\n", "X: y\r\n".repeat(1_000)).as_bytes(), Ok((b"", 0)));
    }

    const MIB_OF_NOTHING: usize = 1 << 20;

    #[test]
    fn an_unfinished_body_is_not_done_and_a_finished_one_takes_nothing_more() {
        let whole = b"5;x\r\nhello\r\n0\r\nX: y\r\n\r\n";
        for len in 0..whole.len() {
            let (_, consumed, done) = decode(&whole[..len], len.max(1)).expect("a good prefix");
            assert_eq!((consumed, done), (len, false));
        }
        let mut decoder = ChunkedDecoder::new();
        let mut out = Vec::new();
        assert_eq!(decoder.feed(whole, &mut out, 5), Ok(BodyProgress { consumed: whole.len(), done: true }));
        assert_eq!(decoder.feed(b"more", &mut out, 5), Ok(BodyProgress { consumed: 0, done: true }));
        assert_eq!(out, b"hello");
    }
}
