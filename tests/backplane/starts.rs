//! Starts: secrets, encryption, and a Redis that is of no use.

use std::path::PathBuf;
use std::process::Command;

use crate::harness::{ConfigFile, Launch, ms};
use crate::redis::Redis;

#[test]
fn a_login_works_and_its_password_is_shown_nowhere() {
    let Some(redis) = Redis::start(&["--requirepass", "geheim-17"]) else { return };
    let address = format!("redis://:geheim-17@127.0.0.1:{}", redis.port);
    let by_address = Launch::workers(1).env("FANWHEEL_BACKPLANE", &address).start();
    let file = ConfigFile::new("backplane-password", "geheim-17\n");
    let by_file = redis.launch(1).set("backplane_password_file", &file.0).start();
    let id = by_address.publish("a", "x");
    assert_eq!(by_file.subscribe("topic=a&last=1").event().id, Some(id));
    for node in [&by_address, &by_file] {
        for path in ["/status", "/settings", "/log", "/metrics", "/"] {
            assert!(!node.get(path).text().contains("geheim"), "{path}");
        }
        assert!(!node.log().contains("geheim"), "{}", node.log());
    }
    let config =
        Command::new(env!("CARGO_BIN_EXE_fanwheel")).arg("config").args(["--backplane", &address]).output();
    let shown = String::from_utf8(config.unwrap().stdout).unwrap();
    assert!(shown.contains("redis://:***@127.0.0.1") && !shown.contains("geheim"), "{shown}");
}

#[test]
fn a_redis_that_is_of_no_use_ends_the_start_with_one_line() {
    let Some(redis) = Redis::start(&["--requirepass", "geheim-18"]) else { return };
    let wrong = format!("redis://:falsch@127.0.0.1:{}", redis.port);
    for (address, words) in [(wrong.as_str(), "authentication failed"), ("redis://127.0.0.1:1", "refused")] {
        let (code, lines) = Launch::workers(1).set("backplane", address).refuse();
        let line = lines.last().unwrap();
        assert_eq!(code, Some(1), "{lines:?}");
        assert!(line.contains("cannot join the fleet") && line.contains(words), "{line}");
        assert!(!line.contains("falsch"), "{line}");
    }
    redis.ask(&["-a", "geheim-18", "HSET", "{fanwheel}:fleet", "version", "2", "last", "5-7"]);
    let right = format!("redis://:geheim-18@127.0.0.1:{}", redis.port);
    let (code, lines) = Launch::workers(1).set("backplane", right).refuse();
    assert_eq!(code, Some(1));
    assert!(lines.last().unwrap().contains("its entries have version 2"), "{lines:?}");
}

#[test]
fn settings_that_cannot_work_end_the_start() {
    let rows: [(&[(&str, &str)], &str); 4] = [
        (&[("backplane", "http://h")], "redis://"),
        (&[("backplane_name", "a{b}")], "without { and }"),
        (&[("backplane_password_file", "/x")], "needs backplane"),
        (&[("backplane", "redis://h"), ("profile", "broadcast-benchmark")], "exclude each other"),
    ];
    for (settings, words) in rows {
        let launch =
            settings.iter().fold(Launch::workers(1), |launch, (name, value)| launch.set(name, value));
        let (code, lines) = launch.refuse();
        assert_eq!(code, Some(2), "{lines:?}");
        assert!(lines.last().unwrap().contains(words), "{lines:?}");
    }
}

#[test]
fn the_way_to_redis_can_be_encrypted() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("backplane-tls");
    std::fs::create_dir_all(&folder).unwrap();
    let (key, cert) = (folder.join("key.pem"), folder.join("cert.pem"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .output();
    if !made.is_ok_and(|made| made.status.success()) {
        println!("skipped: no openssl");
        return;
    }
    let port = crate::harness::free_port().port().to_string();
    let [key, cert] = [key, cert].map(|path| path.display().to_string());
    let options =
        ["--tls-port", &port, "--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-auth-clients", "no"];
    let Some(_redis) = Redis::start(&options) else { return };
    let launch = || Launch::workers(1).set("backplane", format!("rediss://localhost:{port}"));
    let node = launch().env("SSL_CERT_FILE", &cert).start();
    let id = node.publish("a", "x");
    assert_eq!(node.subscribe("topic=a&last=1").event().id, Some(id));
    std::thread::sleep(ms(10));
    let (code, lines) = launch().refuse();
    assert_eq!(code, Some(1), "nobody vouches for it: {lines:?}");
}
