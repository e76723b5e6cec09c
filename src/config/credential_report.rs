//! `fanwheel config --explain` and `fanwheel token explain`: who a credential is, what it opens, and which
//! rule decides. Pure text, without a secret.

use std::fmt::Write;

use crate::base::counters::{REFUSED_NAMES, RefusalReason};
use crate::base::logfmt::{EscapedText, shown};
use crate::base::topic::{check_topic, is_reserved_topic};
use crate::config::class_report::class_value;
use crate::config::resolved::ResolvedSettings;
use crate::wire::auth::access::{AccessRules, AdmissionMoment, CredentialOwner};
use crate::wire::auth::jwt::JWT_NAME;
use crate::wire::auth::signed_url::{check_signature, is_signed};
use crate::wire::auth::topic_grant::TopicUse;
use crate::wire::query::pairs;

/// Both uses of a topic, with their words.
const USES: [(TopicUse, &str); 2] = [(TopicUse::Subscribe, "subscribe"), (TopicUse::Publish, "publish")];

/// The verdict on one use of a topic, with its reason.
enum UseVerdict {
    Open(String),
    Closed(String),
    /// The application is asked, whose answer nobody knows here.
    Asked(String),
}

impl UseVerdict {
    fn line(&self, of: &str) -> String {
        let (word, reason) = match self {
            UseVerdict::Open(reason) => ("yes", reason),
            UseVerdict::Closed(reason) => ("no", reason),
            UseVerdict::Asked(reason) => ("asked", reason),
        };
        format!("{of}: {word}, {reason}")
    }
}

/// A credential that is taken.
enum Identified {
    /// A token.
    Owner(CredentialOwner),
    /// A signed URL, with its topics.
    Url { topics: Vec<String>, ends_ms: u64 },
}

/// Takes a credential apart as the server would: a URL with a signature, or a token.
fn identify(rules: &AccessRules, credential: &str, now_ms: u64) -> Result<Identified, RefusalReason> {
    let Some((place, query)) = credential.split_once('?').filter(|(_, query)| is_signed(query.as_bytes()))
    else {
        let mut moment = AdmissionMoment { wall_ms: now_ms, work: 0 };
        return rules.find_owner(credential.as_bytes(), &mut moment).map(Identified::Owner);
    };
    let host_at = place.find("://").map_or(0, |at| at + 3);
    let path = place[host_at..].find('/').map_or("", |slash| &place[host_at + slash..]);
    let ends_ms = check_signature(path.as_bytes(), query.as_bytes(), &rules.signing_keys, now_ms)?;
    let topics = pairs(query.as_bytes()).filter(|pair| *pair.name == *b"topic");
    let topics = topics.filter_map(|pair| String::from_utf8(pair.value().ok()?.into_owned()).ok());
    Ok(Identified::Url { topics: topics.collect(), ends_ms })
}

impl Identified {
    /// Names it with the place of its entry.
    fn described(&self, resolved: &ResolvedSettings) -> String {
        match self {
            Identified::Owner(owner) if *owner.name == *JWT_NAME => match owner.ends_ms {
                Some(ends_ms) => format!("JSON Web Token until {}", ends_ms / 1_000),
                None => "JSON Web Token without an end".to_owned(),
            },
            Identified::Owner(owner) => {
                let entry = resolved.tokens().iter().find(|entry| *entry.name == *owner.name);
                let place = entry.map_or(String::new(), |entry| format!(" ({})", entry.place));
                format!("token {}{place}", owner.name)
            }
            Identified::Url { ends_ms, .. } => format!("signed URL until {}", ends_ms / 1_000),
        }
    }

    /// The topics that it opens, as patterns or names.
    fn opened(&self, of: TopicUse) -> Vec<String> {
        match (self, of) {
            (Identified::Owner(owner), _) => {
                owner.grant.patterns(of).iter().map(|pattern| pattern.text().to_owned()).collect()
            }
            (Identified::Url { topics, .. }, TopicUse::Subscribe) => topics.clone(),
            (Identified::Url { .. }, TopicUse::Publish) => Vec::new(),
        }
    }

    /// The pattern or name that opens a topic.
    fn find(&self, of: TopicUse, topic: &str) -> Option<String> {
        match self {
            Identified::Owner(owner) => owner.grant.find(of, topic).map(|pattern| pattern.text().to_owned()),
            Identified::Url { .. } => self.opened(of).into_iter().find(|opened| opened == topic),
        }
    }
}

/// Says what a credential is and which topics it opens.
pub(crate) fn owner_as_text(
    rules: &AccessRules,
    resolved: &ResolvedSettings,
    credential: &str,
    now_ms: u64,
) -> String {
    let identified = identify(rules, credential, now_ms);
    let mut out = credential_line(&identified, rules, resolved);
    for (of, name) in USES.into_iter().filter(|_| identified.is_ok()) {
        let opened = identified.as_ref().map_or(Vec::new(), |identified| identified.opened(of));
        writeln!(out, "{name}: {}", listed(&opened)).expect("writing to a String cannot fail");
    }
    out
}

