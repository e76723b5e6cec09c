//! Tokens of other libraries, and tokens that must not be taken.
//!
//! `vectors.json` has one token for each algorithm, made by PyJWT and by jose (npm), with its key as a file
//! and as a JSON Web Key.

use ring::hmac;
use serde_json::{Value, json};

use super::*;
use crate::wire::auth::jwt_key::{read_key_file, read_key_set};

const NOW_MS: u64 = 1_790_000_000_000;
const SECRET: &str = "a-shared-secret-of-at-least-32-bytes";

fn vectors() -> Vec<Value> {
    serde_json::from_str(include_str!("vectors.json")).expect("a list")
}

fn text<'a>(vector: &'a Value, name: &str) -> &'a str {
    vector[name].as_str().expect("a text")
}

fn rules(keys: Vec<JwtKey>) -> JwtRules {
    let (audience, issuer) = (Some("fanwheel".to_owned()), Some("https://id.example".to_owned()));
    JwtRules { keys, audience, issuer }
}

fn shared() -> JwtRules {
    rules(read_key_file(SECRET.as_bytes(), JwtAlgorithm::Hs256).expect("a secret"))
}

/// A token of these parts, signed with the shared secret.
fn signed(header: &str, claims: &str) -> String {
    signed_bytes(header.as_bytes(), claims.as_bytes())
}

fn signed_bytes(header: &[u8], claims: &[u8]) -> String {
    let encode = |part: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(part);
    let message = format!("{}.{}", encode(header), encode(claims));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()), message.as_bytes());
    format!("{message}.{}", encode(tag.as_ref()))
}

const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

