//! The application's word about a request, where the server asks it (`authorize_url`): the question, and the
//! meaning of its answer.
//!
//! | answer | meaning |
//! | --- | --- |
//! | 200, without a body | the request is let in |
//! | 200, a JSON object | the same; `topics` are the patterns it opens, `expires` the second of its end |
//! | 401 | the credential is not taken |
//! | 500 and more, or no answer | nobody knows: 503, and another try |
//! | anything else | the request is refused |
//!
//! Sends nothing.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use zeroize::Zeroize;

use crate::base::counters::RefusalReason;
use crate::base::limits::HOUR_MS;
use crate::base::topic::TopicPattern;
use crate::wire::auth::access::{CredentialKind, CredentialOwner};
use crate::wire::auth::topic_grant::TopicGrant;
use crate::wire::head::Head;

/// Patterns that one answer may have.
const ANSWER_PATTERNS_MAX: usize = 64;
/// Longest time for which an answer is kept, whatever it says.
const KEPT_MS_MAX: u64 = HOUR_MS;
/// The name of owners that the application has let in.
const APPLICATION_NAME: &str = "application";

/// The parts of a request that the application decides by. All but the method may let somebody in, so they
/// are wiped when nobody needs them any more, and never shown.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ApplicationQuestion {
    /// Method of the request.
    pub(crate) method: &'static str,
    /// Its path and query.
    pub(crate) target: Box<[u8]>,
    /// Its cookies, as one field.
    pub(crate) cookie: Option<Box<[u8]>>,
    /// Value of its `Authorization`.
    pub(crate) authorization: Option<Box<[u8]>>,
}

/// The verdict of the application on a request.
pub type ApplicationVerdict = Result<CredentialOwner, RefusalReason>;

/// An answer of the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplicationAnswer {
    /// Its verdict.
    pub(crate) verdict: ApplicationVerdict,
    /// Milliseconds for which it holds for the same question.
    pub(crate) kept_ms: u64,
}

/// The body of a 200.
#[derive(Default, Deserialize)]
#[serde(default)]
struct AnswerBody {
    topics: Option<Vec<String>>,
    expires: Option<u64>,
    subject: Option<String>,
}

impl ApplicationQuestion {
    /// The question about the request of a head.
    pub(crate) fn of(head: &Head<'_>) -> ApplicationQuestion {
        let cookies: Vec<&[u8]> = head.fields.cookie.lines().collect();
        let target = match head.query {
            [] => head.path.to_vec(),
            query => [head.path, b"?", query].concat(),
        };
        ApplicationQuestion {
            method: head.method.name(),
            target: target.into(),
            cookie: (!cookies.is_empty()).then(|| cookies.join(&b"; "[..]).into()),
            authorization: head.fields.authorization.map(Into::into),
        }
    }
}

impl Zeroize for ApplicationQuestion {
    fn zeroize(&mut self) {
        let ApplicationQuestion { method: _, target, cookie, authorization } = self;
        target.zeroize();
        for field in [cookie, authorization].into_iter().flatten() {
            field.zeroize();
        }
    }
}

impl Drop for ApplicationQuestion {
    fn drop(&mut self) {
        self.zeroize();
    }
}

impl fmt::Debug for ApplicationQuestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApplicationQuestion").field("method", &self.method).finish_non_exhaustive()
    }
}

impl ApplicationAnswer {
    /// An answer that did not come, or says nothing.
    pub fn failed() -> ApplicationAnswer {
        ApplicationAnswer { verdict: Err(RefusalReason::AuthorizeFailed), kept_ms: 0 }
    }

    /// Reads an answer that has come: its status, its `Cache-Control` and its body.
    pub fn read(status: u16, cache_control: &str, body: &[u8], wall_ms: u64) -> ApplicationAnswer {
        let kept_ms = max_age_ms(cache_control);
        let refused = |why| ApplicationAnswer { verdict: Err(why), kept_ms };
        match status {
            200 => match read_owner(body) {
                Some(CredentialOwner { ends_ms: Some(ends_ms), .. }) if ends_ms <= wall_ms => {
                    refused(RefusalReason::TokenExpired)
                }
                Some(owner) => ApplicationAnswer { verdict: Ok(owner), kept_ms },
                None => ApplicationAnswer::failed(),
            },
            401 => refused(RefusalReason::TokenUnknown),
            500.. => ApplicationAnswer::failed(),
            _ => refused(RefusalReason::NotAuthorized),
        }
    }
}

/// Reads the body of a 200; none if it is no answer.
fn read_owner(body: &[u8]) -> Option<CredentialOwner> {
    let text = std::str::from_utf8(body).ok()?.trim_ascii();
    let AnswerBody { topics, expires, subject } = match text {
        "" => AnswerBody::default(),
        // A list of values in their order would be read as an object.
        text if text.starts_with('{') => serde_json::from_str(text).ok()?,
        _ => return None,
    };
    let topics = topics.unwrap_or_else(|| vec!["**".to_owned()]);
    if topics.len() > ANSWER_PATTERNS_MAX {
        return None;
    }
    let patterns: Vec<TopicPattern> =
        topics.iter().map(|text| TopicPattern::parse(text)).collect::<Result<_, _>>().ok()?;
    Some(CredentialOwner {
        name: APPLICATION_NAME.into(),
        kind: CredentialKind::Issued { subject: subject.map(Into::into) },
        grant: Arc::new(TopicGrant { subscribe: patterns.clone(), publish: patterns }),
        ends_ms: expires.map(|seconds| seconds.saturating_mul(1_000)),
    })
}

