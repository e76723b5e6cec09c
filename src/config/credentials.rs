//! Credentials as settings and key files give them, made into the rules that a server checks requests by.
//!
//! Owns the form of key files and the words for their mistakes. No word repeats a secret.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::ban_list::BanList;
use crate::base::limits::MIB;
use crate::base::logfmt::shown;
use crate::base::settings::split_list;
use crate::base::webhook_url::{is_host_metadata, literal_address};
use crate::config::refusal::SettingsRefusal;
use crate::config::resolved::{ResolvedEntry, ResolvedSettings};
use crate::config::token_tables::{TokenEntry, TokenSource};
use crate::host::named_file::{PipeWait, read_named_file, read_secret_file};
use crate::wire::auth::access::{AccessRules, StaticToken};
use crate::wire::auth::class_access::ClassAccess;
use crate::wire::auth::jwt::JwtRules;
use crate::wire::auth::jwt_key::{JwtAlgorithm, JwtKey, read_key_file, read_key_set};
use crate::wire::auth::signed_url::SigningKey;
use crate::wire::auth::token_hash::{TokenHash, check_token};
use crate::wire::fields::is_token_byte;

/// Tokens or keys of one file: an old and a new one while they are changed, and some to spare.
const FILE_SECRETS_MAX: usize = 8;
/// Bytes of the shortest key, as many as its signature has (RFC 2104 §3).
const SIGNING_KEY_BYTES_MIN: usize = 32;
/// Bytes of a file of keys: a set has certificates beside them.
const JWT_FILE_BYTES_MAX: usize = 262_144;
/// Settings of files with keys that let in on the public listener.
const KEY_FILES: [&str; 3] = ["signing_key_file", "jwt_key_file", "jwks_file"];
/// Bytes of a file of bans: some 200 000 addresses.
const BAN_FILE_BYTES_MAX: usize = 4 * MIB;
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
    let settings = resolved.settings();
    let named = &settings.credentials;
    let control = resolved.entry("control_token_file");
    let control_tokens = match named.control_token_file.as_str() {
        "" => Vec::new(),
        path => read_token_file(Path::new(path), wait).map_err(|why| refuse_file(control, &why))?,
    };
    let mut tokens = Vec::new();
    for entry in resolved.tokens() {
        tokens.extend(read_static_tokens(entry, wait)?);
    }
    let signing = resolved.entry("signing_key_file");
    let signing_keys = match named.signing_key_file.as_str() {
        "" => Vec::new(),
        path => read_signing_keys(Path::new(path), wait).map_err(|why| refuse_file(signing, &why))?,
    };
    let jwt = JwtRules {
        keys: read_jwt_keys(resolved, wait)?,
        audience: some_text(&named.jwt_audience),
        issuer: some_text(&named.jwt_issuer),
    };
    let ban_entry = resolved.entry("ban_file");
    let bans = match named.ban_file.as_str() {
        "" => BanList::default(),
        path => read_bans(Path::new(path), wait).map_err(|why| refuse_file(ban_entry, &why))?,
    };
    let cookie = named.token_cookie.as_bytes();
    Ok(AccessRules {
        control_tokens,
        tokens,
        jwt,
        signing_keys,
        cookie: (!cookie.is_empty()).then(|| cookie.into()),
        classes: ClassAccess::new(&settings),
        bans,
        asks_application: !named.authorize_url.is_empty(),
    })
}

