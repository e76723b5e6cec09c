//! Credentials and requests as tables: a request in short form, and what becomes of it.

use super::*;
use crate::base::class::{ClassSettings, NamedClass};
use crate::base::settings::{Settings, SubscribeAccess};
use crate::base::topic::TopicPattern;
use crate::wire::auth::application::ApplicationAnswer;
use crate::wire::head::{HeadLimits, ParsedHead, parse};
use crate::wire::request::route;

const NOW_MS: u64 = 1_789_999_999_000;
const OLD: &str = "old-token-of-control";
const NEW: &str = "new-token-of-control";
const READER: &str = "token-of-the-reader";
const WRITER: &str = "token-of-the-writer";

/// A request to a listener, and its fate.
struct Asked<'a> {
    rules: &'a AccessRules,
    policy: ListenerPolicy,
    /// The word of the application, if it was asked.
    verdict: Option<ApplicationVerdict>,
}

impl Asked<'_> {
    fn of(rules: &AccessRules, listener: ListenerKind) -> Asked<'_> {
        let policy = ListenerPolicy::from_settings(&settings(), listener);
        let publishers = listener == ListenerKind::Public && rules.takes_publishers();
        let policy = if publishers { policy.with_publishers() } else { policy };
        Asked { rules, policy, verdict: None }
    }

    fn request(&self, line: &str, fields: &str) -> Result<Request, Problem> {
        let text = format!("{line} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
        let ParsedHead::Head(head, _) =
            parse(text.as_bytes(), HeadLimits { bytes_max: 8_192, headers_max: 64 })
        else {
            panic!("{text:?} is no head")
        };
        let mut moment = AdmissionMoment { wall_ms: NOW_MS, work: 0 };
        let asked = route(&head, &self.policy);
        match self.rules.admit(&self.policy, &head, asked, self.verdict.as_ref(), &mut moment) {
            Admission::Decided(decided) => decided,
            Admission::Ask => Err(Problem::NotReady("ask".to_owned())),
        }
    }

    fn check(&self, line: &str, fields: &str, expected: &str) {
        let got = match self.request(line, fields) {
            Ok(_) => "in".to_owned(),
            Err(problem) => format!("{} {}", problem.status(), problem.reason()),
        };
        assert_eq!(got, expected, "{line} {fields:?}");
    }
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

fn pattern(text: &str) -> TopicPattern {
    TopicPattern::parse(text).expect("a pattern")
}

/// The class `secret` asks subscribers for a credential, the others do not.
fn settings() -> Settings {
    let node = ClassSettings::of_node(&Settings::default());
    let secret = NamedClass {
        name: "secret".into(),
        patterns: vec![pattern("secret.**")],
        settings: ClassSettings { subscribe: SubscribeAccess::Token, ..node },
    };
    let cors_origins = vec!["https://page.example".to_owned()];
    Settings { classes: vec![secret], cors_origins, ..Settings::default() }
}

fn with_control_tokens() -> AccessRules {
    let control_tokens = [OLD, NEW].map(|token| TokenHash::of(token.as_bytes())).to_vec();
    AccessRules { control_tokens, ..AccessRules::default() }
}

fn with_tokens() -> AccessRules {
    let token = |name: &str, text: &str, subscribe: &[&str], publish: &[&str]| StaticToken {
        name: name.into(),
        hash: TokenHash::of(text.as_bytes()),
        grant: Arc::new(TopicGrant {
            subscribe: subscribe.iter().map(|text| pattern(text)).collect(),
            publish: publish.iter().map(|text| pattern(text)).collect(),
        }),
    };
    let tokens = vec![
        token("reader", READER, &["secret.a", "secret.b.*"], &[]),
        token("writer", WRITER, &[], &["news.**"]),
    ];
    let classes = ClassAccess::new(&settings());
    AccessRules { tokens, classes, cookie: Some((*b"session").into()), ..AccessRules::default() }
}

#[test]
fn a_control_listener_with_a_token_tells_strangers_nothing() {
    let rules = with_control_tokens();
    let control = Asked::of(&rules, ListenerKind::Control);
    let (unknown, missing) = ("401 control_token_unknown", "401 control_token_missing");
    let rows = [
        ("GET /status", bearer(OLD), "in"),
        ("GET /status", bearer(NEW), "in"),
        ("GET /status", bearer("old-token-of-controL"), unknown),
        ("GET /status", bearer("Old-token-of-control"), unknown),
        ("GET /status", bearer("old-token-of-contro"), unknown),
        ("GET /status", bearer("old-token-of-controll"), unknown),
        ("GET /status", bearer(&format!("{OLD}{OLD}")), unknown),
        ("GET /status", bearer(&format!("{OLD} {OLD}")), unknown),
        ("GET /status", bearer(""), unknown),
        ("GET /status", String::new(), missing),
        ("GET /status", format!("Authorization: {OLD}\r\n"), missing),
        ("GET /status", format!("Cookie: session={OLD}\r\n"), missing),
        // People get in with a browser, under any name.
        ("GET /", "Authorization: Basic b3BzOm9sZC10b2tlbi1vZi1jb250cm9s\r\n".to_owned(), "in"),
        ("GET /", "Authorization: Basic b2xkLXRva2VuLW9mLWNvbnRyb2w6\r\n".to_owned(), unknown),
        // Neither paths nor mistakes are told.
        ("GET /nowhere", String::new(), missing),
        ("PUT /status", String::new(), missing),
        ("GET /events", String::new(), missing),
        ("POST /publish?topic=a", String::new(), missing),
        ("GET /nowhere", bearer(OLD), "404 not_found"),
        ("GET /healthz", String::new(), "in"),
        ("GET /readyz", bearer("wrong"), "in"),
    ];
    for (line, fields, expected) in rows {
        control.check(line, &fields, expected);
    }
    // A page of another site, with credentials that the operator's browser knows.
    let foreign = format!("{}Origin: http://evil.test\r\n", bearer(OLD));
    control.check("GET /status", &foreign, "403 origin_not_allowed");
}

#[test]
fn a_token_is_for_its_own_listener() {
    let rules = with_control_tokens();
    assert!(!rules.is_empty() && AccessRules::default().is_empty());
    Asked::of(&rules, ListenerKind::Public).check("GET /events?topic=a", "", "in");
    Asked::of(&rules, ListenerKind::Metrics).check("GET /metrics", "", "in");
    Asked::of(&AccessRules::default(), ListenerKind::Control).check("GET /status", "", "in");
    let public_tokens = with_tokens();
    let control = Asked::of(&public_tokens, ListenerKind::Control);
    control.check("GET /events?topic=secret.a", "", "in");
    control.check("POST /publish?topic=secret.a", "Content-Length: 1\r\n", "in");
}

#[test]
fn a_subscriber_needs_a_token_for_each_topic_that_asks_for_one() {
    let rules = with_tokens();
    let public = Asked::of(&rules, ListenerKind::Public);
    let session = |token: &str| format!("Cookie: session={token}\r\n");
    let rows = [
        ("GET /events?topic=news", String::new(), "in"),
        ("GET /events?topic=news", bearer("wrong"), "in"),
        ("GET /events?topic=secret", String::new(), "in"),
        ("GET /events?topic=secret.a", String::new(), "401 token_missing"),
        ("HEAD /events?topic=secret.a", String::new(), "401 token_missing"),
        ("GET /events?topic=news&topic=secret.a", String::new(), "401 token_missing"),
        ("GET /events?topic=secret.a", bearer(READER), "in"),
        ("HEAD /events?topic=secret.a", bearer(READER), "in"),
        ("GET /events?topic=news&topic=secret.a&topic=secret.b.c", bearer(READER), "in"),
        ("GET /events?topic=secret.a", session(READER), "in"),
        ("GET /events?topic=secret.a", format!("Cookie: other={READER}\r\n"), "401 token_missing"),
        ("GET /events?topic=secret.a", bearer("token-of-the-readeR"), "401 token_unknown"),
        ("GET /events?topic=secret.a", bearer("Token-of-the-reader"), "401 token_unknown"),
        ("GET /events?topic=secret.a", bearer(""), "401 token_unknown"),
        ("GET /events?topic=secret.a", session(""), "401 token_unknown"),
        ("GET /events?topic=secret.a", "Authorization: Basic YTpi\r\n".to_owned(), "401 token_missing"),
        ("GET /events?topic=secret.b", bearer(READER), "403 topic_not_granted"),
        ("GET /events?topic=secret.a&topic=secret.c", bearer(READER), "403 topic_not_granted"),
        ("GET /events?topic=secret.a", bearer(WRITER), "403 topic_not_granted"),
        ("GET /events?topic=secret.a&access_token=token-of-the-reader", String::new(), "401 token_missing"),
        ("OPTIONS /events?topic=secret.a", String::new(), "in"),
        ("GET /healthz", String::new(), "in"),
    ];
    for (line, fields, expected) in rows {
        public.check(line, &fields, expected);
    }
}

#[test]
fn a_publisher_on_the_public_listener_needs_a_token_before_anything_else() {
    let rules = with_tokens();
    let public = Asked::of(&rules, ListenerKind::Public);
    let with = |fields: String| format!("{fields}Content-Length: 1\r\n");
    let rows = [
        ("POST /publish?topic=news.a", with(bearer(WRITER)), "in"),
        ("POST /publish?topic=news.a", with(String::new()), "401 token_missing"),
        ("POST /publish?topic=news.a", with(bearer(READER)), "403 topic_not_granted"),
        ("POST /publish?topic=news.a", with(bearer("wrong")), "401 token_unknown"),
        ("POST /publish?topic=news.a&topic=b", with(bearer(WRITER)), "403 topic_not_granted"),
        // A stranger does not learn whether the rest of the request is sound.
        ("POST /publish", String::new(), "401 token_missing"),
        ("POST /publish/batch?x=1", String::new(), "401 token_missing"),
        ("POST /publish?topic=news.a", bearer(WRITER), "411 length_required"),
        ("POST /publish?topic=news.a&token=token-of-the-writer", with(String::new()), "401 token_missing"),
        ("POST /publish?topic=news.a&token=x", with(bearer(WRITER)), "400 unknown_parameter"),
        ("GET /publish?topic=news.a", bearer(WRITER), "405 method_not_allowed"),
        ("GET /metrics", bearer(WRITER), "404 not_found"),
    ];
    for (line, fields, expected) in rows {
        public.check(line, &fields, expected);
    }
    let batch = public.request("POST /publish/batch", &with(bearer(WRITER)));
    let Ok(Request::Batch(batch)) = batch else { panic!("{batch:?}") };
    let grant = batch.publisher.expect("its lines are held against it").grant;
    assert!(grant.opens(TopicUse::Publish, ["news.x"]) && !grant.opens(TopicUse::Publish, ["b"]));
    Asked::of(&with_control_tokens(), ListenerKind::Public).check(
        "POST /publish?topic=a",
        &with(bearer(OLD)),
        "403 publish_not_allowed",
    );
}

#[test]
fn a_cookie_publishes_for_own_pages_alone() {
    let rules = with_tokens();
    let public = Asked::of(&rules, ListenerKind::Public);
    let rows = [
        ("", "in"),
        ("Origin: http://localhost\r\n", "in"),
        ("Origin: https://page.example\r\nSec-Fetch-Site: cross-site\r\n", "in"),
        ("Origin: https://evil.test\r\n", "403 origin_not_allowed"),
        ("Origin: null\r\n", "403 origin_not_allowed"),
        ("Sec-Fetch-Site: cross-site\r\n", "403 origin_not_allowed"),
        ("Sec-Fetch-Site: same-site\r\n", "403 origin_not_allowed"),
        ("Sec-Fetch-Site: same-origin\r\n", "in"),
    ];
    for (fields, expected) in rows {
        let cookie = format!("Cookie: session={WRITER}\r\nContent-Length: 1\r\n{fields}");
        public.check("POST /publish?topic=news.a", &cookie, expected);
        let token = format!("{}Content-Length: 1\r\n{fields}", bearer(WRITER));
        public.check("POST /publish?topic=news.a", &token, "in");
    }
}

#[test]
fn a_signed_url_opens_its_topics_until_it_ends_and_publishes_nothing() {
    let signing_keys = vec![SigningKey::new(b"0123456789abcdef0123456789abcdef")];
    let rules = AccessRules { signing_keys, ..with_tokens() };
    let signed = |topic: &str, expires: &str| {
        let signature = rules.signing_keys[0].sign("/events", &[("topic", topic), ("expires", expires)]);
        format!("topic={topic}&expires={expires}&signature={signature}")
    };
    let public = Asked::of(&rules, ListenerKind::Public);
    let good = signed("secret.x", "1790000000");
    let rows = [
        (format!("GET /events?{good}"), "in"),
        (format!("HEAD /events?{good}"), "in"),
        (format!("GET /events?{good}&topic=secret.y"), "401 token_unknown"),
        (format!("GET /events?{good}&topic=news"), "401 token_unknown"),
        (format!("GET /events?{}", signed("secret.x", "1789999999")), "401 token_expired"),
        (format!("GET /events?{}", good.replace("secret.x", "secret.y")), "401 token_unknown"),
        (format!("POST /publish?{}", good.replace("secret.x", "news.a")), "401 token_missing"),
    ];
    for (line, expected) in rows {
        public.check(&line, "", expected);
    }
    let request = public.request(&format!("GET /events?{good}"), "");
    let Ok(Request::Subscribe(subscribe)) = request else { panic!("{request:?}") };
    assert_eq!(subscribe.access.and_then(|owner| owner.ends_ms), Some(1_790_000_000_000));
    // A token that is presented counts alone.
    public.check(&format!("GET /events?{good}"), &bearer(WRITER), "403 topic_not_granted");
    Asked::of(&with_tokens(), ListenerKind::Public).check(
        &format!("GET /events?{good}"),
        "",
        "401 token_missing",
    );
}

#[test]
fn the_application_is_asked_about_what_is_not_known_here_and_its_word_counts() {
    let rules = AccessRules { asks_application: true, ..with_tokens() };
    let public = Asked::of(&rules, ListenerKind::Public);
    let with = |fields: &str| format!("{fields}Content-Length: 0\r\n");
    let ask = "503 not_ready";
    let page = "Cookie: any=1\r\nOrigin: https://evil.test\r\n";
    let rows = [
        ("GET /events?topic=news", String::new(), "in"),
        ("GET /events?topic=secret.a", String::new(), ask),
        ("HEAD /events?topic=secret.a", String::new(), ask),
        ("GET /events?topic=secret.a", "Cookie: any=1\r\n".to_owned(), ask),
        ("GET /events?topic=secret.a", bearer("token-of-somebody-else"), ask),
        ("GET /events?topic=secret.a", bearer(READER), "in"),
        ("GET /events?topic=secret.c", bearer(READER), "403 topic_not_granted"),
        ("POST /publish?topic=a", with(""), ask),
        ("POST /publish?topic=a", with(page), "403 origin_not_allowed"),
        ("POST /publish?topic=news.a", with(&bearer(WRITER)), "in"),
        ("GET /status", String::new(), "404 not_found"),
    ];
    for (line, fields, expected) in rows {
        public.check(line, &fields, expected);
    }
    let owner = |topics: &str| {
        let body = format!("{{\"topics\":[\"{topics}\"],\"subject\":\"user-7\"}}");
        ApplicationAnswer::read(200, "", body.as_bytes(), NOW_MS).verdict
    };
    let banned = AccessRules {
        asks_application: true,
        bans: BanList::parse("subject user-7").expect("a ban"),
        ..with_tokens()
    };
    let rows = [
        (&rules, owner("secret.*"), "GET /events?topic=secret.a", "in"),
        (&rules, owner("secret.*"), "GET /events?topic=secret.a&topic=secret.b.c", "403 topic_not_granted"),
        (&rules, owner("a"), "POST /publish?topic=a", "in"),
        (&rules, owner("a"), "POST /publish?topic=b", "403 topic_not_granted"),
        (&rules, Err(RefusalReason::NotAuthorized), "GET /events?topic=secret.a", "403 not_authorized"),
        (&rules, Err(RefusalReason::TokenUnknown), "GET /events?topic=secret.a", "401 token_unknown"),
        (&rules, Err(RefusalReason::AuthorizeFailed), "POST /publish?topic=a", "503 authorize_failed"),
        (&banned, owner("secret.*"), "GET /events?topic=secret.a", "401 token_banned"),
    ];
    for (rules, verdict, line, expected) in rows {
        let asked = Asked { verdict: Some(verdict), ..Asked::of(rules, ListenerKind::Public) };
        asked.check(line, &with(""), expected);
    }
    // A request to the operator's listener is nobody else's matter.
    Asked::of(&rules, ListenerKind::Control).check("POST /publish?topic=a", &with(""), "in");
}

#[test]
fn a_pattern_is_opened_by_a_grant_that_covers_all_that_it_can_match() {
    let rules = with_tokens();
    let public = Asked::of(&rules, ListenerKind::Public);
    let (reader, missing) = (bearer(READER), "401 token_missing");
    let rows = [
        // No topic that it can match needs a credential.
        ("news.*", "", "in"),
        ("secret", "", "in"),
        ("secret.b.*", &reader, "in"),
        ("secret.b.c", &reader, "in"),
        ("secret.b.*", "", missing),
        ("secret.*", &reader, "403 topic_not_granted"),
        ("secret.b.**", &reader, "403 topic_not_granted"),
        ("*.a", "", missing),
        ("*.a", &reader, "403 topic_not_granted"),
        ("**", "", missing),
        ("**", &reader, "403 topic_not_granted"),
        ("news.*&pattern=secret.b.*", &reader, "in"),
        ("news.*&topic=secret.c", &reader, "403 topic_not_granted"),
    ];
    for (patterns, fields, expected) in rows {
        public.check(&format!("GET /events?pattern={patterns}"), fields, expected);
        public.check(&format!("HEAD /events?pattern={patterns}"), fields, expected);
    }
}

#[test]
fn a_pattern_needs_a_credential_where_the_class_of_one_of_its_topics_does() {
    let node = ClassSettings::of_node(&Settings::default());
    let class = |text: &str, subscribe| NamedClass {
        name: text.into(),
        patterns: vec![pattern(text)],
        settings: ClassSettings { subscribe, ..node },
    };
    let (open, closed) = (SubscribeAccess::Anyone, SubscribeAccess::Token);
    let classes = vec![class("a.b", closed), class("a.*", open), class("c.**", open)];
    let settings = Settings { classes, subscribe: closed, ..Settings::default() };
    let access = ClassAccess::new(&settings);
    let rows = [("c.*", false), ("c.d", false), ("a.c", false), ("a.*", true), ("*.b", true), ("x", true)];
    for (text, expected) in rows {
        assert_eq!(access.asks_for_some(&pattern(text)), expected, "{text}");
    }
}
