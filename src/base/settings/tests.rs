//! The table of settings, row by row: its rules for texts, and the values made of them.

use super::*;
use crate::base::limits::ALERT_WEBHOOKS_MAX;

#[test]
fn every_default_passes_its_own_check_and_becomes_a_value() {
    for spec in TABLE {
        assert_eq!(spec.normalize(spec.default).as_deref(), Ok(spec.default), "{}", spec.name);
    }
    let settings = Settings::default();
    assert_eq!(settings.heartbeat_ms, 15_000);
    assert_eq!(settings.listen, ["0.0.0.0:8080"]);
}

#[test]
fn addresses_with_secrets_are_checked_and_shown_masked() {
    let webhook = find_spec("alert_webhook").expect("in the table");
    assert_eq!(webhook.shown("http://a/b, http://c/d"), "http://a/***,http://c/***");
    for good in ["", "http://a", "https://a:1/b?c=d,http://[::1]:9/x"] {
        assert_eq!(webhook.normalize(good).as_deref(), Ok(good));
    }
    for bad in ["a", "ftp://a", "http://", "https:///x", "http://a b", "http://a/***", "http://a\u{7f}"] {
        assert!(webhook.normalize(bad).is_err(), "{bad}");
    }
    assert!(webhook.normalize(&["http://a"; ALERT_WEBHOOKS_MAX + 1].join(",")).is_err());
}

#[test]
fn values_out_of_range_are_refused_with_the_range() {
    let spec = find_spec("heartbeat_ms").expect("in the table");
    for text in ["99", "3600001", "-1", "", "99ms", "2h"] {
        assert_eq!(spec.normalize(text), Err("a whole number from 100 to 3600000".to_owned()), "{text}");
    }
}

#[test]
fn numbers_take_the_units_of_their_names_and_words_any_case() {
    let rows = [
        ("heartbeat_ms", "15s", "15000"),
        ("max_connection_ms", "1h", "3600000"),
        ("connections_max", "500k", "500000"),
        ("history_bytes_max", "64M", "67108864"),
        ("memory_bytes_max", "16GiB", "17179869184"),
        ("memory_bytes_max", "16GB", "16000000000"),
        ("log_level", "WARN", "warn"),
        ("jwt_algorithm", "eddsa", "EdDSA"),
        ("landing", "FALSE", "off"),
        ("pin_workers", "true", "on"),
    ];
    for (name, text, expected) in rows {
        let spec = find_spec(name).expect("in the table");
        assert_eq!(spec.normalize(text).as_deref(), Ok(expected), "{name} = {text}");
    }
    let level = find_spec("log_level").expect("in the table");
    for (text, hint) in [("warning", "; did you mean warn?"), ("true", ""), ("", "")] {
        let expected = format!("one of error, warn, info, debug, trace{hint}");
        assert_eq!(level.normalize(text), Err(expected));
    }
}
