//! Credentials as settings and key files give them, made into the rules that a server checks requests by.
//!
//! Owns the form of key files and the words for their mistakes. No word repeats a secret.

use std::path::Path;

use zeroize::Zeroizing;

use crate::base::logfmt::shown;
use crate::config::refusal::SettingsRefusal;
use crate::config::resolved::{ResolvedEntry, ResolvedSettings};
use crate::host::named_file::{PipeWait, read_secret_file};
use crate::wire::auth::access::AccessRules;
use crate::wire::auth::token_hash::{TokenHash, check_token};

/// Tokens of one file: an old and a new one while they are changed, and some to spare.
const FILE_TOKENS_MAX: usize = 8;
/// Bytes of a file of tokens.
const TOKEN_FILE_BYTES_MAX: usize = 8_192;

/// Reads all credentials that the settings name.
///
/// # Errors
/// When a file cannot be read, or holds no credential.
pub(crate) fn load_access(
    resolved: &ResolvedSettings,
    wait: PipeWait,
) -> Result<AccessRules, SettingsRefusal> {
    let control_tokens = read_token_file(resolved.entry("control_token_file"), wait)?;
    Ok(AccessRules { control_tokens })
}

/// Reads the tokens of a setting's file, one a line; none where the setting is empty.
fn read_token_file(entry: &ResolvedEntry, wait: PipeWait) -> Result<Vec<TokenHash>, SettingsRefusal> {
    if entry.text.is_empty() {
        return Ok(Vec::new());
    }
    let refuse = |why: String| {
        let (name, file, place) = (entry.spec.name, shown(&entry.text), entry.place());
        SettingsRefusal::Contradiction(format!("{name} = {file} ({place}): {why}"))
    };
    let bytes = read_secret_file(Path::new(&entry.text), TOKEN_FILE_BYTES_MAX, wait)
        .map_err(|error| refuse(format!("cannot read it: {error}")))?;
    read_tokens(&bytes).map_err(refuse)
}

/// Takes each line that is not empty as a token.
fn read_tokens(bytes: &Zeroizing<Vec<u8>>) -> Result<Vec<TokenHash>, String> {
    let mut tokens = Vec::new();
    for (index, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        let token = line.trim_ascii();
        if token.is_empty() {
            continue;
        }
        check_token(token).map_err(|rule| format!("line {} must be {rule}", index + 1))?;
        tokens.push(TokenHash::of(token));
    }
    match tokens.len() {
        0 => Err("it holds no token".to_owned()),
        1..=FILE_TOKENS_MAX => Ok(tokens),
        _ => Err(format!("it holds more than {FILE_TOKENS_MAX} tokens, one a line")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::resolve::SettingInputs;

    fn load(name: &str, text: &str) -> Result<AccessRules, String> {
        let file = std::env::temp_dir().join(format!("fanwheel-{}-{name}.token", std::process::id()));
        std::fs::write(&file, text).expect("a writable temporary directory");
        let mut inputs = SettingInputs::default();
        let path = file.display().to_string();
        inputs.flags.insert("control_token_file", vec![path.clone()]);
        let resolved = ResolvedSettings::read(&inputs).expect("good in itself");
        let rules = load_access(&resolved, PipeWait::Refused);
        let _ = std::fs::remove_file(&file);
        rules.map_err(|refusal| refusal.to_string().replace(&path, "FILE"))
    }

    #[test]
    fn a_file_holds_a_token_a_line_and_its_mistakes_keep_them_secret() {
        let tokens =
            load("two", "0123456789abcdef\n\n  fedcba9876543210  \r\n").map(|rules| rules.control_tokens);
        let tokens = tokens.expect("two tokens");
        assert!(tokens.len() == 2 && tokens[1].matches(&TokenHash::of(b"fedcba9876543210")));
        let rows = [
            ("empty", "\n \n".to_owned(), "it holds no token"),
            (
                "short",
                "0123456789abcdef\nsecret".to_owned(),
                "line 2 must be a token of 16 to 512 letters, digits or -._~+/=",
            ),
            ("many", "0123456789abcdef\n".repeat(9), "it holds more than 8 tokens, one a line"),
            ("large", "0".repeat(9_000), "cannot read it: it is larger than 8192 bytes"),
        ];
        for (name, text, expected) in rows {
            let line = load(name, &text).expect_err("a mistake");
            assert_eq!(line, format!("control_token_file = FILE (--control-token-file): {expected}"));
        }
    }
}
