"""What only a browser can show: origins, preflights, and pages that mean harm."""

import hashlib
import os
import tempfile
import time

from adapters import Failure
from scenarios import expect

#: Reads a stream by `fetch` until a text has come; the headers make the browser ask for permission first.
FETCH = """
const [url, headers, text] = arguments;
return (async () => {
  const abort = new AbortController();
  setTimeout(() => abort.abort(), 30000);
  const answer = await fetch(url, { headers, signal: abort.signal });
  const reader = answer.body.getReader(), decoder = new TextDecoder();
  let seen = "";
  while (!seen.includes(text)) {
    const { done, value } = await reader.read();
    if (done) break;
    seen += decoder.decode(value, { stream: true });
  }
  abort.abort();
  return seen;
})().catch((error) => "failed: " + error);
"""

#: Tries to publish as a hostile page would: with every kind of request that needs no permission.
ATTACK = """
const [url] = arguments;
const types = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"];
const tries = types.map((type) =>
  fetch(url, { method: "POST", mode: "no-cors", body: "harm", headers: { "content-type": type } }));
tries.push(fetch(url, { method: "POST", mode: "no-cors", body: new Blob(["harm"]) }));
tries.push(new Promise((done) => done(navigator.sendBeacon(url, "harm"))));
const form = document.createElement("form");
form.method = "post"; form.action = url; form.target = "frame";
const frame = document.createElement("iframe");
frame.name = "frame";
document.body.append(frame, form);
form.submit();
return Promise.allSettled(tries).then((settled) => settled.length);
"""


#: Opens a stream under a cookie of the page, and says what becomes of it.
WITH_COOKIE = """
const [url, cookie, withCredentials] = arguments;
document.cookie = cookie;
return new Promise((done) => {
  const source = new EventSource(url, { withCredentials });
  const end = (text) => { source.close(); done(text); };
  source.onmessage = ({ data }) => end(data);
  source.onerror = () => source.readyState === EventSource.CLOSED && end("refused");
  setTimeout(() => end("quiet"), 30000);
});
"""

#: Publishes as a page may without permission; the browser adds its cookies.
PUBLISH_WITH_COOKIE = """
const [url] = arguments;
const options = { method: "POST", mode: "no-cors", credentials: "include", body: "harm" };
return fetch(url, options).then((answer) => answer.type, String);
"""

#: The token that the cookie holds.
TOKEN = "token-of-a-browser-session"


def fetch_with_headers(world):
    """A page of another origin may read by fetch, with the headers that fetch-based clients send."""
    ids = world.publish("one", "two")
    headers = {"Last-Event-ID": ids[0], "Cache-Control": "no-cache", "Authorization": "Bearer none"}
    seen = world.client_class.browser.run(FETCH, world.server.url(world.topic), headers, "data: two")
    if "data: two" not in seen or "data: one" in seen:
        raise Failure(f"read {seen!r}")


def origins(world):
    """With origins configured, their pages get the events and other pages do not."""
    browser = world.client_class.browser
    allowed = f"http://localhost:{browser.page_port}"
    server, _ = world.serve(cors_origins=allowed)
    server.publish(world.topic, "before")
    for host, may_read in (("localhost", True), ("127.0.0.1", False)):
        browser.visit(host)
        client = world.client(server.url(world.topic))
        if may_read:
            client.wait_open()
            server.publish(world.topic, "seen")
            client.wait_events(1)
        else:
            client.wait("refusal", lambda: client.count("error") >= 1)
            server.publish(world.topic, "unseen")
            time.sleep(0.3)
            expect("messages and opens", (client.texts(), client.count("open")), ([], 0))


def hostile_page(world):
    """No page can publish through the operator's browser."""
    client = world.client()
    client.wait_open()
    target = f"http://127.0.0.1:{world.server.control_port}/publish?topic={world.topic}"
    tries = world.client_class.browser.run(ATTACK, target)
    expect("tries", tries, 5)
    time.sleep(0.3)
    world.publish("from the operator")
    client.wait_events(1)
    expect("messages", client.texts(), ["from the operator"])


def serve_by_cookie(world, origin):
    """A server whose streams and publishers need the token, which may come in a cookie."""
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    with tempfile.NamedTemporaryFile("w", suffix=".toml", delete=False) as file:
        file.write(f"subscribe = 'token'\ntoken_cookie = 'session'\n[[token]]\nname = 'browser'\n"
                   f"hash = 'sha256:{digest}'\nsubscribe = ['**']\npublish = ['**']\n")
    world.closers.append(lambda: os.unlink(file.name))
    return world.serve(config=file.name, cors_origins=origin)[0]


def cookies(world):
    """A listed origin reads with its cookie, and another one neither reads nor publishes with it."""
    browser = world.client_class.browser
    ours = f"http://localhost:{browser.page_port}"
    server = serve_by_cookie(world, ours)
    foreign = serve_by_cookie(world, "https://app.example")
    # A cookie is for a host, whatever its port, so it comes along with requests to the server.
    cookie = f"session={TOKEN}; SameSite=Lax"
    for one in (server, foreign):
        one.publish(world.topic, "kept")
    events = f"/events?topic={world.topic}&last=1"
    rows = [
        (server, "localhost", True, "kept"),
        (server, "localhost", False, "refused"),
        (server, "127.0.0.1", True, "refused"),
        (foreign, "localhost", True, "refused"),
    ]
    for one, host, with_credentials, expected in rows:
        browser.visit(host)
        url = f"http://localhost:{one.port}{events}"
        got = browser.run(WITH_COOKIE, url, cookie, with_credentials)
        expect(f"a stream for {host}, credentials {with_credentials}", got, expected)
    browser.visit("localhost")
    for one, expected in ((foreign, ["kept"]), (server, ["kept", "harm"])):
        target = f"http://localhost:{one.port}/publish?topic={world.topic}"
        expect("the page learns nothing", browser.run(PUBLISH_WITH_COOKIE, target), "opaque")
        poll = f"/events?topic={world.topic}&last=9&wait_ms=1"
        status, body = one.request("GET", poll, headers={"Authorization": f"Bearer {TOKEN}"}, port=one.port)
        texts = [line[6:] for line in body.decode().splitlines() if line.startswith("data: ")]
        expect("a poll and what it brings", (status, texts), (200, expected))


ALL = [fetch_with_headers, hostile_page, origins, cookies]