/// Returns the time for which an answer may be kept (RFC 9111 §5.2.2.1): none, unless it says so.
fn max_age_ms(cache_control: &str) -> u64 {
    let mut directives = cache_control.split(',').map(str::trim);
    if directives.clone().any(|directive| {
        directive.eq_ignore_ascii_case("no-store") || directive.eq_ignore_ascii_case("no-cache")
    }) {
        return 0;
    }
    let max_age = directives.find_map(|directive| {
        let (name, seconds) = directive.split_once('=')?;
        name.eq_ignore_ascii_case("max-age").then(|| seconds.parse::<u64>().ok())?
    });
    max_age.unwrap_or(0).saturating_mul(1_000).min(KEPT_MS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::auth::topic_grant::TopicUse;
    use crate::wire::head::{HeadLimits, ParsedHead, parse};

    const NOW_MS: u64 = 1_789_999_999_000;

    /// Short form of what becomes of an answer.
    fn read(status: u16, body: &str) -> String {
        let ApplicationAnswer { verdict, .. } = ApplicationAnswer::read(status, "", body.as_bytes(), NOW_MS);
        match verdict {
            Ok(owner) => {
                let opens = |topic| owner.grant.opens(TopicUse::Subscribe, [topic]);
                format!("{} {} {:?}", opens("news.eu"), opens("other"), owner.ends_ms)
            }
            Err(why) => format!("{why:?}"),
        }
    }

    #[test]
    fn an_answer_lets_in_narrows_ends_and_refuses() {
        let rows = [
            (200, "", "true true None"),
            (200, " {} ", "true true None"),
            (200, r#"{"topics":["news.*"],"later":[1]}"#, "true false None"),
            (200, r#"{"topics":[]}"#, "false false None"),
            (200, r#"{"expires":1790000000}"#, "true true Some(1790000000000)"),
            (200, r#"{"expires":1789999999}"#, "TokenExpired"),
            (200, r#"{"expires":"1790000000"}"#, "AuthorizeFailed"),
            (200, r#"{"topics":["a*"]}"#, "AuthorizeFailed"),
            (200, r#"{"topics":["fanwheel.**"]}"#, "AuthorizeFailed"),
            (200, "[[\"news.*\"]]", "AuthorizeFailed"),
            (200, "<html>", "AuthorizeFailed"),
            (401, "", "TokenUnknown"),
            (403, "{}", "NotAuthorized"),
            (404, "", "NotAuthorized"),
            (204, "", "NotAuthorized"),
            (302, "", "NotAuthorized"),
            (500, "", "AuthorizeFailed"),
            (503, "", "AuthorizeFailed"),
        ];
        for (status, body, expected) in rows {
            assert_eq!(read(status, body), expected, "{status} {body}");
        }
        assert_eq!(read(200, &format!("{{\"topics\":[{}\"a\"]}}", "\"a\",".repeat(64))), "AuthorizeFailed");
        assert_eq!(read(200, &"[".repeat(20_000)), "AuthorizeFailed");
    }

    #[test]
    fn an_answer_is_kept_for_as_long_as_it_says() {
        let rows = [
            ("", 0),
            ("max-age=30", 30_000),
            ("private, Max-Age=5", 5_000),
            ("max-age=30, no-store", 0),
            ("no-cache, max-age=30", 0),
            ("max-age=-1", 0),
            ("max-age=99999999999999999999", 0),
            ("max-age=999999999", HOUR_MS),
            ("s-maxage=7", 0),
        ];
        for (field, expected) in rows {
            assert_eq!(ApplicationAnswer::read(200, field, b"", NOW_MS).kept_ms, expected, "{field}");
            assert_eq!(ApplicationAnswer::read(403, field, b"", NOW_MS).kept_ms, expected, "{field}");
            assert_eq!(ApplicationAnswer::read(502, field, b"", NOW_MS).kept_ms, 0, "a failure is not kept");
        }
    }

    #[test]
    fn a_question_has_all_that_the_application_decides_by() {
        let text = "HEAD /events?topic=a HTTP/1.1\r\nHost: a\r\nCookie: x=1\r\nCookie: y=2\r\n\
                    Authorization: Basic eDp5\r\n\r\n";
        let ParsedHead::Head(head, _) =
            parse(text.as_bytes(), HeadLimits { bytes_max: 8_192, headers_max: 64 })
        else {
            panic!("a head")
        };
        let question = ApplicationQuestion::of(&head);
        let shown = (question.method, &*question.target, question.cookie.as_deref());
        assert_eq!(shown, ("HEAD", &b"/events?topic=a"[..], Some(&b"x=1; y=2"[..])));
        assert_eq!(question.authorization.as_deref(), Some(&b"Basic eDp5"[..]));
        assert_eq!(format!("{question:?}"), "ApplicationQuestion { method: \"HEAD\", .. }");
    }

    #[test]
    fn a_question_that_is_wiped_holds_no_byte_of_its_request() {
        let mut question = ApplicationQuestion {
            method: "GET",
            target: (*b"/events?signature=x").into(),
            cookie: Some((*b"session=1").into()),
            authorization: Some((*b"Bearer x").into()),
        };
        question.zeroize();
        let ApplicationQuestion { target, cookie, authorization, .. } = &question;
        for field in [Some(target), cookie.as_ref(), authorization.as_ref()].into_iter().flatten() {
            assert!(!field.is_empty() && field.iter().all(|&byte| byte == 0), "{field:?}");
        }
    }
}
