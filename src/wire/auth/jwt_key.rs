//! Keys that verify JSON Web Tokens: from PEM, from a JSON Web Key Set (RFC 7517), or a shared secret.
//!
//! Each key has one algorithm, and a token never chooses it: an algorithm that follows the token lets a
//! public key pass as a shared secret (RFC 8725 §2.1). Reads no file.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::{hmac, signature};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject;
use serde::Deserialize;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

/// Keys of one file: an issuer has a few, old and new ones.
const JWT_KEYS_MAX: usize = 16;
/// Bytes of the shortest shared secret, as many as its signature has (RFC 7518 §3.2).
const SECRET_BYTES_MIN: usize = 32;
/// Bits of an RSA modulus that is taken (RFC 7518 §3.3); `ring` takes none that is longer.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2_048..=8_192;
const _: () = assert!(JWT_KEYS_MAX == 16 && SECRET_BYTES_MIN == 32, "text below");

/// A signature algorithm (RFC 7518 §3.1, RFC 8037 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JwtAlgorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl JwtAlgorithm {
    /// All of them, in the order of their setting.
    pub const ALL: [JwtAlgorithm; 4] =
        [JwtAlgorithm::Hs256, JwtAlgorithm::Rs256, JwtAlgorithm::Es256, JwtAlgorithm::EdDsa];

    /// Its name in tokens.
    pub(crate) fn name(self) -> &'static str {
        match self {
            JwtAlgorithm::Hs256 => "HS256",
            JwtAlgorithm::Rs256 => "RS256",
            JwtAlgorithm::Es256 => "ES256",
            JwtAlgorithm::EdDsa => "EdDSA",
        }
    }

    /// Finds it by its name.
    pub(crate) fn from_name(name: &str) -> Option<JwtAlgorithm> {
        JwtAlgorithm::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// Beginning of a `SubjectPublicKeyInfo`'s contents with a key of this algorithm: its identifier, in DER
    /// (RFC 8017 §A.1, RFC 5480 §2.1.1, RFC 8410 §3).
    fn identifier(self) -> &'static [u8] {
        match self {
            JwtAlgorithm::Hs256 => &[],
            JwtAlgorithm::Rs256 => b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00",
            JwtAlgorithm::Es256 => {
                b"\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07"
            }
            JwtAlgorithm::EdDsa => b"\x30\x05\x06\x03\x2b\x65\x70",
        }
    }
}

/// The part of a key that its algorithm uses.
enum KeyMaterial {
    Secret(hmac::Key),
    Public(signature::UnparsedPublicKey<Vec<u8>>),
    Rsa(signature::RsaPublicKeyComponents<Vec<u8>>),
}

/// A key that verifies tokens.
pub struct JwtKey {
    /// The algorithm that it is for.
    pub(crate) algorithm: JwtAlgorithm,
    /// Its id in a key set.
    pub(crate) id: Option<String>,
    material: KeyMaterial,
}

impl fmt::Debug for JwtKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JwtKey({}, {:?})", self.algorithm.name(), self.id)
    }
}

impl JwtKey {
    fn new(algorithm: JwtAlgorithm, id: Option<String>, material: KeyMaterial) -> JwtKey {
        JwtKey { algorithm, id, material }
    }

    fn secret(secret: &[u8], id: Option<String>) -> Option<JwtKey> {
        let key = || KeyMaterial::Secret(hmac::Key::new(hmac::HMAC_SHA256, secret));
        (secret.len() >= SECRET_BYTES_MIN).then(|| JwtKey::new(JwtAlgorithm::Hs256, id, key()))
    }

    fn public(algorithm: JwtAlgorithm, bytes: Vec<u8>, id: Option<String>) -> Option<JwtKey> {
        let verifies: &'static dyn signature::VerificationAlgorithm = match (algorithm, bytes.len()) {
            (JwtAlgorithm::Rs256, _) => &signature::RSA_PKCS1_2048_8192_SHA256,
            // An uncompressed point, as RFC 7518 §6.2.1 has its coordinates.
            (JwtAlgorithm::Es256, 65) => &signature::ECDSA_P256_SHA256_FIXED,
            (JwtAlgorithm::EdDsa, 32) => &signature::ED25519,
            _ => return None,
        };
        let key = signature::UnparsedPublicKey::new(verifies, bytes);
        Some(JwtKey::new(algorithm, id, KeyMaterial::Public(key)))
    }

    /// Whether this key has made a signature.
    pub(crate) fn verifies(&self, message: &[u8], tag: &[u8]) -> bool {
        match &self.material {
            KeyMaterial::Secret(key) => hmac::verify(key, message, tag).is_ok(),
            KeyMaterial::Public(key) => key.verify(message, tag).is_ok(),
            KeyMaterial::Rsa(key) => key.verify(&signature::RSA_PKCS1_2048_8192_SHA256, message, tag).is_ok(),
        }
    }
}

