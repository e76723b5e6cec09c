//! The words in the body of an answer that is no stream: those of this server, or the beginning of another's.
//!
//! Owns the bytes of that body, as many as are kept. Knows no socket, and escapes nothing: that is done where
//! it is told.

use crate::base::limits::KIB;
use crate::client::http::refusal_words;
use crate::wire::body::ChunkedDecoder;

/// Bytes of such a body that are read; this server's refusals have some hundred.
const REFUSAL_BYTES_KEPT: usize = 4 * KIB;
/// Characters of another server's text that are told.
const REFUSAL_CHARS_TOLD: usize = 160;

/// How the end of a body is found.
enum BodyFraming {
    Chunked(ChunkedDecoder),
    /// By its length, or by the end of the connection.
    Bytes(usize),
}

/// The body of an answer that is no stream, as far as it has come.
pub(super) struct RefusalBody {
    framing: BodyFraming,
    bytes: Vec<u8>,
}

impl RefusalBody {
    /// The body behind a head with these fields.
    pub(super) fn behind(fields: &[(String, String)]) -> RefusalBody {
        let value = |wanted: &str| {
            let field = fields.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
            field.map(|(_, value)| value.trim())
        };
        let framing = match value("transfer-encoding") {
            Some(coding) if coding.eq_ignore_ascii_case("chunked") => {
                BodyFraming::Chunked(ChunkedDecoder::new())
            }
            _ => {
                let length = value("content-length").and_then(|text| text.parse().ok());
                BodyFraming::Bytes(length.unwrap_or(usize::MAX))
            }
        };
        RefusalBody { framing, bytes: Vec::new() }
    }

    /// Takes bytes. Returns whether more is wanted.
    pub(super) fn take(&mut self, bytes: &[u8]) -> bool {
        match &mut self.framing {
            BodyFraming::Chunked(decoder) => {
                let fed = decoder.feed(bytes, &mut self.bytes, REFUSAL_BYTES_KEPT);
                fed.is_ok_and(|progress| !progress.done)
            }
            BodyFraming::Bytes(length) => {
                let most = (*length).min(REFUSAL_BYTES_KEPT);
                let room = most - self.bytes.len();
                self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
                self.bytes.len() < most
            }
        }
    }

    /// Returns its words, on one line: those of this server, or the beginning of a plain text. A page in HTML
    /// has none.
    pub(super) fn words(&self) -> Option<String> {
        if let Some(words) = refusal_words(&self.bytes) {
            return Some(words);
        }
        let text = String::from_utf8_lossy(&self.bytes);
        let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
        let plain = !line.starts_with(['<', '{', '[']);
        plain.then(|| line.chars().take(REFUSAL_CHARS_TOLD).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(fields: &[(&str, &str)], pieces: &[&str]) -> (Option<String>, bool) {
        let fields: Vec<_> =
            fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut body = RefusalBody::behind(&fields);
        let more = pieces.iter().all(|piece| body.take(piece.as_bytes()));
        (body.words(), more)
    }

    #[test]
    fn words_are_found_in_every_framing_and_their_end_is_known() {
        let told = Some("Too many.".to_owned());
        let json = "{\"error\":\"x\",\"message\":\"Too many.\"}\n";
        let length = json.len().to_string();
        let chunk = format!("{:x}\r\n{json}\r\n", json.len());
        let chunked = ("Transfer-Encoding", "chunked");
        assert_eq!(words(&[("content-length", &length)], &[&json[..9], &json[9..]]), (told.clone(), false));
        assert_eq!(words(&[], &[json]), (told.clone(), true), "up to the end of the connection");
        assert_eq!(words(&[chunked], &[&chunk[..5], &chunk[5..]]), (told.clone(), true));
        assert_eq!(words(&[chunked], &[&chunk, "0\r\n\r\n"]), (told, false));
    }

    #[test]
    fn a_text_is_cut_and_a_page_says_nothing() {
        let rows = [
            ("\r\n no upstream \r\nmore", Some("no upstream")),
            ("<html><body>502</body></html>", None),
            ("{\"detail\":\"x\"}", None),
            ("", None),
        ];
        for (body, expected) in rows {
            assert_eq!(words(&[], &[body]).0.as_deref(), expected, "{body}");
        }
        let long = "x".repeat(2 * REFUSAL_BYTES_KEPT);
        let (told, more) = words(&[], &[&long]);
        assert_eq!((told.map(|told| told.len()), more), (Some(REFUSAL_CHARS_TOLD), false));
    }
}
