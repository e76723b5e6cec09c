//! Credentials: no panic; nothing is taken that no key has signed; claims are taken only in their own types.
#![no_main]

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use fanwheel::wire::auth::jwt::JwtRules;
use fanwheel::wire::auth::jwt_key::{JwtAlgorithm, read_key_file, read_key_set};
use fanwheel::wire::auth::signed_url::{SigningKey, check_signature};
use libfuzzer_sys::fuzz_target;
use ring::hmac;

const SECRET: &[u8] = b"a-shared-secret-of-at-least-32-bytes";
const NOW_MS: u64 = 1_790_000_000_000;

/// A token whose header and claims are these bytes, signed.
fn signed(header: &[u8], claims: &[u8]) -> String {
    let parts = [header, claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part)).join(".");
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), parts.as_bytes());
    format!("{parts}.{}", BASE64_URL_SAFE_NO_PAD.encode(tag))
}

fuzz_target!(|data: &[u8]| {
    let keys = read_key_file(SECRET, JwtAlgorithm::Hs256).expect("a secret");
    let rules = JwtRules { keys, audience: None, issuer: None };
    assert!(rules.find_owner(data, NOW_MS, &mut 0).is_err(), "nobody has signed it");
    let _ = rules.find_owner(signed(data, b"{}").as_bytes(), NOW_MS, &mut 0);
    if rules.find_owner(signed(b"{\"alg\":\"HS256\"}", data).as_bytes(), NOW_MS, &mut 0).is_ok() {
        // A number beyond all bounds is no value; where nobody looks at it, it may stand.
        let Ok(claims) = serde_json::from_slice::<serde_json::Value>(data) else { return };
        let exp = claims.get("exp").map(|exp| exp.as_f64().expect("a number, or none"));
        assert!(exp.is_none_or(|exp| exp * 1_000.0 > NOW_MS as f64), "{exp:?}");
    }
    assert!(check_signature(b"/events", data, &[SigningKey::new(SECRET)], NOW_MS).is_err());
    let _ = read_key_set(data);
    for algorithm in JwtAlgorithm::ALL {
        let _ = read_key_file(data, algorithm);
    }
});
