//! The control listener: its access rules, health, readiness, metrics, status.

use crate::harness::{Conn, Launch, SOON, Server, Witness, assert_problem, free_port, with_1_and_4_workers};

fn ask(server: &Server, method: &str, path: &str, headers: &str) -> crate::harness::Response {
    let mut conn = Conn::open(server.control);
    conn.ask(format!("{method} {path} HTTP/1.1\r\n{headers}Content-Length: 0\r\n\r\n"))
}

#[test]
fn only_its_own_names_are_accepted_as_host() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).set("control_names", "ops.test").start();
        let port = server.control.port();
        let good = [
            format!("127.0.0.1:{port}"),
            "127.0.0.1".to_owned(),
            format!("localhost:{port}"),
            "localhost".to_owned(),
            format!("[::1]:{port}"),
            format!("ops.test:{port}"),
            "OPS.test".to_owned(),
        ];
        for host in good {
            let answer = ask(&server, "GET", "/metrics", &format!("Host: {host}\r\n"));
            assert_eq!(answer.status, 200, "Host: {host}");
        }
        let mut witness = Witness::of(&server);
        for host in [
            "evil.test",
            "127.0.0.1.nip.io",
            "localhost.evil.test",
            "ops.test.evil.test",
            "evil.test:80",
            "127.0.0.1@evil.test",
            "0x7f000001",
        ] {
            let host_line = format!("Host: {host}\r\n");
            for (method, path) in [("GET", "/metrics"), ("GET", "/status"), ("POST", "/publish?topic=canary")]
            {
                let answer = ask(&server, method, path, &host_line);
                assert_problem(&format!("{method} {path} for {host}"), &answer, &[400, 403, 421]);
            }
        }
        witness.check("foreign hosts");
        let counted = server.metrics();
        assert!(counted.labelled("refused", "wrong_host") >= 18, "{}", counted.shown());
        assert_eq!(counted.labelled("refused", "origin_not_allowed"), 0);
    });
}

#[test]
fn cross_site_browser_requests_are_refused_and_publish_nothing() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let mut witness = Witness::of(&server);
        let host = format!("Host: {}\r\n", server.control);
        let foreign = [
            "Origin: https://evil.test\r\n",
            "Origin: null\r\n",
            "Sec-Fetch-Site: cross-site\r\n",
            "Sec-Fetch-Site: same-site\r\n",
            "Sec-Fetch-Site: cross-site\r\nContent-Type: text/plain\r\n",
            "Sec-Fetch-Site: cross-site\r\nContent-Type: application/x-www-form-urlencoded\r\n",
            "Sec-Fetch-Site: cross-site\r\nContent-Type: multipart/form-data; boundary=x\r\n",
            "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n",
            "Origin: http://127.0.0.1.nip.io\r\n",
            "Origin: http://127.0.0.1:1\r\n",
        ];
        for headers in foreign {
            for path in ["/publish?topic=canary", "/publish/batch", "/drain"] {
                let answer = ask(&server, "POST", path, &format!("{host}{headers}"));
                assert_problem(&format!("{path} with {headers}"), &answer, &[403]);
            }
        }
        witness.check("cross-site posts");
        let counted = server.metrics();
        assert_eq!(counted.labelled("refused", "origin_not_allowed"), 30);
        assert_eq!(counted.labelled("refused", "wrong_host"), 0);
        let own = format!("{host}Origin: http://{}\r\nSec-Fetch-Site: same-origin\r\n", server.control);
        assert_eq!(ask(&server, "POST", "/publish?topic=b", &own).status, 202);
        let typed = format!("{host}Sec-Fetch-Site: none\r\n");
        assert_eq!(ask(&server, "GET", "/metrics", &typed).status, 200);
    });
}

#[test]
fn health_and_readiness_are_on_both_listeners_the_rest_is_not() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        for addr in [server.public, server.control] {
            assert_eq!(Server::get_from(addr, "/healthz").status, 200);
            assert_eq!(Server::get_from(addr, "/readyz").status, 200);
            let mut conn = Conn::open(addr);
            let answer = conn.ask(format!("HEAD /healthz HTTP/1.1\r\nHost: {addr}\r\n\r\n"));
            assert_eq!(answer.status, 200);
            assert_eq!(conn.ask(format!("GET /healthz HTTP/1.1\r\nHost: {addr}\r\n\r\n")).status, 200);
        }
        for path in ["/metrics", "/status", "/topics", "/connections"] {
            let answer = Server::get_from(server.public, path);
            assert!(matches!(answer.status, 403..=405), "{path} on the public listener: {}", answer.status);
        }
        let drain = format!("POST /drain HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\n\r\n", server.public);
        let answer = Conn::open(server.public).ask(drain);
        assert!(matches!(answer.status, 403..=405), "/drain on the public listener: {}", answer.status);
        server.assert_healthy("after /drain on the public listener");
    });
}

#[test]
fn every_control_address_is_the_operators() {
    with_1_and_4_workers(|workers| {
        let second = free_port();
        let launch = Launch::workers(workers).set("control", "127.0.0.1:0").set("control", second);
        let server = launch.start();
        let mut stream = server.subscribe("topic=a");
        for (control, text) in [(server.control, "one"), (second, "two")] {
            assert_eq!(Server::get_from(control, "/metrics").status, 200, "{control}");
            let head =
                format!("POST /publish?topic=a HTTP/1.1\r\nHost: {control}\r\nContent-Length: 3\r\n\r\n");
            assert_eq!(Conn::open(control).ask(format!("{head}{text}")).status, 202, "{control}");
            assert_eq!(stream.event().data, text);
        }
        let expected = format!(" control={},{second} ", server.control);
        assert!(server.log().contains(&expected), "{expected} is not in {}", server.log());
    });
}

