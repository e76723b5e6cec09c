//! The credentials that a server takes, and what it lets in. One value, made of settings and key files; a
//! reload makes another.

use crate::base::counters::RefusalReason;
use crate::base::listener::ListenerKind;
use crate::wire::auth::presented::{basic_password, bearer_token};
use crate::wire::auth::token_hash::TokenHash;
use crate::wire::head::Head;
use crate::wire::policy::ListenerPolicy;
use crate::wire::problem::Problem;

/// All credentials of a server. Without any it lets in as its listeners do by themselves.
#[derive(Debug, Default)]
pub(crate) struct AccessRules {
    /// Tokens of the control listener; none of them: it is open to all who reach it.
    pub(crate) control_tokens: Vec<TokenHash>,
}

/// Paths that tell whether the server is well, and nothing else: probes have no credentials.
const OPEN_PATHS: [&[u8]; 2] = [b"/healthz", b"/readyz"];

impl AccessRules {
    /// Whether there is no credential at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.control_tokens.is_empty()
    }

    /// Lets a request in that was understood as `asked`, or refuses it. One without a credential learns
    /// nothing about what it has asked for.
    pub(crate) fn admit<T>(
        &self,
        policy: &ListenerPolicy,
        head: &Head<'_>,
        asked: Result<T, Problem>,
    ) -> Result<T, Problem> {
        // Pages of other sites are refused first, whatever a browser adds to their requests.
        if let Err(Problem::Refused(RefusalReason::Host | RefusalReason::Origin)) = &asked {
            return asked;
        }
        if policy.listener == ListenerKind::Control && !OPEN_PATHS.contains(&head.path) {
            self.check_control(head).map_err(Problem::Refused)?;
        }
        asked
    }

    fn check_control(&self, head: &Head<'_>) -> Result<(), RefusalReason> {
        if self.control_tokens.is_empty() {
            return Ok(());
        }
        let presented = match bearer_token(head) {
            Some(token) => TokenHash::of(token),
            None => {
                let password = basic_password(head).ok_or(RefusalReason::ControlTokenMissing)?;
                TokenHash::of(&password)
            }
        };
        // All are compared, so that the time tells no place in the list.
        let found = self.control_tokens.iter().filter(|token| token.matches(&presented)).count();
        if found > 0 { Ok(()) } else { Err(RefusalReason::ControlTokenUnknown) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::settings::Settings;
    use crate::wire::head::{HeadLimits, ParsedHead, parse};
    use crate::wire::request::route;

    const OLD: &str = "old-token-of-control";
    const NEW: &str = "new-token-of-control";

    fn ask(rules: &AccessRules, listener: ListenerKind, line: &str, fields: &str) -> String {
        let policy = ListenerPolicy::from_settings(&Settings::default(), listener);
        let text = format!("{line} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
        let ParsedHead::Head(head, _) =
            parse(text.as_bytes(), HeadLimits { bytes_max: 8_192, headers_max: 64 })
        else {
            panic!("{text:?} is no head")
        };
        match rules.admit(&policy, &head, route(&head, &policy)) {
            Ok(_) => "in".to_owned(),
            Err(problem) => format!("{} {}", problem.status(), problem.reason()),
        }
    }

    fn guarded() -> AccessRules {
        let control_tokens = [OLD, NEW].map(|token| TokenHash::of(token.as_bytes())).to_vec();
        AccessRules { control_tokens, ..AccessRules::default() }
    }

    #[test]
    fn a_control_listener_with_a_token_tells_strangers_nothing() {
        let rules = guarded();
        let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
        let unknown = "401 control_token_unknown".to_owned();
        let missing = "401 control_token_missing".to_owned();
        let rows = [
            ("GET /status", bearer(OLD), "in".to_owned()),
            ("GET /status", bearer(NEW), "in".to_owned()),
            ("GET /status", bearer("old-token-of-controL"), unknown.clone()),
            ("GET /status", bearer("Old-token-of-control"), unknown.clone()),
            ("GET /status", bearer("old-token-of-contro"), unknown.clone()),
            ("GET /status", bearer("old-token-of-controll"), unknown.clone()),
            ("GET /status", bearer(&format!("{OLD}{OLD}")), unknown.clone()),
            ("GET /status", bearer(&format!("{OLD} {OLD}")), unknown.clone()),
            ("GET /status", bearer(""), unknown.clone()),
            ("GET /status", String::new(), missing.clone()),
            ("GET /status", format!("Authorization: {OLD}\r\n"), missing.clone()),
            ("GET /status", format!("Cookie: token={OLD}\r\n"), missing.clone()),
            // People get in with a browser, under any name.
            (
                "GET /",
                "Authorization: Basic b3BzOm9sZC10b2tlbi1vZi1jb250cm9s\r\n".to_owned(),
                "in".to_owned(),
            ),
            ("GET /", "Authorization: Basic b2xkLXRva2VuLW9mLWNvbnRyb2w6\r\n".to_owned(), unknown),
            // Neither paths nor mistakes are told.
            ("GET /nowhere", String::new(), missing.clone()),
            ("PUT /status", String::new(), missing.clone()),
            ("GET /events", String::new(), missing.clone()),
            ("POST /publish?topic=a", String::new(), missing),
            ("GET /nowhere", bearer(OLD), "404 not_found".to_owned()),
            ("GET /healthz", String::new(), "in".to_owned()),
            ("GET /readyz", bearer("wrong"), "in".to_owned()),
        ];
        for (line, fields, expected) in rows {
            assert_eq!(ask(&rules, ListenerKind::Control, line, &fields), expected, "{line} {fields:?}");
        }
        let foreign = format!("{}Origin: http://evil.test\r\n", bearer(OLD));
        assert_eq!(
            ask(&rules, ListenerKind::Control, "GET /status", &foreign),
            "403 origin_not_allowed",
            "a page of another site, with credentials of the operator's browser"
        );
    }

    #[test]
    fn the_token_of_control_is_for_no_other_listener() {
        let rules = guarded();
        assert!(!rules.is_empty() && AccessRules::default().is_empty());
        assert_eq!(ask(&rules, ListenerKind::Public, "GET /events?topic=a", ""), "in");
        assert_eq!(ask(&rules, ListenerKind::Metrics, "GET /metrics", ""), "in");
        assert_eq!(ask(&AccessRules::default(), ListenerKind::Control, "GET /status", ""), "in");
    }
}
