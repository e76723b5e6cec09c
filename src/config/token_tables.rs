//! Tokens as the configuration file writes them: `[[token]]`, one table for each.
//!
//! Owns their keys and all that can be wrong with them. No word repeats a hash or a token.

use std::ops::Range;
use std::path::PathBuf;

use toml::de::{DeTable, DeValue};

use crate::base::logfmt::shown;
use crate::base::suggest::nearest;
use crate::base::topic::TopicPattern;
use crate::config::alert_rules::ConfigText;
use crate::config::class_tables::parse_patterns;
use crate::config::refusal::SettingsRefusal;
use crate::wire::auth::token_hash::TokenHash;
use crate::wire::auth::topic_grant::TopicGrant;

/// The key of the file under which tokens stand.
pub(crate) const KEY: &str = "token";
/// Static tokens: each is compared with each token that comes.
const STATIC_TOKENS_MAX: usize = 256;
/// Patterns of one token.
const TOKEN_PATTERNS_MAX: usize = 64;
/// Bytes of a token's name: it stands in reports.
const TOKEN_NAME_BYTES_MAX: usize = 64;
/// Keys of a token.
const KEYS: [&str; 5] = ["name", "hash", "file", "subscribe", "publish"];

/// The secret of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TokenSource {
    /// Its hash stands in the configuration.
    Hash(TokenHash),
    /// It stands in a file, which may hold an old and a new one.
    File(PathBuf),
}

/// A token as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenEntry {
    /// Its unique name.
    pub(crate) name: String,
    /// Where its secret is.
    pub(crate) source: TokenSource,
    /// Topics that it opens.
    pub(crate) grant: TopicGrant,
    /// File and line.
    pub(crate) place: String,
}

fn refuse<T>(words: String) -> Result<T, SettingsRefusal> {
    Err(SettingsRefusal::Contradiction(words))
}

/// Reads the value of `token`, which stands at `span`.
pub(crate) fn read_tokens(
    page: &ConfigText<'_>,
    span: Range<usize>,
    value: &DeValue<'_>,
) -> Result<Vec<TokenEntry>, SettingsRefusal> {
    let no_list =
        || format!("{}: write each token as a table of its own, under [[{KEY}]]", (page.place)(span.clone()));
    let DeValue::Array(items) = value else { return refuse(no_list()) };
    let mut entries: Vec<TokenEntry> = Vec::new();
    for item in items {
        let DeValue::Table(table) = item.get_ref() else { return refuse(no_list()) };
        let entry = TokenReader { page, table, place: (page.place)(item.span()) }.read_entry()?;
        if let Some(earlier) = entries.iter().find(|earlier| earlier.name == entry.name) {
            let TokenEntry { name, place, .. } = &entry;
            return refuse(format!("{place}: token {name} stands also at {}", earlier.place));
        }
        entries.push(entry);
    }
    if entries.len() > STATIC_TOKENS_MAX {
        return refuse(format!("{}: more than {STATIC_TOKENS_MAX} tokens", (page.place)(span)));
    }
    Ok(entries)
}

/// Reads one table of a token.
struct TokenReader<'a> {
    page: &'a ConfigText<'a>,
    table: &'a DeTable<'a>,
    place: String,
}