/// Says what a credential opens of one topic on the public listener, and which rule decides.
///
/// # Errors
/// When no topic can have that name, in one line.
pub(crate) fn topic_as_text(
    rules: &AccessRules,
    resolved: &ResolvedSettings,
    credential: &str,
    topic: &str,
    now_ms: u64,
) -> Result<String, String> {
    check_topic(topic).map_err(|rule| format!("--topic: {} {rule}", shown(topic)))?;
    let identified = identify(rules, credential, now_ms);
    let mut out = credential_line(&identified, rules, resolved);
    writeln!(out, "topic: {}", shown(topic)).expect("writing to a String cannot fail");
    for (of, name) in USES {
        let free = of == TopicUse::Subscribe && !rules.classes.asks_for(topic);
        let verdict = match &identified {
            _ if is_reserved_topic(topic) => {
                UseVerdict::Closed("it is a topic of the server's own, for the control listener".to_owned())
            }
            _ if free => {
                let (access, place) = class_value(resolved, topic, "subscribe");
                UseVerdict::Open(format!("subscribe = {access} ({place}) asks for no credential"))
            }
            Ok(identified) => judge_use(identified, resolved, topic, of),
            Err(why) if rules.leaves_to_application(*why) => {
                UseVerdict::Asked(format!("{} decides", application(resolved)))
            }
            Err(why) => {
                let why = REFUSED_NAMES[*why as usize];
                UseVerdict::Closed(format!("the credential is not taken ({why})"))
            }
        };
        writeln!(out, "{}", EscapedText(&verdict.line(name))).expect("writing to a String cannot fail");
    }
    Ok(out)
}

/// Names the application with the host of its address and the place of its setting.
fn application(resolved: &ResolvedSettings) -> String {
    let entry = resolved.entry("authorize_url");
    format!("authorize_url = {} ({})", entry.shown(), entry.place())
}

fn credential_line(
    identified: &Result<Identified, RefusalReason>,
    rules: &AccessRules,
    resolved: &ResolvedSettings,
) -> String {
    match identified {
        Ok(identified) => format!("credential: {}\n", EscapedText(&identified.described(resolved))),
        Err(why) if rules.leaves_to_application(*why) => {
            let line = format!("credential: not known here; {} is asked", application(resolved));
            format!("{}\n", EscapedText(&line))
        }
        Err(why) => format!("credential: not taken ({})\n", REFUSED_NAMES[*why as usize]),
    }
}

fn listed(opened: &[String]) -> String {
    match opened {
        [] => "nothing".to_owned(),
        opened => opened.iter().map(|one| shown(one)).collect::<Vec<_>>().join(", "),
    }
}

