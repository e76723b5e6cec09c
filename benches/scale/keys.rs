//! Keys of each algorithm of JSON Web Tokens, a token that each has signed, and a server's settings that take
//! them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    self, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair,
    RsaPublicKeyComponents,
};
use ring::{hmac, rsa};
use serde_json::{Value, json};

/// Topics that a token of these keys opens, and nobody else may subscribe to.
pub const CLOSED: &str = "closed";
const SECRET: &[u8] = b"a-shared-secret-of-at-least-32-bytes";
const RSA_BITS: &str = "rsa_keygen_bits:2048";

/// One algorithm.
pub struct TokenKey {
    /// Its name in tokens.
    pub algorithm: &'static str,
    /// A token that opens all closed topics.
    pub token: String,
    /// Its public key, or its secret, as an entry of a set.
    entry: Value,
}

impl TokenKey {
    /// The same token with a signature that nobody has made.
    pub fn forged(&self) -> String {
        let (signed, signature) = self.token.rsplit_once('.').expect("a token has three parts");
        let other = if signature.starts_with('A') { 'B' } else { 'A' };
        format!("{signed}.{other}{}", &signature[1..])
    }
}

/// Makes a key and a token of each algorithm.
pub fn make_keys() -> io::Result<Vec<TokenKey>> {
    Ok(vec![hs256()?, rs256()?, es256()?, ed25519()?])
}

/// Writes a configuration whose closed topics need a token of one of these keys, and returns its path.
pub fn write_config(name: &str, keys: &[TokenKey]) -> io::Result<PathBuf> {
    let folder = Path::new("target/scale");
    fs::create_dir_all(folder)?;
    let set = folder.join(name).with_extension("jwks");
    let entries: Vec<&Value> = keys.iter().map(|key| &key.entry).collect();
    fs::write(&set, json!({ "keys": entries }).to_string())?;
    let path = folder.join(name).with_extension("toml");
    let set = fs::canonicalize(set)?;
    let class =
        format!("[[class]]\nname = \"{CLOSED}\"\ntopics = [\"{CLOSED}.**\"]\nsubscribe = \"token\"\n");
    fs::write(&path, format!("jwks_file = {:?}\n\n{class}", set.to_string_lossy()))?;
    Ok(path)
}

/// An error of the cryptography, which tells nothing on purpose.
fn broken(error: impl std::fmt::Display) -> io::Error {
    io::Error::other(error.to_string())
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// Makes a token whose signature is made of its first two parts.
fn key(
    algorithm: &'static str,
    entry: Value,
    sign: impl FnOnce(&[u8]) -> io::Result<Vec<u8>>,
) -> io::Result<TokenKey> {
    let header = json!({ "alg": algorithm, "typ": "JWT" });
    let claims = json!({
        "sub": "user-7",
        "exp": 4_000_000_000_u64,
        "fanwheel": { "subscribe": [format!("{CLOSED}.**")] },
    });
    let signed = [header, claims].map(|part| encode(part.to_string())).join(".");
    let signature = encode(sign(signed.as_bytes())?);
    Ok(TokenKey { algorithm, token: format!("{signed}.{signature}"), entry })
}

fn hs256() -> io::Result<TokenKey> {
    let entry = json!({ "kty": "oct", "k": encode(SECRET) });
    let secret = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
    key("HS256", entry, |signed| Ok(hmac::sign(&secret, signed).as_ref().to_vec()))
}

fn rs256() -> io::Result<TokenKey> {
    // No crate of the server's makes keys of RSA.
    let made = Command::new("openssl")
        .args(["genpkey", "-algorithm", "RSA", "-pkeyopt", RSA_BITS, "-outform", "DER"])
        .output()?;
    // Which of the two forms it writes depends on its version.
    let pair = RsaKeyPair::from_pkcs8(&made.stdout).or_else(|_| RsaKeyPair::from_der(&made.stdout));
    let pair = pair.map_err(broken)?;
    let parts: RsaPublicKeyComponents<Vec<u8>> = rsa::PublicKeyComponents::from(pair.public());
    let entry = json!({ "kty": "RSA", "n": encode(&parts.n), "e": encode(&parts.e) });
    key("RS256", entry, |signed| {
        let mut signature = vec![0; pair.public().modulus_len()];
        let random = SystemRandom::new();
        let done = pair.sign(&signature::RSA_PKCS1_SHA256, &random, signed, &mut signature);
        done.map_err(broken).map(|()| signature)
    })
}

fn es256() -> io::Result<TokenKey> {
    let (algorithm, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
    let made = EcdsaKeyPair::generate_pkcs8(algorithm, &random).map_err(broken)?;
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, made.as_ref(), &random).map_err(broken)?;
    // An uncompressed point: a byte that says so, then both coordinates.
    let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
    let entry = json!({ "kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y) });
    key("ES256", entry, |signed| {
        let signature = pair.sign(&random, signed).map_err(broken)?;
        Ok(signature.as_ref().to_vec())
    })
}

fn ed25519() -> io::Result<TokenKey> {
    let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(broken)?;
    let pair = Ed25519KeyPair::from_pkcs8(made.as_ref()).map_err(broken)?;
    let entry = json!({ "kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key()) });
    key("EdDSA", entry, |signed| Ok(pair.sign(signed).as_ref().to_vec()))
}
