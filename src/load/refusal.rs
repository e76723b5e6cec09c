//! A server that refuses: whether for good, and its own words for it. Knows no sockets.

use serde_json::Value;

use crate::base::logfmt::shown;

/// Characters of an answer that is not this server's, such as a proxy's page.
const WORDS_MAX: usize = 200;

/// Returns the message of a refusal's body, or its first characters.
pub(crate) fn words_of(body: &[u8]) -> String {
    let told: Option<Value> = serde_json::from_slice(body).ok();
    let message = told.as_ref().and_then(|told| told.get("message").or(told.get("error"))?.as_str());
    let text = String::from_utf8_lossy(body);
    shown(message.unwrap_or(text.trim()).chars().take(WORDS_MAX).collect::<String>().as_str())
}

/// Returns the server's own words behind the head of a refusal that came in one piece.
pub(crate) fn refusal_words(answer: &[u8]) -> String {
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n");
    words_of(head.map_or(&[], |at| &answer[at + 4..]))
}

/// Whether a status tells that no repeat of a request will be taken. 408 and 429 ask for one, and servers
/// that answer 5xx may recover.
pub(crate) fn is_final(status: u16) -> bool {
    (400..500).contains(&status) && !matches!(status, 408 | 429)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_in_the_server_s_words() {
        let rows: &[(&str, &str)] = &[
            ("HTTP/1.1 404 x\r\nA: b\r\n\r\n{\"error\":\"not_found\",\"message\":\"No.\"}\n", "No."),
            ("HTTP/1.1 404 x\r\n\r\n{\"error\":\"not_found\"}", "not_found"),
            ("HTTP/1.1 404 x\r\n\r\n<h1>gone</h1>\n", "<h1>gone</h1>"),
            ("HTTP/1.1 404 x\r\n", "\"\""),
        ];
        for (answer, words) in rows {
            assert_eq!(refusal_words(answer.as_bytes()), *words, "{answer}");
        }
        assert!(is_final(404) && !is_final(429) && !is_final(503));
    }
}
