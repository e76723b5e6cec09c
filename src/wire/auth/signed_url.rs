//! Signed URLs: a subscription that a web application allows in advance, for a page that can send no field.
//!
//! The signature is the HMAC-SHA256 of the path and the decoded parameters but itself, sorted by their bytes,
//! each a line of its own: `/events\nexpires=1790000000\ntopic=a`. So neither the order of parameters nor
//! the way in which they are escaped matters. docs/credentials.md has the same for those who sign.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::hmac;

use crate::base::counters::RefusalReason;
use crate::base::number_text::parse_decimal;
use crate::wire::query::{QueryPair, pairs};
use crate::wire::subscription::is_last_event_id;

/// Parameters of a signed URL: sorting them costs more than the signature.
const SIGNED_PARAMETERS_MAX: usize = 128;

/// A key that signs URLs.
pub struct SigningKey(hmac::Key);

impl SigningKey {
    /// Takes the bytes of a key.
    pub fn new(secret: &[u8]) -> SigningKey {
        SigningKey(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// Returns the signature of a path with these parameters, as a URL holds it.
    pub fn sign(&self, path: &str, parameters: &[(&str, &str)]) -> String {
        let lines = parameters.iter().map(|(name, value)| format!("{name}={value}").into_bytes()).collect();
        let tag = hmac::sign(&self.0, &signed_text(path.as_bytes(), lines));
        BASE64_URL_SAFE_NO_PAD.encode(tag.as_ref())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(***)")
    }
}

/// The text under a signature.
fn signed_text(path: &[u8], mut lines: Vec<Vec<u8>>) -> Vec<u8> {
    lines.sort_unstable();
    lines.insert(0, path.to_vec());
    lines.join(&b'\n')
}

/// A parameter without escapes.
struct SignedParameter<'a> {
    name: Cow<'a, [u8]>,
    value: Cow<'a, [u8]>,
}

/// A signature as a query presents it.
struct PresentedSignature<'a> {
    /// Its bytes.
    tag: Vec<u8>,
    /// Unix seconds from which on it opens nothing.
    expires_s: u64,
    /// All parameters but the signature.
    parameters: Vec<SignedParameter<'a>>,
}

/// Whether a query has a signature, be it a good one or not.
pub(crate) fn is_signed(query: &[u8]) -> bool {
    pairs(query).any(|pair| *pair.name == *b"signature")
}

/// Checks the signature of a URL. Returns the Unix milliseconds in which it ends.
///
/// # Errors
/// [`RefusalReason::TokenUnknown`] unless one of the keys has made it, [`RefusalReason::TokenExpired`] when
/// its time is over.
pub fn check_signature(
    path: &[u8],
    query: &[u8],
    keys: &[SigningKey],
    wall_ms: u64,
) -> Result<u64, RefusalReason> {
    let presented = PresentedSignature::find(query).ok_or(RefusalReason::TokenUnknown)?;
    let whole = presented.text(path, |_| false);
    let mut good = keys.iter().any(|key| hmac::verify(&key.0, &whole, &presented.tag).is_ok());
    if !good && presented.parameters.iter().any(|parameter| is_added_by_client(&parameter.name)) {
        let signed = presented.text(path, is_added_by_client);
        good = keys.iter().any(|key| hmac::verify(&key.0, &signed, &presented.tag).is_ok());
    }
    if !good {
        return Err(RefusalReason::TokenUnknown);
    }
    let ends_ms = presented.expires_s.saturating_mul(1_000);
    if ends_ms > wall_ms { Ok(ends_ms) } else { Err(RefusalReason::TokenExpired) }
}

/// Whether a client adds this parameter by itself. It opens nothing, so the signature need not cover it.
fn is_added_by_client(name: &[u8]) -> bool {
    matches!(name, b"prime" | b"clock" | b"buffered" | b"wait_ms") || is_last_event_id(name)
}