/// Reads the keys of a file for one algorithm: a secret, or public keys in PEM.
///
/// # Errors
/// What the file must hold, in words that follow "it".
pub fn read_key_file(bytes: &[u8], algorithm: JwtAlgorithm) -> Result<Vec<JwtKey>, String> {
    if algorithm == JwtAlgorithm::Hs256 {
        let secret = bytes.trim_ascii_end();
        if secret.starts_with(b"-----BEGIN") {
            return Err(
                "holds a key in PEM, which is no shared secret; set jwt_algorithm to its own".to_owned()
            );
        }
        return match JwtKey::secret(secret, None) {
            Some(key) => Ok(vec![key]),
            None => Err("must hold a secret of at least 32 bytes".to_owned()),
        };
    }
    let mut keys = Vec::new();
    for info in SubjectPublicKeyInfoDer::pem_slice_iter(bytes) {
        let key = info
            .ok()
            .and_then(|info| JwtKey::public(algorithm, public_key_of(&info, algorithm)?.to_vec(), None));
        keys.push(key.ok_or_else(|| format!("holds a public key that is none for {}", algorithm.name()))?);
    }
    match keys.len() {
        0 => Err("must hold a public key in PEM, which begins with -----BEGIN PUBLIC KEY-----".to_owned()),
        1..=JWT_KEYS_MAX => Ok(keys),
        _ => Err("holds more than 16 keys".to_owned()),
    }
}

/// Returns the bits of the key inside of a `SubjectPublicKeyInfo` (RFC 5280 §4.1.2.7).
fn public_key_of(info: &[u8], algorithm: JwtAlgorithm) -> Option<&[u8]> {
    let (contents, rest) = der_value(info, 0x30)?;
    let (bits, behind) = der_value(contents.strip_prefix(algorithm.identifier())?, 0x03)?;
    // No key of these has bits that are unused.
    let key = bits.strip_prefix(&[0])?;
    (rest.is_empty() && behind.is_empty()).then_some(key)
}

/// Takes a value of a tag in DER apart: its contents, and what follows.
fn der_value(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let rest = bytes.strip_prefix(&[tag])?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => (usize::from(*rest.first()?), rest.get(1..)?),
        0x82 => (usize::from(u16::from_be_bytes(rest.get(..2)?.try_into().ok()?)), rest.get(2..)?),
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// A key of a set, with the fields that matter here.
#[derive(Deserialize)]
struct JsonWebKey {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    crv: Option<String>,
    k: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

#[derive(Deserialize)]
struct JsonWebKeySet<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

/// Reads a JSON Web Key Set. Keys for other algorithms or uses are passed over, as RFC 7517 §5 asks for.
///
/// # Errors
/// When it is none, or has no key that is taken; in words that follow "it".
pub fn read_key_set(bytes: &[u8]) -> Result<Vec<JwtKey>, String> {
    let set: JsonWebKeySet<'_> = serde_json::from_slice(bytes)
        .map_err(|_| "is no JSON Web Key Set, such as {\"keys\":[…]}".to_owned())?;
    let read = |key: &RawValue| serde_json::from_str::<JsonWebKey>(key.get()).ok()?.key();
    let keys: Vec<JwtKey> = set.keys.into_iter().filter_map(read).collect();
    match keys.len() {
        0 => Err("has no key for HS256, RS256, ES256 or EdDSA".to_owned()),
        1..=JWT_KEYS_MAX => Ok(keys),
        _ => Err("has more than 16 keys that are taken".to_owned()),
    }
}

impl JsonWebKey {
    /// The key, if it verifies tokens here.
    fn key(self) -> Option<JwtKey> {
        if self.purpose.as_deref().is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let algorithm = match (self.kty.as_str(), self.crv.as_deref()) {
            ("oct", None) => JwtAlgorithm::Hs256,
            ("RSA", None) => JwtAlgorithm::Rs256,
            ("EC", Some("P-256")) => JwtAlgorithm::Es256,
            ("OKP", Some("Ed25519")) => JwtAlgorithm::EdDsa,
            _ => return None,
        };
        if self.alg.as_deref().is_some_and(|alg| alg != algorithm.name()) {
            return None;
        }
        let decode = |text: &Option<String>| BASE64_URL_SAFE_NO_PAD.decode(text.as_deref()?).ok();
        match algorithm {
            JwtAlgorithm::Hs256 => {
                let text = Zeroizing::new(self.k?);
                let secret = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.decode(text.as_str()).ok()?);
                JwtKey::secret(&secret, self.kid)
            }
            JwtAlgorithm::Rs256 => {
                let (n, e) = (decode(&self.n)?, decode(&self.e)?);
                if !RSA_BITS.contains(&(n.len() * 8)) {
                    return None;
                }
                let key = KeyMaterial::Rsa(signature::RsaPublicKeyComponents { n, e });
                Some(JwtKey::new(algorithm, self.kid, key))
            }
            JwtAlgorithm::Es256 => {
                let point = [vec![4], decode(&self.x)?, decode(&self.y)?].concat();
                JwtKey::public(algorithm, point, self.kid)
            }
            JwtAlgorithm::EdDsa => JwtKey::public(algorithm, decode(&self.x)?, self.kid),
        }
    }
}
