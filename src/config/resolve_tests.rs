//! Facts about how settings are resolved: order of the sources, refusals and their words.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;

use super::*;

/// Pairs of names and texts.
type TextPairs<'a> = &'a [(&'static str, &'static str)];

fn inputs(flags: &[(&'static str, &str)], environment: &[(&str, &str)]) -> SettingInputs {
    let mut inputs = SettingInputs::default();
    for (name, text) in flags {
        inputs.flags.entry(name).or_default().push((*text).to_owned());
    }
    inputs.environment = environment.iter().map(|(name, value)| (name.into(), value.into())).collect();
    inputs
}

fn refusal(flags: &[(&'static str, &str)], environment: &[(&str, &str)]) -> String {
    ResolvedSettings::read(&inputs(flags, environment)).expect_err("refused").to_string()
}

/// A file of this test process, removed when the value is dropped.
struct ScratchFile(PathBuf);

impl ScratchFile {
    fn new(name: &str, text: &str) -> ScratchFile {
        let path = std::env::temp_dir().join(format!("fanwheel-{}-{name}", std::process::id()));
        fs::write(&path, text).expect("a writable temporary directory");
        ScratchFile(path)
    }
}

impl Drop for ScratchFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn stronger_sources_win_and_each_value_knows_its_source() {
    let file = ScratchFile::new("order.toml", "heartbeat_ms = 1000\nretry_ms = 1000\ndrain_ms = 1000\n");
    let path = file.0.to_str().expect("a plain path").to_owned();
    let environment = [("FANWHEEL_CONFIG", path.as_str()), ("FANWHEEL_RETRY_MS", "2000"), ("PATH", "/bin")];
    let mut inputs = inputs(&[("drain_ms", "3000")], &environment);
    inputs.environment.push(("FANWHEEL_DRAIN_MS".into(), "2000".into()));
    let resolved = ResolvedSettings::read(&inputs).expect("good");
    let rows = [
        ("idle_ms", "75000", "default".to_owned()),
        ("heartbeat_ms", "1000", format!("{path}:1")),
        ("retry_ms", "2000", "FANWHEEL_RETRY_MS".to_owned()),
        ("drain_ms", "3000", "--drain-ms".to_owned()),
    ];
    for (name, text, place) in rows {
        let entry = resolved.entry(name);
        assert_eq!((entry.text.as_str(), entry.place()), (text, place), "{name}");
    }
    assert_eq!(resolved.settings().drain_ms, 3_000);
}

#[test]
fn units_are_taken_from_every_source() {
    let file = ScratchFile::new("units.toml", "heartbeat_ms = '20s'\nlog_level = 'WARN'\n");
    let mut inputs = inputs(&[("connections_max", "500k")], &[("FANWHEEL_HISTORY_BYTES_MAX", "64MiB")]);
    inputs.config = Some(file.0.clone());
    let resolved = ResolvedSettings::read(&inputs).expect("good");
    let settings = resolved.settings();
    assert_eq!((settings.heartbeat_ms, settings.connections_max), (20_000, 500_000));
    assert_eq!((settings.history_bytes_max, settings.log_level.as_str()), (64 << 20, "warn"));
    assert_eq!(resolved.entry("heartbeat_ms").text, "20000", "one form whatever the source");
}

#[test]
fn a_flag_names_another_file_than_the_variable() {
    let file = ScratchFile::new("flag.toml", "workers = 3\n");
    let mut inputs = inputs(&[], &[("FANWHEEL_CONFIG", "/nonexistent/fanwheel.toml")]);
    inputs.config = Some(file.0.clone());
    assert_eq!(ResolvedSettings::read(&inputs).expect("good").settings().workers, 3);
}

#[test]
fn variables_of_kubernetes_services_are_no_settings() {
    let environment = [
        ("FANWHEEL_SERVICE_HOST", "10.96.0.17"),
        ("FANWHEEL_SERVICE_PORT", "8080"),
        ("FANWHEEL_PORT", "tcp://10.96.0.17:8080"),
        ("FANWHEEL_PORT_8080_TCP", "tcp://10.96.0.17:8080"),
        ("FANWHEEL_CONTROL_PORT_8081_TCP_PROTO", "tcp"),
        ("FANWHEEL_WORKERS", "3"),
    ];
    let resolved = ResolvedSettings::read(&inputs(&[], &environment)).expect("good");
    assert_eq!(resolved.settings().workers, 3);
    let line = refusal(&[], &[("FANWHEEL_PORT", "8080")]);
    assert!(line.starts_with("environment: unknown setting FANWHEEL_PORT"), "{line}");
}

#[test]
fn repeated_flags_and_commas_make_one_list() {
    let flags = [("listen", "127.0.0.1:1"), ("listen", "127.0.0.1:2,unix:/run/x")];
    let resolved = ResolvedSettings::read(&inputs(&flags, &[])).expect("good");
    assert_eq!(resolved.settings().listen, ["127.0.0.1:1", "127.0.0.1:2", "unix:/run/x"]);
}

#[test]
fn the_benchmark_profile_moves_the_default_port_but_no_port_that_was_given() {
    let listen = |flags: &[(&'static str, &str)]| {
        let resolved = ResolvedSettings::read(&inputs(flags, &[])).expect("good");
        (resolved.settings().listen.join(","), resolved.entry("listen").place())
    };
    let profile = ("profile", "broadcast-benchmark");
    assert_eq!(listen(&[profile]), ("0.0.0.0:1942".to_owned(), "default of the profile".to_owned()));
    assert_eq!(listen(&[profile, ("listen", "[::1]:7")]), ("[::1]:7".to_owned(), "--listen".to_owned()));
}

#[test]
fn refusals_name_key_value_limit_and_place() {
    let rows: &[(TextPairs<'_>, TextPairs<'_>, &str)] = &[
        (
            &[("heartbeat_ms", "5")],
            &[],
            "--heartbeat-ms: heartbeat_ms = 5 is not allowed: must be a whole number from 100 to 3600000",
        ),
        (
            &[],
            &[("FANWHEEL_LOG_LEVEL", "loud\n")],
            "FANWHEEL_LOG_LEVEL: log_level = loud\\n is not allowed: \
             must be one of error, warn, info, debug, trace",
        ),
        (
            &[],
            &[("FANWHEEL_HEARTBEAT", "5")],
            "environment: unknown setting FANWHEEL_HEARTBEAT; did you mean FANWHEEL_HEARTBEAT_MS?",
        ),
        (
            &[],
            &[("FANWHEEL_DRAIN_MS", "")],
            "FANWHEEL_DRAIN_MS: drain_ms = \"\" is not allowed: must be a whole number from 0 to 3600000",
        ),
        (
            &[("history_topic_bytes_max", "70000000")],
            &[("FANWHEEL_HISTORY_BYTES_MAX", "60000000")],
            "history_topic_bytes_max = 70000000 (--history-topic-bytes-max) is larger than \
             history_bytes_max = 60000000 (FANWHEEL_HISTORY_BYTES_MAX): \
             one topic cannot keep more than all topics together",
        ),
        (
            &[("publish_bytes_max", "9000000")],
            &[("FANWHEEL_BODIES_BYTES_MAX", "5000000")],
            "publish_bytes_max = 9000000 (--publish-bytes-max) is larger than \
             bodies_bytes_max = 5000000 (FANWHEEL_BODIES_BYTES_MAX): \
             one body must fit the budget of all bodies",
        ),
        (
            &[("publish_bytes_max", "9000000"), ("history_topic_bytes_max", "8388608")],
            &[],
            "publish_bytes_max = 9000000 (--publish-bytes-max) is larger than \
             history_topic_bytes_max = 8388608 (--history-topic-bytes-max): \
             an event must fit its topic's history",
        ),
        (
            &[("cors_origins", "*"), ("cors_origins", "https://a.example")],
            &[],
            "cors_origins = *,https://a.example (--cors-origins): \
             * allows every origin, so it must stand alone",
        ),
        (
            &[("cors_origins", "https://a.example/path")],
            &[],
            "--cors-origins: cors_origins = https://a.example/path is not allowed: \
             must be * or scheme://host[:port], without a path",
        ),
        (
            &[("slow_policy", "skip"), ("stall_ms", "20000"), ("user_timeout_ms", "20000")],
            &[],
            "stall_ms = 20000 (--stall-ms) is not below user_timeout_ms = 20000 (--user-timeout-ms), \
             so slow_policy = skip (--slow-policy) could never act: the kernel cuts first",
        ),
    ];
    for (flags, environment, expected) in rows {
        assert_eq!(refusal(flags, environment), *expected);
    }
}

#[test]
fn windows_that_are_too_long_or_exclude_each_other_are_refused() {
    let rows: &[(TextPairs<'_>, TextPairs<'_>, &str)] = &[
        (
            &[("throttle_ms", "15s")],
            &[],
            "throttle_ms = 15000 (--throttle-ms) is not below heartbeat_ms = 15000 (default): an event would \
             wait longer than a heartbeat",
        ),
        (
            &[("rate_bytes_per_second", "5000")],
            &[],
            "rate_bytes_per_second = 5000 (--rate-bytes-per-second) needs rate_policy: delay, latest or drop",
        ),
        (
            &[("rate_policy", "drop")],
            &[],
            "rate_policy = drop (--rate-policy) has no effect without a rate: set rate_events_per_second or \
             rate_bytes_per_second, too",
        ),
        (
            &[("batch_ms", "100"), ("throttle_ms", "250")],
            &[],
            "batch_ms = 100 (--batch-ms) and throttle_ms = 250 (--throttle-ms): an event waits in one \
             window; set one of them to 0",
        ),
    ];
    for (flags, environment, expected) in rows {
        assert_eq!(refusal(flags, environment), *expected);
    }
}

#[test]
fn refusals_lead_to_the_right_name_and_the_right_spelling() {
    let rows: &[(TextPairs<'_>, TextPairs<'_>, &str)] = &[
        (
            &[],
            &[("FANWHEEL_PORT", "8080")],
            "environment: unknown setting FANWHEEL_PORT; did you mean FANWHEEL_LISTEN=127.0.0.1:PORT?",
        ),
        (
            &[("history_bytes_max", "64Mb")],
            &[],
            "--history-bytes-max: history_bytes_max = 64Mb is not allowed: must be a whole number from 65536 \
             to 4398046511104, or written as 64KiB, 64MiB, 16GiB or 16GB (GiB is 2^30, GB is 10^9)",
        ),
    ];
    for (flags, environment, expected) in rows {
        assert_eq!(refusal(flags, environment), *expected);
    }
}

#[test]
fn destinations_of_alerts_are_refused_without_their_secrets() {
    let rows: &[(TextPairs<'_>, TextPairs<'_>, &str)] = &[
        (
            &[("alert_webhook", "hooks.example/secret")],
            &[],
            "--alert-webhook: alert_webhook = *** is not allowed: \
             must be http://HOST/PATH or https://HOST/PATH",
        ),
        (
            &[],
            &[("FANWHEEL_ALERT_COMMAND", "mail -s x root")],
            "FANWHEEL_ALERT_COMMAND: alert_command = mail -s x root is not allowed: \
             must be the whole path of a program, without arguments",
        ),
        (
            &[("alert_email_to", "-oQ/tmp")],
            &[],
            "--alert-email-to: alert_email_to = -oQ/tmp is not allowed: \
             must be plain addresses, such as ops@example.org",
        ),
        (
            &[("alert_email_to", "root"), ("alert_sendmail", "")],
            &[],
            "alert_email_to = root (--alert-email-to) needs a program: \
             alert_sendmail = \"\" (--alert-sendmail)",
        ),
    ];
    for (flags, environment, expected) in rows {
        assert_eq!(refusal(flags, environment), *expected);
    }
}

#[test]
fn listeners_need_an_address_each() {
    let good: &[&[(&str, &str)]] = &[
        &[("listen", "127.0.0.1:0"), ("listen", "127.0.0.1:0"), ("control", "127.0.0.1:0")],
        &[("listen", "unix:/run/a"), ("control", "unix:/run/b")],
        &[("listen", "127.0.0.1:8080"), ("listen", "127.0.0.2:8080")],
        &[("listen", "0.0.0.0:8080"), ("listen", "[::1]:8080")],
        &[("listen", "0.0.0.0:8080"), ("listen", "[::]:8080"), ("control", "")],
        &[("control", "127.0.0.1:8081"), ("control", "10.0.0.7:8081"), ("control", "unix:/run/c")],
        &[("listen", ":8080"), ("listen", "80"), ("control", "localhost:8081")],
        &[("metrics_listen", "10.0.0.7:8081"), ("metrics_listen", "unix:/run/m")],
    ];
    for flags in good {
        assert!(ResolvedSettings::read(&inputs(flags, &[])).is_ok(), "{flags:?}");
    }
    let overlapping: &[&[(&str, &str)]] = &[
        &[("listen", "127.0.0.1:9"), ("control", "127.0.0.1:9")],
        &[("listen", "0.0.0.0:9"), ("control", "127.0.0.1:9")],
        &[("listen", "[::]:9"), ("control", "[::1]:9")],
        &[("listen", "127.0.0.1:9"), ("listen", "127.0.0.1:9")],
        &[("listen", "unix:/run/a"), ("control", "unix:/run/a")],
        &[("listen", "0.0.0.0:8081")],
        &[("control", "0.0.0.0:9"), ("control", "127.0.0.1:9")],
        &[("metrics_listen", "0.0.0.0:8081")],
        &[("metrics_listen", "127.0.0.1:9"), ("listen", "127.0.0.1:9")],
        &[("listen", "127.0.0.1:9"), ("control", "127.0.0.1:8"), ("control", "127.0.0.1:9")],
        &[("listen", ":8081")],
        &[("listen", ":9"), ("control", "localhost:9")],
    ];
    for flags in overlapping {
        let line = refusal(flags, &[]);
        assert!(line.contains("take the same address"), "{line}");
    }
    for text in
        ["127.0.0.1", "localhost", "a.example:80", "unix:", "unix:x", "1.2.3.4:70000", "70000", "", ","]
    {
        let line = refusal(&[("listen", text)], &[]);
        assert!(line.starts_with("--listen: listen = "), "{line}");
    }
    let line = refusal(&[("control_names", "http://a/")], &[]);
    assert!(line.ends_with(
        "control_names = http://a/ is not allowed: must be a host name, without scheme, port or path"
    ));
    let long = format!("unix:/{}", "x".repeat(107));
    assert!(refusal(&[("listen", &long)], &[]).ends_with("unix:/path of at most 107 bytes"));
}

#[test]
fn values_that_are_not_text_are_refused_in_one_line() {
    let mut inputs = SettingInputs::default();
    inputs.environment.push(("FANWHEEL_LISTEN".into(), OsString::from_vec(vec![0xff, b'\n'])));
    let line = ResolvedSettings::read(&inputs).expect_err("refused").to_string();
    assert_eq!(line, "FANWHEEL_LISTEN: listen = \u{fffd}\\n is not allowed: must be UTF-8 text");
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_the_reason() {
    let mut inputs = SettingInputs { config: Some("/nonexistent/f.toml".into()), ..SettingInputs::default() };
    let line = ResolvedSettings::read(&inputs).expect_err("refused").to_string();
    assert!(
        line.starts_with("cannot read the configuration file /nonexistent/f.toml: No such file"),
        "{line}"
    );
    inputs.config = Some("/dev/zero".into());
    let line = ResolvedSettings::read(&inputs).expect_err("refused").to_string();
    assert_eq!(line, "cannot read the configuration file /dev/zero: it is larger than 1048576 bytes");
}

#[test]
fn defaults_give_way_to_what_was_set() {
    let mut inputs = SettingInputs::default();
    inputs.flags.insert("history_bytes_max", vec!["4000000".to_owned()]);
    let resolved = ResolvedSettings::read(&inputs).expect("a default is no contradiction");
    assert_eq!(resolved.settings().history_topic_bytes_max, 4_000_000);
}