/// Claims that fit, with some replaced; a value of `null` takes one away.
fn claims(changes: Value) -> String {
    let mut claims = json!({
        "iss": "https://id.example", "aud": "fanwheel", "exp": 1_790_000_060,
        "fanwheel": { "subscribe": ["news.**"] },
    });
    for (name, value) in changes.as_object().expect("an object") {
        match value {
            Value::Null => drop(claims.as_object_mut().expect("an object").remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims.to_string()
}

fn refused(rules: &JwtRules, token: &str) -> Option<RefusalReason> {
    rules.find_owner(token.as_bytes(), NOW_MS, &mut 0).err()
}

#[test]
fn tokens_of_other_libraries_are_taken_with_key_files_and_key_sets() {
    let vectors = vectors();
    let sets = ["PyJWT", "jose"].map(|maker| {
        let of_maker = vectors.iter().filter(|vector| text(vector, "maker").starts_with(maker));
        let keys: Vec<&Value> = of_maker.map(|vector| &vector["jwk"]).collect();
        assert_eq!(keys.len(), 4, "{maker}");
        json!({ "keys": keys }).to_string()
    });
    for (at, vector) in vectors.iter().enumerate() {
        let name = format!("{} {}", text(vector, "maker"), text(vector, "algorithm"));
        let algorithm = JwtAlgorithm::from_name(text(vector, "algorithm")).expect("one of four");
        let keys = read_key_file(text(vector, "key").as_bytes(), algorithm).expect(&name);
        let set = read_key_set(sets[at / 4].as_bytes()).expect(&name);
        assert_eq!(set.len(), 4, "{name}");
        for keys in [keys, set] {
            let rules = rules(keys);
            let token = text(vector, "token");
            let owner = rules
                .find_owner(token.as_bytes(), NOW_MS, &mut 0)
                .unwrap_or_else(|why| panic!("{name}: {why:?}"));
            let patterns = |patterns: &[TopicPattern]| {
                patterns.iter().map(|one| one.text().to_owned()).collect::<Vec<_>>()
            };
            assert_eq!(owner.ends_ms, Some(4_102_444_800_000), "{name}");
            assert_eq!(patterns(&owner.grant.subscribe), ["news.**"], "{name}");
            assert_eq!(patterns(&owner.grant.publish), ["news.eu"], "{name}");
            // The last character of a signature may hold bits that mean nothing; the one before does not.
            for at in [0, 5, token.len() / 2, token.len() - 2] {
                let mut other = token.to_owned().into_bytes();
                other[at] = if other[at] == b'A' { b'B' } else { b'A' };
                let why = rules.find_owner(&other, NOW_MS, &mut 0).err();
                assert_eq!(why, Some(RefusalReason::TokenUnknown), "{name}: byte {at}");
            }
        }
    }
}

#[test]
fn no_key_takes_a_token_of_another_algorithm_or_key() {
    let vectors = vectors();
    for vector in &vectors {
        let algorithm = JwtAlgorithm::from_name(text(vector, "algorithm")).expect("one of four");
        let rules = rules(read_key_file(text(vector, "key").as_bytes(), algorithm).expect("a key"));
        let is_other = |other: &&Value| text(other, "key") != text(vector, "key");
        for other in vectors.iter().filter(is_other) {
            assert_eq!(refused(&rules, text(other, "token")), Some(RefusalReason::TokenUnknown));
        }
        // A public key is no shared secret, though everybody has it (RFC 8725 §2.1).
        let tag = |message: &str| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, text(vector, "key").as_bytes());
            BASE64_URL_SAFE_NO_PAD.encode(hmac::sign(&key, message.as_bytes()).as_ref())
        };
        let message = signed(HEADER, &claims(json!({})));
        let message = message.rsplit_once('.').expect("three parts").0;
        let forged = format!("{message}.{}", tag(message));
        let expected = (algorithm != JwtAlgorithm::Hs256).then_some(RefusalReason::TokenUnknown);
        assert_eq!(refused(&rules, &forged), expected, "{}", algorithm.name());
    }
}

#[test]
fn headers_choose_nothing() {
    let good = claims(json!({}));
    let unknown = Some(RefusalReason::TokenUnknown);
    let deep = format!("{{\"alg\":\"HS256\",\"x\":{}{}}}", "[".repeat(20_000), "]".repeat(20_000));
    let rows = [
        (HEADER, None),
        (r#"{"alg":"HS256","kid":"../../etc/passwd"}"#, None),
        (
            r#"{"alg":"HS256","jku":"http://evil.test/","x5u":"http://x","jwk":{"kty":"oct","k":"AAAA"}}"#,
            None,
        ),
        (r#"{"alg":"none"}"#, unknown),
        (r#"{"alg":"NoNe"}"#, unknown),
        (r#"{"alg":"hs256"}"#, unknown),
        (r#"{"alg":"HS512"}"#, unknown),
        (r#"{"alg":"RS256"}"#, unknown),
        (r#"{"alg":""}"#, unknown),
        (r#"{"typ":"JWT"}"#, unknown),
        (r#"{"alg":"HS256","alg":"none"}"#, unknown),
        (r#"{"alg":"HS256","crit":["exp"]}"#, unknown),
        (r#"{"alg":"HS256","crit":[]}"#, unknown),
        (r#"{"alg":"HS256","crit":null}"#, unknown),
        ("", unknown),
        ("not json", unknown),
        (r#"["HS256",null,null]"#, unknown),
        // Passed over without a step down for each level.
        (&deep, None),
    ];
    for (header, expected) in rows {
        let shown = &header[..header.len().min(60)];
        assert_eq!(refused(&shared(), &signed(header, &good)), expected, "{shown}");
    }
    let token = signed(HEADER, &good);
    let (message, tag) = token.rsplit_once('.').expect("three parts");
    let claims_alone = message.split_once('.').expect("two parts").1;
    let none = BASE64_URL_SAFE_NO_PAD.encode(br#"{"alg":"none"}"#);
    for form in [
        format!("{message}."),
        message.to_owned(),
        format!("{token}.{tag}"),
        format!("{token}="),
        format!(".{token}"),
        format!("{none}.{claims_alone}."),
        format!("{none}.{claims_alone}.{tag}"),
        String::new(),
        "..".to_owned(),
        ".".repeat(20_000),
    ] {
        assert_eq!(refused(&shared(), &form), unknown, "{:.60}", form);
    }
}

#[test]
fn claims_are_held_against_time_audience_issuer_and_their_types() {
    use RefusalReason::{TokenExpired, TokenUnfit};
    let rows = [
        (json!({}), None),
        (json!({ "exp": 1_790_000_000.5 }), None),
        (json!({ "exp": 1_790_000_000 }), Some(TokenExpired)),
        (json!({ "exp": 0 }), Some(TokenExpired)),
        (json!({ "exp": "1790000060" }), Some(TokenUnfit)),
        (json!({ "exp": -1 }), Some(TokenUnfit)),
        (json!({ "exp": [1_790_000_060] }), Some(TokenUnfit)),
        (json!({ "exp": null }), None),
        (json!({ "exp": 1e300 }), None),
        (json!({ "nbf": 1_790_000_005 }), None),
        (json!({ "nbf": 1_790_000_006 }), Some(TokenUnfit)),
        (json!({ "nbf": "0" }), Some(TokenUnfit)),
        (json!({ "aud": null }), Some(TokenUnfit)),
        (json!({ "aud": "other" }), Some(TokenUnfit)),
        (json!({ "aud": ["other", "fanwheel"] }), None),
        (json!({ "aud": [] }), Some(TokenUnfit)),
        (json!({ "aud": 7 }), Some(TokenUnfit)),
        (json!({ "iss": null }), Some(TokenUnfit)),
        (json!({ "iss": "https://id.example/" }), Some(TokenUnfit)),
        (json!({ "fanwheel": null }), None),
        (json!({ "fanwheel": { "subscribe": ["a*"] } }), Some(TokenUnfit)),
        (json!({ "fanwheel": { "subscribe": ["fanwheel.**"] } }), Some(TokenUnfit)),
        (json!({ "fanwheel": { "subscribe": "news" } }), Some(TokenUnfit)),
        (json!({ "fanwheel": { "publish": vec!["a"; 65] } }), Some(TokenUnfit)),
        (json!({ "fanwheel": { "publish": vec!["a"; 64], "more": 1 } }), None),
    ];
    for (changes, expected) in rows {
        assert_eq!(refused(&shared(), &signed(HEADER, &claims(changes.clone()))), expected, "{changes}");
    }
    let raw = |claims: &str| refused(&shared(), &signed(HEADER, claims));
    assert_eq!(raw(r#"{"exp":null,"aud":"fanwheel","iss":"https://id.example"}"#), Some(TokenUnfit));
    assert_eq!(raw(r#"{"exp":1790000060,"exp":9}"#), Some(TokenUnfit));
    assert_eq!(raw(&"[".repeat(20_000)), Some(TokenUnfit));
    assert_eq!(raw(r#"[1790000060,0,"fanwheel","https://id.example",{}]"#), Some(TokenUnfit), "no object");
    let latin1 = claims(json!({ "note": "?" })).replace('?', "\u{fffd}").into_bytes();
    let latin1: Vec<u8> = latin1.into_iter().filter(|byte| *byte != 0xbf).collect();
    assert!(std::str::from_utf8(&latin1).is_err());
    assert_eq!(refused(&shared(), &signed_bytes(HEADER.as_bytes(), &latin1)), Some(TokenUnfit), "not UTF-8");
    let open = JwtRules { audience: None, issuer: None, ..shared() };
    let bare = claims(json!({ "aud": null, "iss": null }));
    assert_eq!(refused(&open, &signed(HEADER, &bare)), None);
    assert_eq!(
        refused(&open, &signed(HEADER, &claims(json!({})))),
        Some(TokenUnfit),
        "it is for somebody else"
    );
    let endless =
        shared().find_owner(signed(HEADER, &claims(json!({ "exp": null }))).as_bytes(), NOW_MS, &mut 0);
    assert_eq!(endless.expect("no end").ends_ms, None);
}

#[test]
fn key_files_and_key_sets_say_what_is_wrong_with_them() {
    let vectors = vectors();
    let pem = |algorithm: &str| {
        let vector = vectors.iter().find(|vector| text(vector, "algorithm") == algorithm);
        text(vector.expect("one of each"), "key").to_owned()
    };
    let file = |bytes: &str, algorithm| read_key_file(bytes.as_bytes(), algorithm).map(|keys| keys.len());
    assert_eq!(file(&format!("{}{}", pem("RS256"), pem("RS256")), JwtAlgorithm::Rs256), Ok(2));
    let rows = [
        (pem("ES256"), JwtAlgorithm::Rs256, "holds a public key that is none for RS256"),
        (pem("EdDSA"), JwtAlgorithm::Es256, "holds a public key that is none for ES256"),
        (
            pem("RS256"),
            JwtAlgorithm::Hs256,
            "holds a key in PEM, which is no shared secret; set jwt_algorithm to its own",
        ),
        ("short".to_owned(), JwtAlgorithm::Hs256, "must hold a secret of at least 32 bytes"),
        (
            SECRET.to_owned(),
            JwtAlgorithm::Es256,
            "must hold a public key in PEM, which begins with -----BEGIN PUBLIC KEY-----",
        ),
    ];
    for (bytes, algorithm, expected) in rows {
        assert_eq!(file(&bytes, algorithm), Err(expected.to_owned()));
    }
    let set =
        |keys: Value| read_key_set(json!({ "keys": keys }).to_string().as_bytes()).map(|keys| keys.len());
    let es256 = &vectors.iter().find(|vector| text(vector, "algorithm") == "ES256").expect("one")["jwk"];
    let with = |name: &str, value: &str| {
        let mut key = es256.clone();
        key[name] = value.into();
        key
    };
    let none = Err("has no key for HS256, RS256, ES256 or EdDSA".to_owned());
    let passed_over = [
        with("use", "enc"),
        with("alg", "ES384"),
        with("crv", "P-384"),
        with("kty", "RSA"),
        with("x", "AAAA"),
        json!({ "kty": "oct", "k": "AAAA" }),
        json!({ "kty": 7 }),
        json!("key"),
    ];
    for key in &passed_over {
        assert_eq!(set(json!([key])), none, "{key}");
        assert_eq!(set(json!([key, es256])), Ok(1), "{key}");
    }
    assert_eq!(set(json!([])), none);
    assert!(read_key_set(b"[]").is_err() && read_key_set(b"").is_err());
}

#[test]
fn a_token_weighs_what_the_keys_cost_that_are_tried_with_it() {
    let vector = |name: &str| {
        let found = vectors().into_iter().find(|vector| text(vector, "algorithm") == name);
        found.expect("a vector of each algorithm")
    };
    let entries = |names: &[&str]| names.iter().map(|name| vector(name)["jwk"].clone()).collect::<Vec<_>>();
    let weight = |names: &[&str], token: &str| {
        let set = json!({ "keys": entries(names) }).to_string();
        let mut work = 0;
        let _ = rules(read_key_set(set.as_bytes()).expect("a set")).find_owner(
            token.as_bytes(),
            NOW_MS,
            &mut work,
        );
        work
    };
    let [cheap, dear] = ["HS256", "ES256"].map(|name| text(&vector(name), "token").to_owned());
    let both = ["ES256", "HS256"];
    assert_eq!(weight(&both, &cheap), 1, "the dearer key is not tried");
    assert_eq!(weight(&both, &dear), ES256_WEIGHT);
    assert_eq!(weight(&["HS256"], &dear), 0, "no key is tried");
    let (start, _) = dear.rsplit_once('.').expect("a token has three parts");
    let forged = format!("{start}.{}", "A".repeat(86));
    assert_eq!(weight(&["ES256"; 3], &forged), 3 * ES256_WEIGHT, "each of them is tried");
}
