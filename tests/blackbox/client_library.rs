//! The client library of pages: the module that the server hands out.

use crate::harness::{Launch, Server, assert_problem};

#[test]
fn a_page_of_any_origin_loads_the_library_and_keeps_it_by_its_version() {
    let server = Launch::workers(1).set("cors_origins", "https://listed.test").start();
    let first = Server::get_from(server.public, "/client.js");
    assert_eq!((first.status, first.header("content-type")), (200, Some("text/javascript; charset=utf-8")));
    let on_disk = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/js/fanwheel.min.js");
    let on_disk = std::fs::read_to_string(on_disk).expect("the library");
    assert_eq!(first.text(), on_disk);
    let tag = first.header("etag").expect("a tag").to_owned();
    let rows = [
        ("/client.js".to_owned(), "no-cache"),
        ("/client.js?v=0".to_owned(), "no-cache"),
        (format!("/client.js?v={}", tag.trim_matches('"')), "public, max-age=31536000, immutable"),
    ];
    for (path, cache) in rows {
        let answer = Server::get_from(server.public, &path);
        assert_eq!((answer.status, answer.header("cache-control")), (200, Some(cache)), "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{path}");
        assert_eq!(answer.header("cross-origin-resource-policy"), Some("cross-origin"), "{path}");
        assert_eq!(answer.header("access-control-allow-credentials"), None, "{path}");
    }
    let again = format!("GET /client.js HTTP/1.1\r\nHost: a\r\nIf-None-Match: {tag}\r\n\r\n");
    assert_eq!(server.connect().ask(again).status, 304);
    assert_eq!(server.get("/client.js").status, 200, "the control listener has it, too");
    let post = "POST /client.js HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    assert_problem("POST", &server.connect().ask(post), &[405]);
    assert_problem("two versions", &Server::get_from(server.public, "/client.js?v=1&v=2"), &[400]);
}
