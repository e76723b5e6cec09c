//! Alerts as their receivers see them: webhooks that fail first, over TLS too, a command, mail; rules that
//! are reloaded, and secrets that stay secret.

use crate::harness::{Hook, Launch, SOON, Server, ms, poll_until, program};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// Everything here takes a few seconds, on a busy machine some more.
const WITHIN: Duration = Duration::from_secs(20);

/// A folder of a test's own that is gone when the value is.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a writable folder");
        Folder(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("a plain path").to_owned()
    }

    fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).expect("a writable folder");
        self.path(name)
    }

    fn script(&self, name: &str, text: &str) -> String {
        let path = self.write(name, &format!("#!/bin/sh\n{text}"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("our own file");
        path
    }

    /// Returns the text that a program wrote there, once it has.
    fn await_text(&self, name: &str, holds: &str) -> String {
        let read = || std::fs::read_to_string(self.path(name)).ok().filter(|text| text.contains(holds));
        let text = poll_until(WITHIN, read);
        text.unwrap_or_else(|| {
            panic!("no {holds:?} in {name}: {:?}", std::fs::read_to_string(self.path(name)))
        })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A rule that fires while more than so many streams are open.
fn crowd(above: usize) -> String {
    format!("[[alerts]]\nname = 'crowd'\nmetric = 'subscribers_open'\nabove = {above}\ncooldown_ms = 0\n")
}

fn active(server: &Server) -> Vec<String> {
    let alerts = server.get("/status").json()["alerts"]["active"].clone();
    let names = alerts.as_array().expect("a list").iter();
    names.map(|alert| alert["name"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn a_webhook_that_fails_first_gets_each_message_once_it_is_back() {
    let folder = Folder::new("alerts-webhook");
    let hook = Hook::failing_first(ms(1_800));
    let config = folder.write("f.toml", &crowd(0));
    let server = Launch::workers(2)
        .set("config", &config)
        .set("alert_webhook", format!("http://{}/services/secret?token=secret", hook.address))
        .start();
    let stream = server.subscribe("topic=a");
    let firing = hook.await_taken("crowd", "firing", WITHIN);
    assert_eq!(active(&server), ["crowd"]);
    drop(stream);
    let resolved = hook.await_taken("crowd", "resolved", WITHIN);
    assert_eq!(active(&server), Vec::<String>::new());

    let statuses: Vec<u16> = hook.posted().iter().map(|posted| posted.status).collect();
    assert_eq!(statuses, [500, 200, 200], "each message is taken once");
    assert!(firing.head.starts_with("POST /services/secret?token=secret HTTP/1.1\r\n"), "{}", firing.head);
    assert!(firing.head.to_lowercase().contains("content-type: application/json\r\n"), "{}", firing.head);
    let text = firing.json["text"].as_str().expect("what chats show");
    assert!(text.starts_with("warning alert crowd on ") && text.contains(" is 1, above 0"), "{text}");
    assert_eq!((&firing.json["value"], &resolved.json["value"]), (&1.0.into(), &0.0.into()));
    assert!(firing.json["at_ms"].as_u64() < resolved.json["at_ms"].as_u64());
    assert_eq!(firing.json["at_ms"], resolved.json["since_ms"]);

    let log = server.log();
    assert!(log.contains("error=\"answered 500\""), "{log}");
    assert!(!log.contains("secret") && log.contains(&format!("http://{}/***", hook.address)), "{log}");
    let history = server.get("/status").json()["alerts"]["history"].clone();
    assert_eq!((&history[0]["state"], &history[1]["state"]), (&"resolved".into(), &"firing".into()));
    // The server counts a message when it has read the answer, which is after it was taken.
    let metrics = server.await_metric("both counted", WITHIN, |metrics| metrics.get("alerts_sent") >= 2);
    assert_eq!((metrics.get("alerts_sent"), metrics.get("alerts_failed")), (2, 0));
}

/// A certificate of an authority of the test's own, for 127.0.0.1; none when there is no openssl.
fn certificate(folder: &Folder) -> Option<rustls::ServerConfig> {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let path = |name: &str| folder.path(name);
    let new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
    let (ca, ca_key, leaf, leaf_key) = (path("ca.pem"), path("ca.key"), path("leaf.pem"), path("leaf.key"));
    let mut authority = Command::new("openssl");
    authority.args(["req", "-x509", "-subj", "/CN=authority", "-keyout", &ca_key, "-out", &ca]);
    let mut server = Command::new("openssl");
    server.args(["req", "-x509", "-subj", "/CN=hook", "-CA", &ca, "-CAkey", &ca_key]);
    server.args(["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE"]);
    server.args(["-keyout", &leaf_key, "-out", &leaf]);
    for command in [&mut authority, &mut server] {
        let Ok(output) = command.args(new_key).output() else {
            println!("skipped: openssl is not installed");
            return None;
        };
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let chain = CertificateDer::pem_file_iter(&leaf).expect("openssl wrote it");
    let chain = chain.collect::<Result<Vec<_>, _>>().expect("PEM");
    let key = PrivateKeyDer::from_pem_file(&leaf_key).expect("PEM");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Some(config.expect("ring knows them").with_no_client_auth().with_single_cert(chain, key).expect("a pair"))
}

#[test]
fn a_webhook_over_tls_is_posted_to_only_when_the_host_trusts_it() {
    let folder = Folder::new("alerts-tls");
    let Some(tls) = certificate(&folder) else { return };
    let hook = Hook::with_tls(tls);
    let config = folder.write("f.toml", &crowd(0));
    let launch = || {
        let url = format!("https://{}/hook", hook.address);
        Launch::workers(1).set("config", &config).set("alert_webhook", url)
    };
    let stranger = launch().start();
    let _stream = stranger.subscribe("topic=a");
    let refused = poll_until(WITHIN, || stranger.log().contains("event=alert_failed").then_some(()));
    assert!(refused.is_some(), "{}", stranger.log());
    assert!(stranger.log().to_lowercase().contains("certificate"), "{}", stranger.log());
    assert_eq!(hook.posted().len(), 0);

    let friend = launch().env("SSL_CERT_FILE", &folder.path("ca.pem")).start();
    let _stream = friend.subscribe("topic=a");
    hook.await_taken("crowd", "firing", WITHIN);
}

/// The processes that any thread of the server has started and not waited for.
fn children(server: &Server) -> String {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid())).expect("the process runs");
    let of = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("children"));
    tasks.flatten().filter_map(|task| of(task).ok()).collect()
}

#[test]
fn a_command_gets_each_alert_and_no_descriptor_of_the_servers() {
    for tables in ["private", "shared"] {
        let folder = Folder::new(&format!("alerts-command-{tables}"));
        let out = folder.path("out");
        let script = format!(
            "{{ env; echo; cat; readlink /proc/$$/fd/*; echo end; }} >{out}.$ALERT_STATE 2>&1\n\
             mv {out}.$ALERT_STATE {out}-$ALERT_STATE\n"
        );
        let command = folder.script("page", &script);
        let config = folder.write("f.toml", &crowd(2));
        let log = folder.path("log");
        let server = Launch::workers(2)
            .set("config", &config)
            .set("fd_tables", tables)
            .set("alert_command", &command)
            .env("FANWHEEL_RETRY_MS", "777")
            .log_to(&log)
            .start();
        let streams: Vec<_> = (0..3).map(|_| server.subscribe("topic=a")).collect();
        let firing = folder.await_text("out-firing", "end");
        for expected in ["ALERT_NAME=crowd\n", "ALERT_STATE=firing\n", "ALERT_VALUE=3.0\n", "\n{\"at_ms\":"] {
            assert!(firing.contains(expected), "{expected}: {firing}");
        }
        assert!(!firing.contains("FANWHEEL_"), "settings are not for the command: {firing}");
        for foreign in ["socket:", "anon_inode", &log] {
            assert!(!firing.contains(foreign), "{tables}: the command has a {foreign}: {firing}");
        }
        drop(streams);
        let resolved = folder.await_text("out-resolved", "end");
        assert!(resolved.contains("ALERT_STATE=resolved\n"), "{resolved}");
        let reaped = poll_until(SOON, || children(&server).is_empty().then_some(()));
        assert!(reaped.is_some(), "not waited for: {}", children(&server));
    }
}

#[test]
fn a_command_that_fails_is_run_again_and_its_words_are_in_the_log() {
    let folder = Folder::new("alerts-failing");
    let mark = folder.path("tried");
    let script = format!("test -e {mark} && exit 0\n: >{mark}\necho 'no route' >&2\nexit 3\n");
    let command = folder.script("page", &script);
    let config = folder.write("f.toml", &crowd(0));
    let server = Launch::workers(1).set("config", &config).set("alert_command", &command).start();
    let _stream = server.subscribe("topic=a");
    server.await_metric("an alert sent", WITHIN, |metrics| metrics.get("alerts_sent") == 1);
    assert!(server.log().contains("error=\"exit status: 3: no route\""), "{}", server.log());
}

#[test]
fn mail_goes_through_sendmail_with_its_addresses_and_a_head() {
    let folder = Folder::new("alerts-mail");
    let out = folder.path("mail");
    let script = format!("{{ echo \"$@\"; cat; echo; echo end; }} >{out}.part\nmv {out}.part {out}\n");
    let sendmail = folder.script("sendmail", &script);
    let config = folder.write("f.toml", &crowd(0));
    let server = Launch::workers(1)
        .set("config", &config)
        .set("alert_sendmail", &sendmail)
        .set("alert_email_to", "ops@example.org")
        .set("alert_email_to", "root")
        .start();
    let _stream = server.subscribe("topic=a");
    let mail = folder.await_text("mail", "end");
    assert!(mail.starts_with("-i ops@example.org root\nTo: ops@example.org, root\n"), "{mail}");
    let (head, body) = mail.split_once("\n\n").expect("a blank line behind the head");
    assert!(head.contains("\nSubject: [fanwheel] warning alert crowd on "), "{head}");
    assert!(body.contains("the number of open streams is 1, above 0\n") && body.contains("state: firing\n"));
}

#[test]
fn rules_and_destinations_are_reloaded_and_a_bad_file_changes_nothing() {
    let folder = Folder::new("alerts-reload");
    let hook = Hook::start();
    let path = folder.write("f.toml", "");
    let server = Launch::workers(1).set("config", &path).start();
    let _stream = server.subscribe("topic=a");
    let reload = |text: &str, awaited: &str| {
        folder.write("f.toml", text);
        server.signal("HUP");
        let seen = poll_until(SOON, || server.log().contains(awaited).then_some(()));
        assert!(seen.is_some(), "no {awaited}:\n{}", server.log());
    };
    let webhook = format!("alert_webhook = ['http://{}/secret']\n", hook.address);
    reload(&format!("{webhook}{}", crowd(0)), "event=reloaded setting=alerts");
    hook.await_taken("crowd", "firing", WITHIN);
    reload(&format!("{webhook}[[alerts]]\nname = 'crowd'\n"), "event=reload_refused");
    assert_eq!(active(&server), ["crowd"]);
    // The rule is gone, so the alert is over, and its destinations learn that.
    reload(&webhook, "rules=7");
    hook.await_taken("crowd", "resolved", WITHIN);
    assert!(!server.log().contains("secret"), "{}", server.log());
}

#[test]
fn bad_rules_are_refused_in_one_line_with_code_2_and_good_ones_are_shown() {
    let folder = Folder::new("alerts-config");
    let rows = [
        ("[[alerts]]\nname = 'x'\nmetric = 'redy'\nbelow = 1\n", "did you mean ready?"),
        (
            "[[alerts]]\nname = 'x'\nmetrik = 'ready'\n",
            ":3: unknown setting metrik of an alert; did you mean metric?",
        ),
        ("[[alerts]]\nname = 'errors'\nseverity = 'loud'\n", "one of info, warning, critical"),
        ("alert_webhook = 'hooks.example/ptarmigan'\n", "http://HOST/PATH or https://HOST/PATH"),
    ];
    for (text, expected) in rows {
        let path = folder.write("f.toml", text);
        for subcommand in ["serve", "config"] {
            let run = Command::new(program()).args([subcommand, "--config", &path]).output();
            let run = run.expect("the program can be run");
            let said = String::from_utf8_lossy(&run.stderr);
            assert_eq!((run.status.code(), said.lines().count()), (Some(2), 1), "{said}");
            assert!(said.contains(expected) && !said.contains("ptarmigan"), "{said}");
        }
    }
    let text = format!("alert_webhook = 'https://h.example/ptarmigan'\n{}", crowd(7));
    let path = folder.write("f.toml", &text);
    let run = Command::new(program()).args(["config", "--config", &path]).output();
    let shown = String::from_utf8(run.expect("the program can be run").stdout).expect("text");
    assert!(shown.contains("name = \"crowd\"\nmetric = \"subscribers_open\"\nabove = 7\n"), "{shown}");
    assert!(shown.contains("https://h.example/***") && !shown.contains("ptarmigan"), "{shown}");
}

#[test]
fn messages_that_nobody_took_are_counted_at_the_end() {
    let folder = Folder::new("alerts-unsent");
    let config = folder.write("f.toml", &crowd(0));
    let url = format!("http://{}/", crate::harness::free_port());
    let server = Launch::workers(1).set("config", &config).set("alert_webhook", url).start();
    let stream = server.subscribe("topic=a");
    let refused = poll_until(WITHIN, || server.log().contains("event=alert_failed").then_some(()));
    assert!(refused.is_some(), "{}", server.log());
    drop(stream);
    server.signal("TERM");
    assert_eq!(server.exit(WITHIN).and_then(|status| status.code()), Some(0), "it is not waited for");
    assert!(server.log().contains("event=alerts_unsent messages="), "{}", server.log());
}
