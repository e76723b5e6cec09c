//! JSON Web Tokens in their compact form (RFC 7519, RFC 7515 §7.1): verified, then read.
//!
//! Follows RFC 8725: the algorithm is the key's, `crit` is refused, and nothing that a token names is fetched
//! or used as a key (`jku`, `jwk`, `x5u`). No claim is looked at before the signature has been verified. Time
//! is an argument.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer};
use serde_json::Number;

use crate::base::counters::RefusalReason;
use crate::base::topic::TopicPattern;
use crate::wire::auth::access::{CredentialKind, CredentialOwner};
use crate::wire::auth::jwt_key::{JwtAlgorithm, JwtKey};
use crate::wire::auth::topic_grant::TopicGrant;

/// Seconds by which the issuer's clock may be ahead when it says from when on a token holds.
const NOT_BEFORE_LEEWAY_S: f64 = 5.0;
/// Weights of signatures, in requests of 2 µs: 21, 54 and 48 µs (2-vCPU AMD EPYC, November 2026).
const RS256_WEIGHT: usize = 11;
const ES256_WEIGHT: usize = 27;
const EDDSA_WEIGHT: usize = 24;
/// Patterns of one token, for each use.
const CLAIM_PATTERNS_MAX: usize = 64;

/// The tokens that are taken.
#[derive(Debug, Default)]
pub struct JwtRules {
    /// Keys that verify them; none of them: no token is taken.
    pub keys: Vec<JwtKey>,
    /// Value that `aud` must have; without one a token must have none.
    pub audience: Option<String>,
    /// Value that `iss` must have.
    pub issuer: Option<String>,
}

/// Fields of a token's header that matter here. Others may stand, and mean nothing.
#[derive(Deserialize)]
struct JoseHeader {
    alg: String,
    kid: Option<String>,
    #[serde(default, deserialize_with = "present")]
    crit: Option<IgnoredAny>,
}

/// Claims of a token that matter here.
#[derive(Deserialize)]
struct JwtClaims {
    #[serde(default, deserialize_with = "present")]
    exp: Option<Number>,
    #[serde(default, deserialize_with = "present")]
    nbf: Option<Number>,
    #[serde(default, deserialize_with = "present")]
    aud: Option<JwtAudience>,
    iss: Option<String>,
    sub: Option<JwtSubject>,
    #[serde(default)]
    fanwheel: TopicClaim,
}

/// `aud` is one text or several (RFC 7519 §4.1.3).
#[derive(Deserialize)]
#[serde(untagged)]
enum JwtAudience {
    One(String),
    Several(Vec<String>),
}

/// `sub` is a text (RFC 7519 §4.1.2). Some issuers write a number, which names nobody here.
#[derive(Deserialize)]
#[serde(untagged)]
enum JwtSubject {
    Text(String),
    Other(IgnoredAny),
}

/// The topics that a token opens.
#[derive(Default, Deserialize)]
#[serde(default)]
struct TopicClaim {
    subscribe: Vec<String>,
    publish: Vec<String>,
}

/// Takes `null` for a value, which is then a wrong one, and not for an absent claim.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Whether a token has the form of a JSON Web Token.
pub(crate) fn is_jwt(token: &[u8]) -> bool {
    token.iter().filter(|&&byte| byte == b'.').count() == 2
}

/// Returns the weight of one look with a key.
fn weight(key: &JwtKey) -> usize {
    match key.algorithm {
        JwtAlgorithm::Hs256 => 1,
        JwtAlgorithm::Rs256 => RS256_WEIGHT,
        JwtAlgorithm::Es256 => ES256_WEIGHT,
        JwtAlgorithm::EdDsa => EDDSA_WEIGHT,
    }
}

impl JwtRules {
    /// Verifies a token and reads its grant. Adds the weights of all keys that were tried to `work`, in
    /// requests.
    ///
    /// # Errors
    /// [`RefusalReason::TokenUnknown`] unless one of the keys has signed it, [`RefusalReason::TokenExpired`],
    /// or [`RefusalReason::TokenUnfit`] for claims that do not fit this server.
    pub fn find_owner(
        &self,
        token: &[u8],
        wall_ms: u64,
        work: &mut usize,
    ) -> Result<CredentialOwner, RefusalReason> {
        let claims = self.verified_claims(token, work).ok_or(RefusalReason::TokenUnknown)?;
        let claims: JwtClaims = read_object(&claims).ok_or(RefusalReason::TokenUnfit)?;
        self.judge(&claims, wall_ms)
    }

