//! Tokens as the server keeps them: hashes, so that nobody reads a token out of its memory or its file.
//!
//! A token is drawn at random, so one round of SHA-256 is enough. Comparisons take the same time wherever two
//! hashes differ.

use std::fmt;

use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use subtle::ConstantTimeEq;

/// Bytes of the shortest token: shorter ones can be guessed.
pub(crate) const TOKEN_BYTES_MIN: usize = 16;
/// Bytes of the longest static token.
pub(crate) const TOKEN_BYTES_MAX: usize = 512;
const _: () = assert!(TOKEN_BYTES_MIN == 16 && TOKEN_BYTES_MAX == 512, "text below");

/// The name of the hash in front of its digits.
const PREFIX: &str = "sha256:";

/// The SHA-256 hash of a token.
#[derive(Clone, Copy)]
pub(crate) struct TokenHash([u8; SHA256_OUTPUT_LEN]);

impl TokenHash {
    /// Hashes a token.
    pub(crate) fn of(token: &[u8]) -> TokenHash {
        let hash = digest(&SHA256, token);
        TokenHash(hash.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }

    /// Takes `sha256:` and 64 hexadecimal digits, as [`TokenHash::text`] writes them.
    ///
    /// # Errors
    /// The form, in words that follow "must be".
    pub(crate) fn parse(text: &str) -> Result<TokenHash, &'static str> {
        let digits = text.strip_prefix(PREFIX).filter(|digits| digits.len() == 2 * SHA256_OUTPUT_LEN);
        let digits = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let digits =
            digits.ok_or("sha256: and 64 hexadecimal digits, as `fanwheel token hash` prints them")?;
        let mut hash = [0; SHA256_OUTPUT_LEN];
        for (byte, at) in hash.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(&digits[at..at + 2], 16).expect("checked above");
        }
        Ok(TokenHash(hash))
    }

    /// The hash as text.
    pub(crate) fn text(&self) -> String {
        self.0.iter().fold(PREFIX.to_owned(), |text, byte| format!("{text}{byte:02x}"))
    }

    /// Compares two hashes, in a time that does not tell where they differ.
    pub(crate) fn matches(&self, other: &TokenHash) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl PartialEq for TokenHash {
    fn eq(&self, other: &TokenHash) -> bool {
        self.matches(other)
    }
}

impl Eq for TokenHash {}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(***)")
    }
}

/// Checks that a token can be sent in a header field (RFC 6750 §2.1) and is long enough.
///
/// # Errors
/// The rule that it breaks, in words that follow "must be".
pub(crate) fn check_token(token: &[u8]) -> Result<(), &'static str> {
    let fits = (TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&token.len());
    if fits && token.iter().all(|&byte| is_token_char(byte)) {
        Ok(())
    } else {
        Err("a token of 16 to 512 letters, digits or -._~+/=")
    }
}

/// Whether a byte may stand in a bearer token.
pub(crate) fn is_token_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_token_has_the_same_hash() {
        let hash = TokenHash::of(b"0123456789abcdef");
        assert!(hash.matches(&TokenHash::of(b"0123456789abcdef")));
        for other in ["0123456789abcdeF", "1123456789abcdef", "0123456789abcde", "0123456789abcdef0", ""] {
            assert!(!hash.matches(&TokenHash::of(other.as_bytes())), "{other}");
        }
        assert_eq!(format!("{hash:?}"), "TokenHash(***)");
    }

    #[test]
    fn a_hash_is_written_with_its_name_and_read_back() {
        let text = TokenHash::of(b"abc").text();
        // FIPS 180-2, appendix B.1.
        assert_eq!(text, "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert!(TokenHash::parse(&text).expect("its own form") == TokenHash::of(b"abc"));
        let upper = text.to_uppercase().replace("SHA", "sha");
        assert!(TokenHash::parse(&upper).is_ok());
        for bad in
            ["", "abc", "sha256:", &text[..70], &format!("{text}0"), &text.replace("ba", "+a"), &text[7..]]
        {
            assert!(TokenHash::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn tokens_are_long_enough_and_fit_a_header_field() {
        let rows = [
            ("0123456789abcdef", true),
            ("a.b-c_d~e+f/g=h==", true),
            ("0123456789abcde", false),
            ("0123456789abcde ", false),
            ("0123456789abcde\n", false),
            ("0123456789abcde,", false),
            ("0123456789abcd\u{e4}", false),
            ("", false),
        ];
        for (token, good) in rows {
            assert_eq!(check_token(token.as_bytes()).is_ok(), good, "{token:?}");
        }
        assert!(check_token(&[b'a'; TOKEN_BYTES_MAX]).is_ok());
        assert!(check_token(&[b'a'; TOKEN_BYTES_MAX + 1]).is_err());
    }
}