impl TokenReader<'_> {
    fn read_entry(self) -> Result<TokenEntry, SettingsRefusal> {
        let name = self.read_name()?;
        for (key, _) in self.table {
            let typed: &str = key.get_ref();
            if !KEYS.contains(&typed) {
                let place = (self.page.place)(key.span());
                let hint = match nearest(typed, KEYS.into_iter()) {
                    Some(near) => format!("did you mean {near}?"),
                    None => format!("a token has {}", KEYS.join(", ")),
                };
                return refuse(format!("{place}: token {name}: unknown key {}; {hint}", shown(typed)));
            }
        }
        let grant = TopicGrant {
            subscribe: self.read_patterns(&name, "subscribe")?,
            publish: self.read_patterns(&name, "publish")?,
        };
        if grant == TopicGrant::default() {
            return refuse(format!(
                "{}: token {name} opens no topic; write subscribe = [\"news.**\"] or publish = [\"news.**\"]",
                self.place
            ));
        }
        Ok(TokenEntry { source: self.read_source(&name)?, name, grant, place: self.place })
    }

    fn read_name(&self) -> Result<String, SettingsRefusal> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        let good = |name: &&str| (1..=TOKEN_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(plain);
        let name = self.table.get("name").and_then(|value| value.get_ref().as_str()).filter(good);
        name.map(str::to_owned).ok_or_else(|| {
            SettingsRefusal::Contradiction(format!(
                "{}: a token needs a name of 1 to {TOKEN_NAME_BYTES_MAX} letters, digits or -_., in quotes",
                self.place
            ))
        })
    }

    fn read_source(&self, name: &str) -> Result<TokenSource, SettingsRefusal> {
        let text = |key: &str| {
            let Some(value) = self.table.get(key) else { return Ok(None) };
            let text = value.get_ref().as_str().filter(|text| !text.is_empty());
            let place = (self.page.place)(value.span());
            let words = format!("{place}: token {name}: {key} must be a text in quotes");
            text.map(|text| Some((text, place))).ok_or(SettingsRefusal::Contradiction(words))
        };
        match (text("hash")?, text("file")?) {
            (Some((hash, place)), None) => TokenHash::parse(hash).map(TokenSource::Hash).or_else(|rule| {
                // A token that was put here by mistake stays out of the line.
                refuse(format!("{place}: token {name}: hash must be {rule}"))
            }),
            (None, Some((file, _))) => Ok(TokenSource::File(PathBuf::from(file))),
            (None, None) | (Some(_), Some(_)) => refuse(format!(
                "{}: token {name} needs either hash or file; `fanwheel token new` makes both",
                self.place
            )),
        }
    }

    fn read_patterns(&self, name: &str, key: &str) -> Result<Vec<TopicPattern>, SettingsRefusal> {
        let Some(value) = self.table.get(key) else { return Ok(Vec::new()) };
        let patterns = parse_patterns(value).or_else(|(span, rule)| {
            let (place, written) = ((self.page.place)(span.clone()), self.page.text.get(span));
            let written = shown(written.unwrap_or_default());
            refuse(format!("{place}: token {name}: {key} = {written} is not allowed: must be {rule}"))
        })?;
        if patterns.len() > TOKEN_PATTERNS_MAX {
            return refuse(format!("{}: token {name}: more than {TOKEN_PATTERNS_MAX} patterns", self.place));
        }
        Ok(patterns)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::file;

    fn tokens(text: &str) -> Result<Vec<TokenEntry>, String> {
        let contents = file::parse(Path::new("f.toml"), text);
        contents.map(|contents| contents.tokens).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn a_token_has_a_name_a_secret_and_patterns() {
        let hash = TokenHash::of(b"0123456789abcdef");
        let text = format!(
            "[[token]]\nname = 'app'\nhash = '{}'\npublish = ['news.**', 'a']\n\n\
             [[token]]\nname = 'tv-1'\nfile = '/run/tv'\nsubscribe = 'news.*'\n",
            hash.text()
        );
        let tokens = tokens(&text).expect("good");
        let [app, tv] = &tokens[..] else { panic!("{tokens:?}") };
        let texts = |patterns: &[TopicPattern]| {
            patterns.iter().map(|pattern| pattern.text().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(
            (app.name.as_str(), &app.source, app.place.as_str()),
            ("app", &TokenSource::Hash(hash), "f.toml:1")
        );
        assert_eq!(
            (texts(&app.grant.publish), texts(&app.grant.subscribe)),
            (vec!["news.**".into(), "a".into()], vec![])
        );
        assert_eq!(
            (&tv.source, texts(&tv.grant.subscribe)),
            (&TokenSource::File("/run/tv".into()), vec!["news.*".into()])
        );
    }

    #[test]
    fn mistakes_are_one_line_without_a_secret() {
        let token = |body: &str| format!("[[token]]\nname = 'a'\npublish = ['x']\n{body}");
        let rows = [
            (
                "[token]\nname = 'a'".to_owned(),
                "f.toml:1: write each token as a table of its own, under [[token]]",
            ),
            (
                "[[token]]\npublish = ['x']".to_owned(),
                "f.toml:1: a token needs a name of 1 to 64 letters, digits or -_., in quotes",
            ),
            (
                "[[token]]\nname = 'a'\nfile = 'x'".to_owned(),
                "f.toml:1: token a opens no topic; write subscribe = [\"news.**\"] or \
                 publish = [\"news.**\"]",
            ),
            (token(""), "f.toml:1: token a needs either hash or file; `fanwheel token new` makes both"),
            (
                token("hash = 'sha256:secret'"),
                "f.toml:4: token a: hash must be sha256: and 64 hexadecimal digits, as `fanwheel token hash` \
                 prints them",
            ),
            (token("file = 7"), "f.toml:4: token a: file must be a text in quotes"),
            (token("hsah = 'secret'"), "f.toml:4: token a: unknown key hsah; did you mean hash?"),
            (
                token("file = 'x'\nsubscribe = ['y*']"),
                "f.toml:5: token a: subscribe = 'y*' is not allowed: must be a pattern in which * is a whole \
                 segment, as in a.*",
            ),
            (
                token("file = 'x'\n[[token]]\nname = 'a'\nfile = 'y'\npublish = 'x'"),
                "f.toml:5: token a stands also at f.toml:1",
            ),
        ];
        for (text, expected) in &rows {
            assert_eq!(tokens(text).expect_err(text), *expected, "{text}");
        }
    }
}
