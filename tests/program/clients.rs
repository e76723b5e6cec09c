//! `fanwheel publish` and `fanwheel subscribe` beyond their first use: pipes, TLS, fields, and servers that
//! refuse.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::{Scratch, Server, ended, program, refused, text};

#[test]
fn a_subscriber_ends_when_its_output_is_closed_though_no_event_comes() {
    let server = Server::ready(&[]);
    let mut reader = server.subscribe(&["--raw", "news"]);
    server.streams(1);
    assert!(server.publish(&["news", "one"]).status.success());
    let mut lines = BufReader::new(reader.stdout.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert_eq!(line, "one\n");
    drop(lines);
    assert!(ended(&mut reader).success());
    let mut errors = String::new();
    reader.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert_eq!(errors, "");
}

#[test]
fn a_dash_is_standard_input() {
    let server = Server::ready(&[]);
    let mut command = program();
    command.args(["publish", "--url", &server.control, "news", "-"]);
    let mut publish = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    publish.stdin.take().unwrap().write_all(b"one\n").unwrap();
    assert!(publish.wait_with_output().unwrap().status.success());
    let reader = server.subscribe(&["--raw", "--last", "2", "--count", "1", "news"]);
    assert_eq!(text(&reader.wait_with_output().unwrap().stdout), "one\n");
}

/// Answers each connection with the next of these answers; sends the heads that came.
fn answer_in_turn(
    answers: &'static [&'static str],
    tls: Option<Arc<rustls::ServerConfig>>,
) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (to, heads) = channel();
    thread::spawn(move || {
        for answer in answers {
            let (socket, _) = listener.accept().unwrap();
            let head = match &tls {
                Some(config) => {
                    let session = rustls::ServerConnection::new(Arc::clone(config)).unwrap();
                    answer_once(rustls::StreamOwned::new(session, socket), answer)
                }
                None => answer_once::<TcpStream>(socket, answer),
            };
            let _ = to.send(head);
        }
    });
    (address, heads)
}

/// Reads a request's head, and its body as far as it comes along; writes the answer and closes.
fn answer_once<Stream: Read + Write>(stream: Stream, answer: &str) -> String {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).unwrap() == 0 {
            break;
        }
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).unwrap();
    stream.get_mut().write_all(answer.as_bytes()).unwrap();
    stream.get_mut().flush().unwrap();
    head
}

const STREAM: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n\
    retry: 50\n\nid: 7-0\ndata: one\n\n";
const ACCEPTED: &str =
    "HTTP/1.1 202 Accepted\r\nContent-Length: 12\r\nConnection: close\r\n\r\n{\"id\":\"7-0\"}";