/// Refuses settings under which nobody could get in, and cookies that no browser sends.
pub(crate) fn check_credentials(resolved: &ResolvedSettings) -> Result<(), SettingsRefusal> {
    let cookie = resolved.entry("token_cookie");
    if !cookie.text.bytes().all(is_token_byte) {
        return Err(SettingsRefusal::Value {
            place: cookie.place(),
            name: "token_cookie",
            value: cookie.text.clone(),
            allowed: "a name of letters, digits or !#$%&'*+-.^_`|~".to_owned(),
        });
    }
    let [key, set] = ["jwt_key_file", "jwks_file"].map(|name| resolved.entry(name));
    if !key.text.is_empty() && !set.text.is_empty() {
        return Err(SettingsRefusal::Contradiction(format!(
            "jwt_key_file = {} ({}) and jwks_file = {} ({}) exclude each other",
            shown(&key.text),
            key.place(),
            shown(&set.text),
            set.place()
        )));
    }
    check_authorize_url(resolved.entry("authorize_url"))?;
    let Some(asking) = asking_place(resolved) else { return Ok(()) };
    let profile = resolved.entry("profile");
    if profile.text != "standard" {
        let (value, place) = (&profile.text, profile.place());
        return Err(SettingsRefusal::Contradiction(format!(
            "{asking}: profile = {value} ({place}) lets everybody subscribe"
        )));
    }
    let mut deciding = KEY_FILES.iter().chain(&["authorize_url"]);
    if resolved.tokens().is_empty() && deciding.all(|name| resolved.entry(name).text.is_empty()) {
        return Err(SettingsRefusal::Contradiction(format!(
            "{asking} lets nobody in, because there is no credential; add a [[token]], or set one of {}, \
             authorize_url",
            KEY_FILES.join(", ")
        )));
    }
    Ok(())
}

/// Checks that one application is asked, and none of those that hand out the keys of a cloud's host.
fn check_authorize_url(entry: &ResolvedEntry) -> Result<(), SettingsRefusal> {
    let refuse = |rule: &str| {
        Err(SettingsRefusal::Value {
            place: entry.place(),
            name: entry.spec.name,
            value: entry.spec.shown(&entry.text),
            allowed: rule.to_owned(),
        })
    };
    let urls = split_list(&entry.text);
    if urls.len() > 1 {
        return refuse("one address");
    }
    match urls.first().and_then(|url| literal_address(url)) {
        Some(address) if is_host_metadata(address) => {
            refuse("another address than that of a cloud's metadata")
        }
        Some(_) | None => Ok(()),
    }
}

/// Describes the first setting that asks subscribers for a credential.
fn asking_place(resolved: &ResolvedSettings) -> Option<String> {
    let node = resolved.entry("subscribe");
    let of_node = || format!("subscribe = {} ({})", node.text, node.place());
    let classes = resolved.classes().iter().filter_map(|class| Some((class, class.value("subscribe")?)));
    let mut asking = classes.filter(|(_, value)| value.text == "token");
    let class = asking
        .next()
        .map(|(class, value)| format!("{}: class {}: subscribe = {}", value.place, class.name, value.text));
    (node.text == "token").then(of_node).or(class)
}

fn refuse_file(entry: &ResolvedEntry, why: &str) -> SettingsRefusal {
    let (name, file, place) = (entry.spec.name, shown(&entry.text), entry.place());
    SettingsRefusal::Contradiction(format!("{name} = {file} ({place}): {why}"))
}

/// Returns the tokens of an entry: one, or those of its file.
fn read_static_tokens(entry: &TokenEntry, wait: PipeWait) -> Result<Vec<StaticToken>, SettingsRefusal> {
    let hashes = match &entry.source {
        TokenSource::Hash(hash) => vec![*hash],
        TokenSource::File(path) => read_token_file(path, wait).map_err(|why| {
            let (file, place, name) = (shown(&path.to_string_lossy()), &entry.place, &entry.name);
            SettingsRefusal::Contradiction(format!("{place}: token {name}: file = {file}: {why}"))
        })?,
    };
    let (name, grant): (Arc<str>, _) = (entry.name.as_str().into(), Arc::new(entry.grant.clone()));
    let token = |hash| StaticToken { name: Arc::clone(&name), hash, grant: Arc::clone(&grant) };
    Ok(hashes.into_iter().map(token).collect())
}

/// Reads the tokens of a file, one a line.
fn read_token_file(path: &Path, wait: PipeWait) -> Result<Vec<TokenHash>, String> {
    let bytes = read_secret_file(path, TOKEN_FILE_BYTES_MAX, wait);
    read_tokens(&bytes.map_err(|error| format!("cannot read it: {error}"))?)
}