    /// Returns the claims of a token that one of the keys has signed.
    fn verified_claims(&self, token: &[u8], work: &mut usize) -> Option<Vec<u8>> {
        let signed_bytes = token.iter().rposition(|&byte| byte == b'.')?;
        let (signed, tag) = (&token[..signed_bytes], &token[signed_bytes + 1..]);
        let mut parts = signed.split(|&byte| byte == b'.');
        let (header, claims) = (parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let header: JoseHeader = read_object(&decoded(header)?)?;
        let tag = decoded(tag)?;
        let fits = |key: &&JwtKey| {
            let same_id = header.kid.is_none() || key.id.is_none() || key.id == header.kid;
            key.algorithm.name() == header.alg && same_id
        };
        let verifies = |key: &JwtKey| {
            *work += weight(key);
            key.verifies(signed, &tag)
        };
        let good = header.crit.is_none() && self.keys.iter().filter(fits).any(verifies);
        if good { decoded(claims) } else { None }
    }

    fn judge(&self, claims: &JwtClaims, wall_ms: u64) -> Result<CredentialOwner, RefusalReason> {
        let now_s = wall_ms as f64 / 1_000.0;
        let exp = seconds(claims.exp.as_ref())?;
        if exp.is_some_and(|exp| exp <= now_s) {
            return Err(RefusalReason::TokenExpired);
        }
        let early = seconds(claims.nbf.as_ref())?.is_some_and(|nbf| nbf > now_s + NOT_BEFORE_LEEWAY_S);
        let for_us = match (&self.audience, &claims.aud) {
            (None, None) => true,
            (Some(own), Some(JwtAudience::One(one))) => own == one,
            (Some(own), Some(JwtAudience::Several(several))) => several.contains(own),
            (None, Some(_)) | (Some(_), None) => false,
        };
        let issued_right = self.issuer.is_none() || self.issuer == claims.iss;
        if early || !for_us || !issued_right {
            return Err(RefusalReason::TokenUnfit);
        }
        let grant = TopicGrant {
            subscribe: patterns(&claims.fanwheel.subscribe)?,
            publish: patterns(&claims.fanwheel.publish)?,
        };
        // A number beyond all milliseconds becomes the last of them.
        let ends_ms = exp.map(|exp| (exp * 1_000.0) as u64);
        let subject = match &claims.sub {
            Some(JwtSubject::Text(subject)) => Some(subject.as_str().into()),
            Some(JwtSubject::Other(_)) | None => None,
        };
        let kind = CredentialKind::Issued { subject };
        Ok(CredentialOwner { name: JWT_NAME.into(), kind, grant: Arc::new(grant), ends_ms })
    }
}

/// The name of owners of tokens that somebody else issues.
pub(crate) const JWT_NAME: &str = "jwt";

/// Reads a JSON object in UTF-8. A list of values in their order would be read as one, too, and a field that
/// nobody looks at may hold any bytes.
fn read_object<T: DeserializeOwned>(json: &[u8]) -> Option<T> {
    let text = std::str::from_utf8(json).ok()?;
    let is_object = text.trim_ascii_start().starts_with('{');
    if is_object { serde_json::from_str(text).ok() } else { None }
}

fn decoded(part: &[u8]) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(part).ok()
}

/// A moment in Unix seconds, which need not be whole (RFC 7519 §2).
fn seconds(number: Option<&Number>) -> Result<Option<f64>, RefusalReason> {
    let Some(number) = number else { return Ok(None) };
    let seconds = number.as_f64().filter(|seconds| seconds.is_finite() && *seconds >= 0.0);
    seconds.map(Some).ok_or(RefusalReason::TokenUnfit)
}

fn patterns(texts: &[String]) -> Result<Vec<TopicPattern>, RefusalReason> {
    if texts.len() > CLAIM_PATTERNS_MAX {
        return Err(RefusalReason::TokenUnfit);
    }
    let parsed: Result<_, _> = texts.iter().map(|text| TopicPattern::parse(text)).collect();
    parsed.map_err(|_| RefusalReason::TokenUnfit)
}

#[cfg(test)]
mod tests;
