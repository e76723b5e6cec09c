//! The rules of one setting: its name, the texts that it takes, and the text that may be shown.
//!
//! Owns no setting. The table of all settings is in `settings`.

use crate::base::backplane_address::{BackplaneAddress, mask_address};
use crate::base::quantity::{QuantityUnit, parse_within};
use crate::base::suggest::nearest;
use crate::base::webhook_url::{check_urls, mask_url};

/// Rule for the text of a setting.
#[derive(Clone, Copy, Debug)]
pub enum SettingKind {
    /// A whole number within inclusive bounds.
    Int {
        /// The smallest allowed value.
        min: u64,
        /// The largest allowed value.
        max: u64,
    },
    /// One of the listed words.
    Choice(&'static [&'static str]),
    /// Free text; may be empty.
    Text,
    /// Texts; a flag is repeated, the environment separates them with commas.
    List,
    /// A list of `http://` and `https://` addresses whose paths may be secret: shown only masked.
    Urls,
    /// The address of a backplane, which may hold a password: shown only masked.
    Backplane,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct SettingSpec {
    /// `heartbeat_ms`; the flag is `--heartbeat-ms`, the variable `FANWHEEL_HEARTBEAT_MS`.
    pub name: &'static str,
    /// Rule for its text.
    pub kind: SettingKind,
    /// The default, as one would write it; lists separated by commas.
    pub default: &'static str,
    /// Can be changed by SIGHUP in a running server.
    pub(crate) reloadable: bool,
    /// A class of topics can have a value of its own. Then it is reloadable, too.
    pub(crate) per_class: bool,
    /// One sentence for `--help`, `config` and docs/configuration.md.
    pub help: &'static str,
}

/// The items of a list in its comma-separated form, without empty ones.
pub fn split_list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

impl SettingSpec {
    /// Returns an allowed text in the form in which it is kept: a number without unit, a word in lower case.
    ///
    /// # Errors
    /// The rule that the text breaks, for an error line.
    pub(crate) fn normalize(&self, text: &str) -> Result<String, String> {
        match self.kind {
            SettingKind::Text | SettingKind::List => Ok(text.to_owned()),
            SettingKind::Urls => check_urls(&split_list(text)).map(|()| text.to_owned()),
            SettingKind::Backplane => match text {
                "" => Ok(String::new()),
                text => BackplaneAddress::parse(text).map(|_| text.to_owned()).map_err(str::to_owned),
            },
            SettingKind::Choice(words) => choose_word(words, text),
            SettingKind::Int { min, max } => {
                let number = parse_within(text, QuantityUnit::of_name(self.name), min..=max);
                number.map(|number| number.to_string()).map_err(|rule| rule.to_string())
            }
        }
    }

    /// The text as it may be shown to anyone: in the log, in error lines, by `config`.
    pub(crate) fn shown(&self, text: &str) -> String {
        match self.kind {
            SettingKind::Urls => {
                split_list(text).iter().map(|url| mask_url(url)).collect::<Vec<_>>().join(",")
            }
            SettingKind::Backplane => mask_address(text),
            _ => text.to_owned(),
        }
    }
}

/// Finds a word whatever its case. A switch takes `true` and `false`, too.
fn choose_word(words: &[&str], text: &str) -> Result<String, String> {
    let typed = text.to_ascii_lowercase();
    let meant = match typed.as_str() {
        "true" => "on",
        "false" => "off",
        word => word,
    };
    // Names such as HS256 keep the case in which the table has them.
    if let Some(word) = words.iter().find(|word| word.eq_ignore_ascii_case(meant)) {
        return Ok((*word).to_owned());
    }
    let hint = nearest(meant, words.iter().copied()).map(|near| format!("; did you mean {near}?"));
    Err(format!("one of {}{}", words.join(", "), hint.unwrap_or_default()))
}
