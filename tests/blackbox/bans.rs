//! The list of bans: addresses, networks and owners of credentials, and its reload.

use std::net::Ipv4Addr;

use crate::harness::{
    ConfigFile, Conn, Finish, Launch, SOON, Server, Stream, poll_until, reload, with_1_and_4_workers,
};
use crate::tokens::{ask, bearer, token_table};

const BANNED: Ipv4Addr = Ipv4Addr::new(127, 0, 7, 9);
const READER: &str = "token-of-the-reader";
const EVENT_SOURCE: &str = "Accept: text/event-stream\r\nCache-Control: no-cache\r\n";

fn open(server: &Server, from: Ipv4Addr) -> Conn {
    Conn::open_from(from, server.public, 0).expect("loopback")
}

fn status(server: &Server, from: Ipv4Addr, line: &str, fields: &str) -> u16 {
    open(server, from).ask(format!("{line} HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).status
}

#[test]
fn a_ban_by_sighup_refuses_newcomers_and_ends_live_streams() {
    with_1_and_4_workers(|workers| {
        let list = ConfigFile::new(&format!("bans-{workers}"), "# nobody yet\n");
        let server = Launch::workers(workers).set("ban_file", &list.0).start();
        let mut banned: Vec<Stream> =
            (0..8).map(|_| Stream::open(open(&server, BANNED), "topic=a", "")).collect();
        let mut idle = open(&server, BANNED);
        assert_eq!(idle.ask("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
        let mut other = server.subscribe("topic=a");
        list.write("192.0.2.1\n127.0.7.0/24 # a whole network\n");
        reload(&server, "event=bans_reloaded ranges=2 owners=0");
        for stream in &mut banned {
            assert_eq!(stream.read_to_end(SOON).1, Finish::Clean, "a whole stream");
        }
        assert!(idle.rest(SOON).1.is_ok(), "its kept connection ends");
        assert_eq!(status(&server, BANNED, "GET /events?topic=a", ""), 403);
        assert_eq!(status(&server, BANNED, "GET /events?topic=a", EVENT_SOURCE), 403, "a browser stays away");
        assert_eq!(status(&server, BANNED, "GET /healthz", ""), 403);
        server.publish("a", "x");
        assert_eq!(other.event().data, "x");
        let metrics = server.metrics();
        assert_eq!(metrics.labelled("refused", "address_banned"), 3);
        assert_eq!(metrics.labelled("closed", "operator"), 9);
        // No signal is needed: the file is looked at.
        list.write("");
        let back = poll_until(SOON, || (status(&server, BANNED, "GET /healthz", "") == 200).then_some(()));
        assert!(back.is_some(), "{}", server.log());
        list.write("10.0.0\n");
        let told = poll_until(SOON, || server.log().contains("line 1 must be an address").then_some(()));
        assert!(told.is_some() && status(&server, BANNED, "GET /healthz", "") == 200, "{}", server.log());
    });
}

#[test]
fn clients_behind_a_trusted_proxy_are_banned_one_by_one() {
    let list = ConfigFile::new("bans-proxy", "192.0.2.0/24\n");
    let proxy = Ipv4Addr::new(127, 0, 0, 9);
    let launch = Launch::workers(1).set("ban_file", &list.0).set("trusted_proxies", "127.0.0.9");
    let server = launch.set("proxy_protocol", "accept").start();
    let of = |client: &str| format!("X-Forwarded-For: {client}\r\n");
    assert_eq!(status(&server, proxy, "GET /healthz", &of("192.0.2.77")), 403);
    assert_eq!(status(&server, proxy, "GET /healthz", &of("192.0.3.77")), 200);
    assert_eq!(status(&server, proxy, "GET /healthz", ""), 200, "the proxy itself");
    let mut named = open(&server, proxy);
    let answer = named
        .ask("PROXY TCP4 192.0.2.5 198.51.100.2 5000 443\r\nGET /events?topic=a HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(answer.status, 403);
    let mut live = Stream::open(open(&server, proxy), "topic=a", &of("198.51.100.7"));
    list.write("198.51.100.7\n");
    assert_eq!(live.read_to_end(SOON).1, Finish::Clean, "by its own address");
}

#[test]
fn a_banned_owner_of_a_token_is_refused_as_a_stranger() {
    let table = token_table("reader", READER, "subscribe = ['a']\npublish = ['a']");
    let list = ConfigFile::new("bans-owners", "");
    let file =
        ConfigFile::new("bans-config", &format!("subscribe = 'token'\nban_file = '{}'\n{table}", list.0));
    let server = Launch::workers(1).set("config", &file.0).start();
    let mut stream = server.subscribe_with("topic=a", &bearer(READER));
    list.write("token reader\nsubject somebody\n");
    reload(&server, "event=bans_reloaded ranges=0 owners=2");
    assert_eq!(stream.read_to_end(SOON).1, Finish::Clean, "its stream ends");
    let answer = ask(&server, "GET /events?topic=a", &bearer(READER), "");
    assert_eq!((answer.status, answer.json()["error"].as_str()), (401, Some("unauthorized")));
    assert_eq!(ask(&server, "POST /publish?topic=a", &bearer(READER), "x").status, 401);
    assert_eq!(server.metrics().labelled("refused", "token_banned"), 2);
    list.write("");
    let back = poll_until(SOON, || {
        (ask(&server, "POST /publish?topic=a", &bearer(READER), "x").status == 202).then_some(())
    });
    assert!(back.is_some(), "{}", server.log());
}

#[test]
fn a_list_with_a_mistake_stops_the_start() {
    let list = ConfigFile::new("bans-wrong", "10.0.0.1\n\nfriend 7\n");
    let (code, lines) = Launch::workers(1).set("ban_file", &list.0).refuse();
    assert_eq!((code, lines.len()), (Some(2), 1), "{lines:?}");
    assert!(lines[0].contains("(--ban-file): line 3 must be an address, a network"), "{lines:?}");
}
