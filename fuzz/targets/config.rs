//! Configuration files: no panic; a refusal is one line; what is accepted is written as a file of the same
//! settings.
#![no_main]

use fanwheel::config::resolve::effective_text;
use libfuzzer_sys::fuzz_target;
use toml::Table;

/// Shown in place of a secret, which cannot be read back.
const MASK: &str = "***";

fn values(text: &str) -> Table {
    text.parse().expect("effective settings are TOML")
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match effective_text(text) {
        Ok(effective) => {
            let written = values(&effective);
            if !effective.contains(MASK) {
                let again = effective_text(&effective).expect("effective settings are accepted");
                assert_eq!(values(&again), written);
            }
        }
        Err(refusal) => assert!(!refusal.is_empty() && !refusal.chars().any(char::is_control), "{refusal:?}"),
    }
});