/// A certificate for 127.0.0.1 of an authority in `ca`; none when there is no openssl.
fn certificate(ca: &Scratch) -> Option<Arc<rustls::ServerConfig>> {
    let (ca_key, leaf, leaf_key) =
        (Scratch::new("ca.key"), Scratch::new("leaf.pem"), Scratch::new("leaf.key"));
    let new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
    let mut authority = Command::new("openssl");
    authority.args(["req", "-x509", "-subj", "/CN=authority", "-keyout", ca_key.arg(), "-out", ca.arg()]);
    let mut server = Command::new("openssl");
    server.args(["req", "-x509", "-subj", "/CN=server", "-CA", ca.arg(), "-CAkey", ca_key.arg()]);
    server.args(["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE"]);
    server.args(["-keyout", leaf_key.arg(), "-out", leaf.arg()]);
    for command in [&mut authority, &mut server] {
        let Ok(output) = command.args(new_key).output() else {
            println!("skipped: openssl is not installed");
            return None;
        };
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    Some(tls_config(&leaf, &leaf_key))
}

fn tls_config(chain: &Scratch, key: &Scratch) -> Arc<rustls::ServerConfig> {
    let chain = CertificateDer::pem_file_iter(&chain.0).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(&key.0).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Arc::new(config.unwrap().with_no_client_auth().with_single_cert(chain, key).unwrap())
}

#[test]
fn a_certificate_that_signs_itself_is_trusted_when_it_is_named() {
    let (named, key) = (Scratch::new("self.pem"), Scratch::new("self.key"));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
    openssl.args(["-days", "2", "-subj", "/CN=server", "-addext", "subjectAltName=IP:127.0.0.1"]);
    let Ok(output) = openssl.args(["-keyout", key.arg(), "-out", named.arg()]).output() else {
        println!("skipped: openssl is not installed");
        return;
    };
    assert!(output.status.success(), "{}", text(&output.stderr));
    let (address, _heads) = answer_in_turn(&[ACCEPTED, STREAM], Some(tls_config(&named, &key)));
    for words in [&["publish", "news", "one"][..], &["subscribe", "news", "--count", "1"]] {
        let mut command = program();
        command.args(words).args(["--url", &format!("https://{address}"), "--ca-file", named.arg()]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

#[test]
fn both_clients_speak_tls_and_send_the_fields_they_are_given() {
    let ca = Scratch::new("ca.pem");
    let Some(tls) = certificate(&ca) else { return };
    let (address, heads) = answer_in_turn(&[ACCEPTED, STREAM], Some(tls));
    let run = |words: &[&str]| {
        let mut command = program();
        command.args(&words[..1]).args(["--url", &format!("https://{address}/front")]).args(&words[1..]);
        command.args(["-H", "Authorization: Bearer b", "--header", "X-Trace:7"]);
        let output = command.env("SSL_CERT_FILE", ca.arg()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let head = heads.recv().unwrap();
        for field in ["authorization: Bearer b\r\n", "x-trace: 7\r\n"] {
            assert!(head.contains(field), "{head}");
        }
        (head, text(&output.stdout))
    };
    let (head, printed) = run(&["publish", "news", "one"]);
    assert!(head.starts_with("POST /front/publish?topic=news HTTP/1.1\r\n"), "{head}");
    assert_eq!(printed, "7-0\n");
    let (head, printed) = run(&["subscribe", "news", "--raw", "--count", "1"]);
    assert!(head.starts_with("GET /front/events?topic=news"), "{head}");
    assert_eq!(printed, "one\n");
}

#[test]
fn a_certificate_of_a_named_file_is_trusted() {
    let (ca, other) = (Scratch::new("named.pem"), Scratch::new("named-other.pem"));
    let (Some(tls), Some(_)) = (certificate(&ca), certificate(&other)) else { return };
    let (address, _heads) = answer_in_turn(&[ACCEPTED, STREAM], Some(tls));
    for words in [&["publish", "news", "one"][..], &["subscribe", "news", "--count", "1"]] {
        let mut command = program();
        command.args(words).args(["--url", &format!("https://{address}"), "--ca-file", ca.arg()]);
        let output = command.env("SSL_CERT_FILE", other.arg()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    let mut command = program();
    command.args(["publish", "--url", "https://127.0.0.1:1", "--ca-file", "Cargo.toml", "news", "one"]);
    let line = refused(&mut command, 1);
    assert!(line.contains("cannot read trusted certificates from Cargo.toml"), "{line}");
}

#[test]
fn both_clients_reach_a_server_on_its_socket_files() {
    let (public, control) = (Scratch::new("public.sock"), Scratch::new("control.sock"));
    let [public_url, control_url] = [&public, &control].map(|socket| format!("unix:{}", socket.arg()));
    let _server = Server::ready(&["--listen", &public_url, "--control", &control_url]);
    let mut reader = program();
    reader.args(["subscribe", "--url", &public_url, "--raw", "--count", "3", "news"]);
    let reader = reader.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut publish = program();
    publish.args(["publish", "--url", &control_url, "news"]);
    let mut publish = publish.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = publish.stdin.take().unwrap();
    // Lines go out on one connection; the reader may come a little later, so it is given all it needs.
    let mut reader = reader;
    while reader.try_wait().unwrap().is_none() {
        lines.write_all(b"one\n").unwrap();
        thread::sleep(std::time::Duration::from_millis(50));
    }
    drop(lines);
    assert!(publish.wait_with_output().unwrap().status.success());
    assert_eq!(text(&reader.wait_with_output().unwrap().stdout), "one\none\none\n");
    let line = refused(program().args(["publish", "--url", "unix:/nonexistent.sock", "news", "one"]), 1);
    assert!(line.starts_with("fanwheel: no answer from unix:/nonexistent.sock: No such file"), "{line}");
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_refused_in_one_line() {
    let (ca, other) = (Scratch::new("unknown.pem"), Scratch::new("other.pem"));
    let (Some(tls), Some(_)) = (certificate(&ca), certificate(&other)) else { return };
    let (address, _heads) = answer_in_turn(&[ACCEPTED], Some(tls));
    let mut command = program();
    command.args(["publish", "--url", &format!("https://{address}"), "news", "one"]);
    let line = refused(command.env("SSL_CERT_FILE", other.arg()), 1);
    assert!(line.contains("the certificate of 127.0.0.1") && line.contains("--ca-file FILE"), "{line}");
    let line = refused(command.env("SSL_CERT_FILE", "/nonexistent.pem"), 1);
    assert!(line.contains(" /nonexistent.pem: "), "{line}");
    assert!(line.contains("; name a file with --ca-file or SSL_CERT_FILE"), "{line}");
    let server = Server::ready(&[]);
    let over_tls = server.control.replace("http://", "https://");
    let mut command = program();
    command.args(["publish", "--url", &over_tls, "--ca-file", ca.arg(), "news", "one"]);
    let line = refused(&mut command, 1);
    assert!(line.contains("is no TLS: is it http:// rather than https://?"), "{line}");
}

#[test]
fn a_redirect_is_told_and_not_followed() {
    const MOVED: &str = "HTTP/1.1 301 Moved\r\nLocation: https://example.org/\r\nContent-Length: 0\r\n\r\n";
    let (address, _heads) = answer_in_turn(&[MOVED], None);
    let line = refused(program().args(["publish", "--url", &format!("http://{address}"), "news", "one"]), 1);
    assert_eq!(line, "fanwheel: refused with 301: moved to https://example.org/\n");
}

#[test]
fn the_newest_events_are_asked_for_until_an_id_has_come() {
    const BUSY: &str = "HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n";
    const QUIET: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n\
        retry: 50\n\n";
    let (address, heads) = answer_in_turn(&[BUSY, QUIET, STREAM, STREAM], None);
    let mut command = program();
    command.args(["subscribe", "--url", &format!("http://{address}"), "--last", "3", "--count", "2", "news"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let heads: Vec<String> = heads.iter().collect();
    let asked: Vec<bool> = heads.iter().map(|head| head.contains("&last=3 ")).collect();
    assert_eq!(asked, [true, true, true, false]);
    assert!(heads.iter().all(|head| head.contains("&prime=1")), "{heads:?}");
}

#[test]
fn a_stream_cut_before_its_first_event_goes_on_where_it_began() {
    const PRIMED: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n\
        :ok\nretry: 50\nid: 6-1\n\n";
    let (address, heads) = answer_in_turn(&[PRIMED, STREAM], None);
    let mut command = program();
    command.args(["subscribe", "--url", &format!("http://{address}"), "--last", "3", "--count", "1", "news"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(text(&output.stdout).lines().count(), 1, "the position is no event");
    let heads: Vec<String> = heads.iter().collect();
    assert!(heads[1].contains("last-event-id: 6-1\r\n") && !heads[1].contains("last="), "{heads:?}");
}