#[test]
fn metrics_listener_reads_and_does_nothing_else() {
    with_1_and_4_workers(|workers| {
        let metrics = free_port();
        let launch = Launch::workers(workers).set("metrics_listen", metrics).set("control_names", "ops.test");
        let server = launch.set("connections_max", 4).start();
        let ask = |method: &str, path: &str, fields: &str| {
            Conn::open(metrics).ask(format!("{method} {path} HTTP/1.1\r\n{fields}Content-Length: 0\r\n\r\n"))
        };
        let own = format!("Host: {metrics}\r\n");
        for path in ["/metrics", "/healthz", "/readyz"] {
            assert_eq!(ask("GET", path, &own).status, 200, "{path}");
            assert_eq!(ask("HEAD", path, "Host: ops.test\r\n").status, 200, "{path}");
            for method in ["POST", "DELETE", "OPTIONS"] {
                let answer = ask(method, path, &own);
                assert_problem(&format!("{method} {path}"), &answer, &[405]);
                assert_eq!(answer.header("allow"), Some("GET, HEAD"), "{method} {path}");
            }
            assert_problem(path, &ask("GET", path, "Host: evil.test\r\n"), &[421]);
            let page = format!("{own}Origin: http://evil.test\r\n");
            assert_problem(path, &ask("GET", path, &page), &[403]);
            let link = format!("{own}Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n");
            assert_eq!(ask("GET", path, &link).status, 200, "a link to {path}");
        }
        let mut witness = Witness::of(&server);
        for (method, path) in [
            ("GET", "/"),
            ("GET", "/events?topic=canary"),
            ("GET", "/status"),
            ("GET", "/topics"),
            ("GET", "/connections"),
            ("GET", "/dashboard/main.js"),
            ("POST", "/publish?topic=canary"),
            ("POST", "/publish/batch"),
            ("POST", "/drain"),
            ("DELETE", "/connections/0-1-1"),
            ("DELETE", "/topics?topic=canary"),
            ("GET", "/sse"),
        ] {
            let answer = ask(method, path, &own);
            assert_problem(&format!("{method} {path}"), &answer, &[404]);
            assert_eq!(answer.text().lines().count(), 1, "{}", answer.text());
        }
        witness.check("requests to the metrics listener");
        let log = server.log();
        assert!(log.contains(&format!(" metrics_listen={metrics} ")), "{log}");
        // Neither the limit of connections nor a crowd of subscribers keeps Prometheus out.
        let crowd: Vec<_> = (0..12).map(|_| Conn::open(server.public)).collect();
        assert_eq!(ask("GET", "/metrics", &own).status, 200, "beside {} connections", crowd.len());
    });
}

#[test]
fn control_listener_serves_streams_too() {
    let server = Launch::workers(2).start();
    let mut conn = server.connect_control();
    conn.send(format!("GET /events?topic=a HTTP/1.1\r\nHost: {}\r\n\r\n", server.control));
    let mut stream = crate::harness::Stream::from(conn);
    stream.greeting();
    server.publish("a", "x");
    assert_eq!(stream.event().data, "x");
}

#[test]
fn metrics_parse_and_count_what_happened() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let mut streams: Vec<_> = (0..3).map(|_| server.subscribe("topic=a")).collect();
        server.publish_all("a", (0..5).map(|n| n.to_string()));
        streams.iter_mut().for_each(|stream| drop(stream.data(5)));
        let metrics = server.await_metric("deliveries", SOON, |m| m.get("delivered") == 15);
        assert_eq!(metrics.get("published"), 5);
        assert_eq!(metrics.get("subscribed"), 3);
        assert_eq!(metrics.get("subscribers"), 3);
        for line in metrics.0.lines().filter(|line| !line.is_empty()) {
            let sample = line.rsplit_once(' ').is_some_and(|(_, value)| value.parse::<f64>().is_ok());
            assert!(line.starts_with("# ") || sample, "not a sample: {line:?}");
        }
        drop(streams);
        server.await_metric("streams closed", SOON, |m| m.get("subscribers") == 0);
    });
}

#[test]
fn status_is_json_and_errors_have_the_documented_form() {
    let server = Launch::workers(2).start();
    let status = server.get("/status");
    assert_eq!((status.status, status.header("content-type")), (200, Some("application/json")));
    assert!(status.json().is_object());
    assert_problem("unknown path", &server.get("/nope"), &[404]);
    assert_problem(
        "wrong method",
        &ask(&server, "PUT", "/metrics", &format!("Host: {}\r\n", server.control)),
        &[405],
    );
}

#[test]
fn metrics_do_not_grow_with_topics_or_user_agents() {
    let server = Launch::workers(2).start();
    server.publish("a", "x");
    let before = server.metrics().0.len();
    let mut conn = server.connect_control();
    for n in 0..500 {
        let query = format!("topic=t%22%0C{n}").replace("%0C", "%5C");
        let agent = format!("User-Agent: \"agent {n}\"\r\n");
        assert_eq!(conn.ask(server.publish_bytes(&query, &agent, b"x")).status, 202);
    }
    let after = server.metrics().0;
    assert!(after.len() < before + before / 5 + 200, "{before} bytes, then {}", after.len());
    assert!(!after.contains("agent 7"), "user text in metrics");
}