fn read_bans(path: &Path, wait: PipeWait) -> Result<BanList, String> {
    let bytes = read_named_file(path, BAN_FILE_BYTES_MAX, wait);
    let bytes = bytes.map_err(|error| format!("cannot read it: {error}"))?;
    BanList::parse(std::str::from_utf8(&bytes).map_err(|_| "it is not UTF-8 text".to_owned())?)
}

fn some_text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// Reads the keys that verify tokens of others.
fn read_jwt_keys(resolved: &ResolvedSettings, wait: PipeWait) -> Result<Vec<JwtKey>, SettingsRefusal> {
    let read = |entry: &ResolvedEntry| {
        let bytes = read_secret_file(Path::new(&entry.text), JWT_FILE_BYTES_MAX, wait);
        bytes.map_err(|error| refuse_file(entry, &format!("cannot read it: {error}")))
    };
    let [key, set] = ["jwt_key_file", "jwks_file"].map(|name| resolved.entry(name));
    let algorithm = JwtAlgorithm::from_name(&resolved.entry("jwt_algorithm").text);
    let algorithm = algorithm.expect("a word of the table of settings");
    if !key.text.is_empty() {
        return read_key_file(&read(key)?, algorithm).map_err(|why| refuse_file(key, &format!("it {why}")));
    }
    if !set.text.is_empty() {
        return read_key_set(&read(set)?).map_err(|why| refuse_file(set, &format!("it {why}")));
    }
    Ok(Vec::new())
}

/// Returns the files from which credentials are read.
pub(crate) fn credential_files(resolved: &ResolvedSettings) -> Vec<PathBuf> {
    let named =
        KEY_FILES.iter().chain(&["control_token_file", "ban_file"]).map(|name| &resolved.entry(name).text);
    let named = named.filter(|text| !text.is_empty()).map(PathBuf::from);
    let of_tokens = resolved.tokens().iter().filter_map(|entry| match &entry.source {
        TokenSource::Hash(_) => None,
        TokenSource::File(path) => Some(path.clone()),
    });
    named.chain(of_tokens).collect()
}

/// Reads the keys of a file, one a line; the first signs, all are taken.
pub(crate) fn read_signing_keys(path: &Path, wait: PipeWait) -> Result<Vec<SigningKey>, String> {
    let bytes = read_secret_file(path, TOKEN_FILE_BYTES_MAX, wait);
    let check = |key: &[u8]| match key.len() >= SIGNING_KEY_BYTES_MIN {
        true => check_token(key),
        false => Err("a key of at least 32 letters, digits or -._~+/="),
    };
    read_lines(&bytes.map_err(|error| format!("cannot read it: {error}"))?, check, SigningKey::new)
}

fn read_tokens(bytes: &[u8]) -> Result<Vec<TokenHash>, String> {
    read_lines(bytes, check_token, TokenHash::of)
}

/// Takes each line that is not empty as a secret.
fn read_lines<T>(
    bytes: &[u8],
    check: impl Fn(&[u8]) -> Result<(), &'static str>,
    take: impl Fn(&[u8]) -> T,
) -> Result<Vec<T>, String> {
    let mut taken = Vec::new();
    for (index, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        let secret = line.trim_ascii();
        if secret.is_empty() {
            continue;
        }
        check(secret).map_err(|rule| format!("line {} must be {rule}", index + 1))?;
        taken.push(take(secret));
    }
    match taken.len() {
        0 => Err("it is empty".to_owned()),
        1..=FILE_SECRETS_MAX => Ok(taken),
        _ => Err(format!("it holds more than {FILE_SECRETS_MAX} lines")),
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
            ("empty", "\n \n".to_owned(), "it is empty"),
            (
                "short",
                "0123456789abcdef\nsecret".to_owned(),
                "line 2 must be a token of 16 to 512 letters, digits or -._~+/=",
            ),
            ("many", "0123456789abcdef\n".repeat(9), "it holds more than 8 lines"),
            ("large", "0".repeat(9_000), "cannot read it: it is larger than 8192 bytes"),
        ];
        for (name, text, expected) in rows {
            let line = load(name, &text).expect_err("a mistake");
            assert_eq!(line, format!("control_token_file = FILE (--control-token-file): {expected}"));
        }
    }
}