fn judge_use(identified: &Identified, resolved: &ResolvedSettings, topic: &str, of: TopicUse) -> UseVerdict {
    let described = identified.described(resolved);
    match identified.find(of, topic) {
        Some(opened) => UseVerdict::Open(format!("{described} opens {}", shown(&opened))),
        None => match &identified.opened(of)[..] {
            [] => UseVerdict::Closed(format!("{described} opens nothing")),
            opened => UseVerdict::Closed(format!("{described} opens only {}", listed(opened))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::credentials::load_access;
    use crate::config::resolve::SettingInputs;
    use crate::config::token_maker::hash_text;
    use crate::host::named_file::PipeWait;

    const NOW_MS: u64 = 1_789_999_999_000;

    /// The settings and rules of a file with this text, and the place of that file.
    fn load_text(test: &str, text: &str) -> (ResolvedSettings, AccessRules, String) {
        let file = std::env::temp_dir().join(format!("fanwheel-{}-{test}.toml", std::process::id()));
        std::fs::write(&file, text).expect("a writable temporary directory");
        let inputs = SettingInputs { config: Some(file.clone()), ..SettingInputs::default() };
        let resolved = ResolvedSettings::read(&inputs).expect("good");
        let rules = load_access(&resolved, PipeWait::Refused).expect("no files");
        let _ = std::fs::remove_file(&file);
        (resolved, rules, file.display().to_string())
    }

    #[test]
    fn a_signed_url_is_explained_with_its_topics_and_its_end() {
        let file = std::env::temp_dir().join(format!("fanwheel-{}-explain.key", std::process::id()));
        std::fs::write(&file, "0123456789abcdef0123456789abcdef\n").expect("a writable temporary directory");
        let mut inputs = SettingInputs::default();
        inputs.flags.insert("signing_key_file", vec![file.display().to_string()]);
        inputs.flags.insert("subscribe", vec!["token".to_owned()]);
        let resolved = ResolvedSettings::read(&inputs).expect("good");
        let rules = load_access(&resolved, PipeWait::Refused).expect("a key");
        let _ = std::fs::remove_file(&file);
        let signature = rules.signing_keys[0].sign("/events", &[("topic", "a"), ("expires", "1790000000")]);
        let url = format!("https://x.example/events?topic=a&expires=1790000000&signature={signature}");
        let report = |url: &str, topic: &str, now_ms| {
            topic_as_text(&rules, &resolved, url, topic, now_ms).expect("a topic")
        };
        assert_eq!(
            report(&url, "a", NOW_MS),
            "credential: signed URL until 1790000000\ntopic: a\n\
             subscribe: yes, signed URL until 1790000000 opens a\n\
             publish: no, signed URL until 1790000000 opens nothing\n"
        );
        assert!(
            report(&url, "b", NOW_MS).contains("subscribe: no, signed URL until 1790000000 opens only a")
        );
        assert!(report(&url, "a", 1_790_000_000_000).starts_with("credential: not taken (token_expired)"));
        assert!(
            report(&url.replace("=a&", "=b&"), "b", NOW_MS).starts_with("credential: not taken (token_unk")
        );
    }

    #[test]
    fn what_only_the_application_knows_is_left_to_it() {
        let token = "0123456789abcdef";
        let text = format!(
            "subscribe = 'token'\nauthorize_url = 'http://127.0.0.1:3000/may?key=hidden'\n[[token]]\n\
             name = 'app'\nhash = '{}'\nsubscribe = ['a']\n",
            hash_text(token)
        );
        let (resolved, rules, place) = load_text("asked", &text);
        let report = |token: &str, topic: &str| {
            let text = topic_as_text(&rules, &resolved, token, topic, NOW_MS).expect("a topic");
            assert!(!text.contains("hidden") && !text.contains("session"), "{text}");
            text.replace(&place, "F")
        };
        let asked = "authorize_url = http://127.0.0.1:3000/*** (F:2)";
        assert_eq!(
            report("session-of-somebody", "b"),
            format!(
                "credential: not known here; {asked} is asked\ntopic: b\nsubscribe: asked, {asked} decides\n\
                 publish: asked, {asked} decides\n"
            )
        );
        // The application is not asked about what is known here, nor about topics of the server's own.
        assert!(report(token, "b").contains("subscribe: no, token app (F:3) opens only a\n"));
        assert!(report("session-of-somebody", "fanwheel.status").contains("subscribe: no, it is a topic"));
        let owner = owner_as_text(&rules, &resolved, "session-of-somebody", NOW_MS);
        assert_eq!(owner.replace(&place, "F"), format!("credential: not known here; {asked} is asked\n"));
    }

    #[test]
    fn the_deciding_rule_is_named_and_the_token_is_not() {
        let token = "0123456789abcdef";
        let text = format!(
            "[[class]]\nname = 'secret'\ntopics = ['secret.**']\nsubscribe = 'token'\n[[token]]\n\
             name = 'app'\nhash = '{}'\nsubscribe = ['secret.a']\n",
            hash_text(token)
        );
        let (resolved, rules, place) = load_text("explain", &text);
        let report = |token: &str, topic: &str| {
            let text = topic_as_text(&rules, &resolved, token, topic, NOW_MS).expect("a topic");
            assert!(!text.contains("0123456789abcdef"), "{text}");
            text.replace(&place, "F")
        };
        assert_eq!(
            report(token, "secret.a"),
            "credential: token app (F:5)\ntopic: secret.a\nsubscribe: yes, token app (F:5) opens secret.a\n\
             publish: no, token app (F:5) opens nothing\n"
        );
        assert_eq!(
            report(token, "secret.b"),
            "credential: token app (F:5)\ntopic: secret.b\n\
             subscribe: no, token app (F:5) opens only secret.a\n\
             publish: no, token app (F:5) opens nothing\n"
        );
        assert_eq!(
            report("another-token-0123456789abcdee", "secret.b"),
            "credential: not taken (token_unknown)\ntopic: secret.b\n\
             subscribe: no, the credential is not taken (token_unknown)\n\
             publish: no, the credential is not taken (token_unknown)\n"
        );
        let open = report(token, "news");
        assert!(
            open.contains("subscribe: yes, subscribe = anyone (default) asks for no credential"),
            "{open}"
        );
        assert!(report(token, "fanwheel.status").contains("publish: no, it is a topic of the server's own"));
        let owner = owner_as_text(&rules, &resolved, token, NOW_MS).replace(&place, "F");
        assert_eq!(owner, "credential: token app (F:5)\nsubscribe: secret.a\npublish: nothing\n");
        assert!(topic_as_text(&rules, &resolved, token, "", NOW_MS).is_err());
    }
}