impl<'a> PresentedSignature<'a> {
    /// Reads a query. Returns none where it is not certain what was signed, or until when.
    fn find(query: &'a [u8]) -> Option<PresentedSignature<'a>> {
        let (mut tag, mut expires_s, mut parameters) = (None, None, Vec::new());
        for pair in pairs(query) {
            let value = readable_value(&pair)?;
            if *pair.name == *b"signature" {
                let given = BASE64_URL_SAFE_NO_PAD.decode(&*value).ok()?;
                if tag.replace(given).is_some() {
                    return None;
                }
                continue;
            }
            if *pair.name == *b"expires" && expires_s.replace(parse_decimal(&value)?).is_some() {
                return None;
            }
            parameters.push(SignedParameter { name: pair.name, value });
        }
        if parameters.len() > SIGNED_PARAMETERS_MAX {
            return None;
        }
        Some(PresentedSignature { tag: tag?, expires_s: expires_s?, parameters })
    }

    fn text(&self, path: &[u8], leaves_out: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let kept = self.parameters.iter().filter(|parameter| !leaves_out(&parameter.name));
        let line = |SignedParameter { name, value }: &SignedParameter<'_>| [name, &b"="[..], value].concat();
        signed_text(path, kept.map(line).collect())
    }
}

/// The value of a pair that is one line which can be taken apart in one way only.
fn readable_value<'a>(pair: &QueryPair<'a>) -> Option<Cow<'a, [u8]>> {
    let value = pair.value().ok()?;
    let sound = !pair.name.iter().any(|byte| b"=\n".contains(byte)) && !value.contains(&b'\n');
    sound.then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_789_999_999_000;
    const ENDS_MS: u64 = 1_790_000_000_000;

    fn check(query: &str, expected: Result<u64, RefusalReason>) {
        let keys = [SigningKey::new(b"another key of the same length !"), key()];
        let got = check_signature(b"/events", query.as_bytes(), &keys, NOW_MS);
        assert_eq!(got, expected, "{query}");
    }

    fn key() -> SigningKey {
        SigningKey::new(b"0123456789abcdef0123456789abcdef")
    }

    #[test]
    fn the_signature_is_the_one_that_other_programs_make() {
        // printf '/events\nexpires=1790000000\ntopic=a b\ntopic=ä' |
        //   openssl dgst -sha256 -hmac 0123456789abcdef0123456789abcdef -binary | basenc --base64url
        let made = key().sign("/events", &[("topic", "ä"), ("topic", "a b"), ("expires", "1790000000")]);
        assert_eq!(made, "KwEmid6GUV5TkO-Qsb7ZTV1YkYLcl3Gn4PuI7klaOwE");
        check(&format!("topic=%c3%a4&topic=a+b&expires=1790000000&signature={made}"), Ok(ENDS_MS));
        check(&format!("signature={made}&expires=1790000000&topic=a%20b&topic=%C3%A4"), Ok(ENDS_MS));
    }

    #[test]
    fn only_what_was_signed_is_let_in() {
        let signature = key().sign("/events", &[("topic", "a"), ("expires", "1790000000")]);
        let unknown = Err(RefusalReason::TokenUnknown);
        let signed = |query: &str| format!("{query}&signature={signature}");
        let good = signed("topic=a&expires=1790000000");
        check(&good, Ok(ENDS_MS));
        // What clients add opens nothing.
        for added in ["last_event_id=1-0", "lastEventId=x", "prime=1&clock=1", "wait_ms=5000"] {
            check(&format!("{good}&{added}"), Ok(ENDS_MS));
        }
        let bad = [
            signed("topic=b&expires=1790000000"),
            signed("topic=a&topic=b&expires=1790000000"),
            signed("topic=a&expires=1790000001"),
            signed("topic=a&expires=1790000000&expires=1790000000"),
            signed("topic=a&expires=01790000000"),
            signed("topic=a&last=5&expires=1790000000"),
            signed("topic=%2561&expires=1790000000"),
            signed("topic=a%0aexpires=1790000000"),
            signed("topic%3da&expires=1790000000"),
            signed("topic=a&expires=1790000000&x=%zz"),
            signed("topic=a"),
            format!("{good}&signature={signature}"),
            "topic=a&expires=1790000000".to_owned(),
            "topic=a&expires=1790000000&signature=".to_owned(),
            good[..good.len() - 1].to_owned(),
            format!("{good}A"),
            format!("{good}="),
            signed(&format!("topic=a&expires=1790000000{}", "&x=1".repeat(200))),
        ];
        for query in &bad {
            check(query, unknown);
        }
        let keys = [key()];
        let other_path = check_signature(b"/other", good.as_bytes(), &keys, NOW_MS);
        assert_eq!(other_path, unknown);
        assert_eq!(check_signature(b"/events", good.as_bytes(), &[], NOW_MS), unknown);
    }

    #[test]
    fn it_ends_with_its_second() {
        let signature = key().sign("/events", &[("topic", "a"), ("expires", "1790000000")]);
        let query = format!("topic=a&expires=1790000000&signature={signature}");
        let at = |wall_ms| check_signature(b"/events", query.as_bytes(), &[key()], wall_ms);
        assert_eq!(at(ENDS_MS - 1), Ok(ENDS_MS));
        assert_eq!(at(ENDS_MS), Err(RefusalReason::TokenExpired));
        assert!(is_signed(query.as_bytes()) && !is_signed(b"topic=a&expires=1"));
        let far = key().sign("/events", &[("topic", "a"), ("expires", "18446744073709551615")]);
        let query = format!("topic=a&expires=18446744073709551615&signature={far}");
        assert_eq!(check_signature(b"/events", query.as_bytes(), &[key()], NOW_MS), Ok(u64::MAX));
    }
}
