//! `fanwheel config --explain` and `fanwheel token explain`: who a credential is, what it opens, and which
//! rule decides. Pure text, without a secret.

use std::fmt::Write;

use crate::base::counters::REFUSED_NAMES;
use crate::base::logfmt::{EscapedText, shown};
use crate::base::topic::{TopicPattern, check_topic, is_reserved_topic};
use crate::config::class_report::class_value;
use crate::config::resolved::ResolvedSettings;
use crate::wire::auth::access::{AccessRules, CredentialOwner};
use crate::wire::auth::topic_grant::{TopicGrant, TopicUse};

/// Both uses of a topic, with their words.
const USES: [(TopicUse, &str); 2] = [(TopicUse::Subscribe, "subscribe"), (TopicUse::Publish, "publish")];

/// The verdict on one use of a topic.
struct UseVerdict {
    is_open: bool,
    reason: String,
}

impl UseVerdict {
    fn open(reason: String) -> UseVerdict {
        UseVerdict { is_open: true, reason }
    }

    fn closed(reason: String) -> UseVerdict {
        UseVerdict { is_open: false, reason }
    }
}

/// Says who a credential is and which topics it opens.
pub(crate) fn owner_as_text(rules: &AccessRules, resolved: &ResolvedSettings, token: &str) -> String {
    let mut out = owner_line(rules, resolved, token);
    if let Ok(owner) = rules.find_owner(token.as_bytes()) {
        for (of, name) in USES {
            let patterns = owner.grant.patterns(of).iter().map(|pattern| shown(pattern.text()));
            let patterns = patterns.collect::<Vec<_>>().join(", ");
            let patterns = if patterns.is_empty() { "nothing".to_owned() } else { patterns };
            writeln!(out, "{name}: {patterns}").expect("writing to a String cannot fail");
        }
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
    token: &str,
    topic: &str,
) -> Result<String, String> {
    check_topic(topic).map_err(|rule| format!("--topic: {} {rule}", shown(topic)))?;
    let mut out = owner_line(rules, resolved, token);
    writeln!(out, "topic: {}", shown(topic)).expect("writing to a String cannot fail");
    for (of, name) in USES {
        let verdict = judge_use(rules, resolved, token, topic, of);
        let word = if verdict.is_open { "yes" } else { "no" };
        let line = format!("{name}: {word}, {}", verdict.reason);
        writeln!(out, "{}", EscapedText(&line)).expect("writing to a String cannot fail");
    }
    Ok(out)
}

fn owner_line(rules: &AccessRules, resolved: &ResolvedSettings, token: &str) -> String {
    match rules.find_owner(token.as_bytes()) {
        Ok(owner) => format!("credential: {}\n", EscapedText(&described(&owner, resolved))),
        Err(why) => format!("credential: not taken ({})\n", REFUSED_NAMES[why as usize]),
    }
}

/// Names an owner with the place of its entry.
fn described(owner: &CredentialOwner, resolved: &ResolvedSettings) -> String {
    let entry = resolved.tokens().iter().find(|entry| *entry.name == *owner.name);
    let place = entry.map_or(String::new(), |entry| format!(" ({})", entry.place));
    format!("token {}{place}", owner.name)
}

fn judge_use(
    rules: &AccessRules,
    resolved: &ResolvedSettings,
    token: &str,
    topic: &str,
    of: TopicUse,
) -> UseVerdict {
    if is_reserved_topic(topic) {
        return UseVerdict::closed("it is a topic of the server's own, for the control listener".to_owned());
    }
    if of == TopicUse::Subscribe && !rules.classes.asks_for(topic) {
        let (access, place) = class_value(resolved, topic, "subscribe");
        return UseVerdict::open(format!("subscribe = {access} ({place}) asks for no credential"));
    }
    let owner = match rules.find_owner(token.as_bytes()) {
        Ok(owner) => owner,
        Err(why) => {
            return UseVerdict::closed(format!(
                "the credential is not taken ({})",
                REFUSED_NAMES[why as usize]
            ));
        }
    };
    match owner.grant.find(of, topic) {
        Some(pattern) => UseVerdict::open(opening(&owner, resolved, pattern)),
        None => UseVerdict::closed(missing(&owner, resolved, &owner.grant, of)),
    }
}

fn opening(owner: &CredentialOwner, resolved: &ResolvedSettings, pattern: &TopicPattern) -> String {
    format!("{} opens {}", described(owner, resolved), shown(pattern.text()))
}

fn missing(owner: &CredentialOwner, resolved: &ResolvedSettings, grant: &TopicGrant, of: TopicUse) -> String {
    let patterns: Vec<String> = grant.patterns(of).iter().map(|pattern| shown(pattern.text())).collect();
    let opens =
        if patterns.is_empty() { "nothing".to_owned() } else { format!("only {}", patterns.join(", ")) };
    format!("{} opens {opens}", described(owner, resolved))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::credentials::load_access;
    use crate::config::resolve::SettingInputs;
    use crate::config::token_maker::hash_text;
    use crate::host::named_file::PipeWait;

    #[test]
    fn the_deciding_rule_is_named_and_the_token_is_not() {
        let file = std::env::temp_dir().join(format!("fanwheel-{}-explain.toml", std::process::id()));
        let token = "0123456789abcdef";
        let text = format!(
            "[[class]]\nname = 'secret'\ntopics = ['secret.**']\nsubscribe = 'token'\n[[token]]\n\
             name = 'app'\nhash = '{}'\nsubscribe = ['secret.a']\n",
            hash_text(token)
        );
        std::fs::write(&file, text).expect("a writable temporary directory");
        let inputs = SettingInputs { config: Some(file.clone()), ..SettingInputs::default() };
        let resolved = ResolvedSettings::read(&inputs).expect("good");
        let rules = load_access(&resolved, PipeWait::Refused).expect("no files");
        let _ = std::fs::remove_file(&file);
        let place = file.display().to_string();
        let report = |token: &str, topic: &str| {
            let text = topic_as_text(&rules, &resolved, token, topic).expect("a topic");
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
        let owner = owner_as_text(&rules, &resolved, token).replace(&place, "F");
        assert_eq!(owner, "credential: token app (F:5)\nsubscribe: secret.a\npublish: nothing\n");
        assert!(topic_as_text(&rules, &resolved, token, "").is_err());
    }
}
