//! `fanwheel token`: new tokens, and the tables that name them. Reads no settings.

use std::fmt::Write;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use crate::base::failure::CommandFailure;
use crate::wire::auth::token_hash::TokenHash;

/// Random bytes of a token or key: nobody guesses one of so many.
const TOKEN_RANDOM_BYTES: usize = 32;

/// A table `[[token]]` to be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TokenOutline {
    /// Name of the token.
    pub(crate) name: String,
    /// Patterns of topics that its owner may subscribe to.
    pub(crate) subscribe: Vec<String>,
    /// Patterns of topics that its owner may publish to.
    pub(crate) publish: Vec<String>,
}

/// Draws a token, whose text begins with `fw_`, so that people and scanners of secrets know it for one.
///
/// # Errors
/// When the operating system has no random numbers.
pub(crate) fn draw_token() -> Result<Zeroizing<String>, CommandFailure> {
    Ok(Zeroizing::new(format!("fw_{}", *draw_key()?)))
}

/// Draws a key that signs URLs.
///
/// # Errors
/// When the operating system has no random numbers.
pub(crate) fn draw_key() -> Result<Zeroizing<String>, CommandFailure> {
    let mut bytes = Zeroizing::new([0; TOKEN_RANDOM_BYTES]);
    let no_randomness = |_| CommandFailure::Run("the system gives no random numbers".to_owned());
    SystemRandom::new().fill(&mut *bytes).map_err(no_randomness)?;
    Ok(Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(*bytes)))
}

/// Returns the hash of a token as the configuration takes it.
pub(crate) fn hash_text(token: &str) -> String {
    TokenHash::of(token.as_bytes()).text()
}

/// Writes the table of a token for the configuration file.
pub(crate) fn token_table(outline: &TokenOutline, hash: &str) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let mut out = format!("[[token]]\nname = {}\nhash = {}\n", quoted(&outline.name), quoted(hash));
    for (key, patterns) in [("subscribe", &outline.subscribe), ("publish", &outline.publish)] {
        if !patterns.is_empty() {
            let patterns: Vec<String> = patterns.iter().map(|pattern| quoted(pattern)).collect();
            writeln!(out, "{key} = [{}]", patterns.join(", ")).expect("writing to a String cannot fail");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::file;
    use crate::wire::auth::token_hash::check_token;

    #[test]
    fn a_new_token_is_taken_and_its_table_is_read_back() {
        let [token, other] = [draw_token().expect("random numbers"), draw_token().expect("random numbers")];
        assert!(token.starts_with("fw_") && token.len() == 46 && *token != *other);
        assert_eq!(check_token(token.as_bytes()), Ok(()));
        let outline = TokenOutline {
            name: "app".to_owned(),
            subscribe: vec![],
            publish: vec!["news.**".to_owned(), "a\"b".to_owned()],
        };
        let table = token_table(&outline, &hash_text(&token));
        let contents = file::parse(Path::new("f.toml"), &table).expect("its own form");
        let [entry] = &contents.tokens[..] else { panic!("{table}") };
        let patterns: Vec<&str> = entry.grant.publish.iter().map(|pattern| pattern.text()).collect();
        assert_eq!((entry.name.as_str(), patterns), ("app", vec!["news.**", "a\"b"]));
    }
}
