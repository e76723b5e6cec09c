//! Clients that send a whole body before they read: they see the refusal of one that is too large, however
//! long the rest takes.

use crate::harness::{Launch, Server, ms};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

/// Bytes of a body that is far too large.
const BODY_BYTES: usize = 5_000_000;

/// Standard clients of Python; those that are not installed say so.
const CLIENTS: &str = r#"
import http.client, sys, urllib.error, urllib.request
port, size = int(sys.argv[1]), int(sys.argv[2])
url, body = f"http://127.0.0.1:{port}/publish?topic=a", b"x" * size

def pieces():
    for start in range(0, size, 100_000):
        yield body[start:start + 100_000]

def plain(data):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("POST", "/publish?topic=a", body=data, encode_chunked=not isinstance(data, bytes),
                       headers={} if isinstance(data, bytes) else {"Transfer-Encoding": "chunked"})
    return connection.getresponse().status

def opened():
    try:
        return urllib.request.urlopen(url, data=body, timeout=20).status
    except urllib.error.HTTPError as error:
        return error.code

print("http.client", plain(body))
print("http.client, chunked", plain(pieces()))
print("urllib", opened())
try:
    import requests
    print("requests", requests.post(url, data=body, timeout=20).status_code)
except ImportError:
    pass
"#;

fn server() -> Server {
    Launch::workers(2).set("publish_bytes_max", 1_000).start()
}

#[test]
fn clients_that_send_first_see_the_413() {
    let server = server();
    for (listener, status) in [(server.control, "413"), (server.public, "403")] {
        let mut python = Command::new("python3");
        python.args(["-c", CLIENTS, &listener.port().to_string(), &BODY_BYTES.to_string()]);
        let Ok(output) = python.output() else {
            println!("skipped: no python3");
            return;
        };
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
        assert!(told.lines().count() >= 3, "{told}");
        assert!(told.lines().all(|line| line.ends_with(status)), "{told}");
    }
}

#[test]
fn a_slow_sender_is_read_on_and_a_silent_one_is_not() {
    let server = server();
    let mut stream = TcpStream::connect(server.control).expect("it listens");
    let head = format!("Host: {}\r\nContent-Length: {BODY_BYTES}\r\n\r\n", server.control);
    stream.write_all(format!("POST /publish?topic=a HTTP/1.1\r\n{head}").as_bytes()).expect("just opened");
    for _ in 0..8 {
        stream.write_all(&[b'x'; 400_000]).expect("it reads on");
        std::thread::sleep(ms(600));
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the answer, then an end");
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    // Silence ends it; then a write meets a reset.
    std::thread::sleep(ms(3_000));
    let refused = (0..10).any(|_| {
        std::thread::sleep(ms(20));
        stream.write_all(b"x").is_err()
    });
    assert!(refused, "still open after a silence");
}
