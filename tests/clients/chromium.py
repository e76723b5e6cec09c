"""EventSource in a real browser: headless Chromium.

Owns a page server; the scenarios see the same shape as of any other client.
"""

import http.server
import os
import threading
import time

import driver
from adapters import HERE, Client, Failure

PAGE = b"""<!doctype html><meta charset="utf-8"><title>fanwheel client test</title><script>
window.records = [], window.sources = [];
function record(stream, kind, rest) { records.push({ stream, kind, ...rest }); }
function open(url, names) {
  const stream = sources.length, source = new EventSource(url);
  sources.push(source);
  source.onopen = () => record(stream, "open");
  source.onerror = () => record(stream, "error", { state: source.readyState });
  for (const name of ["message", ...names])
    source.addEventListener(name, (event) =>
      record(stream, "event", { event: event.type, data: event.data, id: event.lastEventId }));
  return stream;
}
</script><script type="module">
import { fetchEventSource } from "/package/index";
window.openFetch = (url) => {
  const stream = sources.length, abort = new AbortController();
  sources.push({ close: () => abort.abort() });
  fetchEventSource(url, {
    signal: abort.signal,
    openWhenHidden: true,
    async onopen(response) {
      if (response.status !== 200) throw new Error(`status ${response.status}`);
      record(stream, "open");
    },
    onmessage: (message) =>
      record(stream, "event", { event: message.event || "message", data: message.data, id: message.id }),
    // Without this the package takes an ended stream for the end of all.
    onclose: () => { throw new Error("ended"); },
    onerror: (error) => record(stream, "error", { text: String(error) }),
  });
  return stream;
};
</script><script type="module">
import { connect } from "/client.js";
const connectWith = (options) => (url, names) => {
  const stream = sources.length, address = new URL(url), { searchParams } = address;
  const topics = searchParams.getAll("topic"), events = searchParams.getAll("event");
  searchParams.delete("topic");
  searchParams.delete("event");
  const client = connect(address, { topics, events, ...options });
  sources.push(client);
  client.on("fanwheel.state", ({ state }) => {
    if (state === "open") record(stream, "open");
    if (state === "waiting") record(stream, "error", { state: 0 });
    if (state === "closed") record(stream, "error", { state: 2 });
  });
  for (const name of ["message", ...names])
    client.on(name, ({ type, data, id }) => record(stream, "event", { event: type, data, id }));
  return stream;
};
window.connectLibrary = connect;
window.openLibrary = connectWith({ clock: false });
window.openLibrarySource = connectWith({ transport: "eventsource" });
window.openLibraryShared = connectWith({ share: true, clock: false });
</script>"""

#: The project's own library, as it is handed out.
LIBRARY = os.path.join(os.path.dirname(os.path.dirname(HERE)), "clients", "js", "fanwheel.min.js")
#: The npm package, as it is published.
PACKAGE = os.path.join(HERE, "node", "node_modules", "@microsoft", "fetch-event-source", "lib", "esm")


class Page(http.server.BaseHTTPRequestHandler):
    """Answers every request with the page, but for the library and the modules of the package."""

    def do_GET(self):
        kind, body = "text/html", PAGE
        if self.path == "/client.js":
            kind, body = "text/javascript", open(LIBRARY, "rb").read()
        if self.path.startswith("/package/"):
            # Its modules name each other without an ending.
            module = os.path.basename(self.path).removesuffix(".js") + ".js"
            path = os.path.join(PACKAGE, module)
            kind, body = "text/javascript", open(path, "rb").read() if os.path.exists(path) else b""
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Records:
    """A browser session with the page open; records of all its streams are fetched by one thread. A driver stands
    behind it."""

    def __init__(self, host="127.0.0.1"):
        self.pages = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
        threading.Thread(target=self.pages.serve_forever, daemon=True).start()
        self.page_port = self.pages.server_address[1]
        self.clients = {}
        self.closed = False
        # A name that is not `localhost` makes an origin that is not trustworthy: no `Sec-Fetch-*` over plain
        # HTTP (Fetch Metadata §2).
        super().__init__([] if host[0].isdigit() else [host])
        self.visit(host)
        threading.Thread(target=self._collect, daemon=True).start()

    def visit(self, host):
        """Opens the page under a host name, which makes its origin."""
        with self.lock:
            self.clients.clear()
            self._open(f"http://{host}:{self.page_port}/")

    def follow(self, client, url, opener):
        """Opens a stream whose records go to `client`."""
        with self.lock:
            script = "return window[arguments[0]](arguments[1], arguments[2])"
            client.stream = self._run(script, [opener, url, ["likes", "fanwheel.gap"]])
            self.clients[client.stream] = client

    def forget(self, client):
        """Closes its stream."""
        self.run("sources[arguments[0]]?.close()", client.stream)

    def _collect(self):
        while not self.closed:
            with self.lock:
                try:
                    records = self._run("return records.splice(0)")
                except (Failure, OSError):
                    records = []
                for record in records:
                    if client := self.clients.get(record.pop("stream")):
                        client.add(record)
            time.sleep(0.03)

    def close(self):
        """Ends the browser, its driver and the page server."""
        self.closed = True
        super().close()
        self.pages.shutdown()


class Browser(Records, driver.Driver):
    """The same in Chromium."""


class Chromium(Client):
    """An EventSource in the page."""

    name = "chromium"
    is_browser = True
    host = "127.0.0.1"
    browser = None
    make_browser = Browser
    #: The page's function that opens a stream.
    opener = "open"

    @classmethod
    def missing(cls):
        """Why this client cannot run here, or nothing."""
        return driver.missing()

    @classmethod
    def prepare(cls):
        """Starts the browser, once for all scenarios."""
        cls.browser = cls.make_browser(cls.host)

    @classmethod
    def finish(cls):
        """Ends it."""
        if cls.browser:
            cls.browser.close()

    def start(self, url):
        """Opens a stream on `url`."""
        self.browser.follow(self, url.replace("127.0.0.1", self.host), self.opener)

    def stop(self):
        """Closes it."""
        self.browser.forget(self)


class ChromiumByName(Chromium):
    """An EventSource in a page of plain HTTP under a host name, as in many a company's network."""

    name = "chromium-plain-http"
    host = "fanwheel.test"


class ChromiumFetch(Chromium):
    """`@microsoft/fetch-event-source` in a page."""

    name = "chromium-fetch"
    is_browser = False
    takes_id_with_event = False
    takes_position = False
    opener = "openFetch"

    @staticmethod
    def can_hold(text):
        """It drops empty lines at the beginning of the data."""
        return not text.startswith("\n")

    @classmethod
    def missing(cls):
        return super().missing() or (None if os.path.isdir(PACKAGE) else "its npm package is not installed")


class ChromiumLibrary(Chromium):
    """The project's own library in a page."""

    name = "chromium-library"
    opener = "openLibrary"


class ChromiumLibrarySource(Chromium):
    """The same over an EventSource. The clock tells it its position."""

    name = "chromium-library-source"
    opener = "openLibrarySource"


class ChromiumLibraryShared(Chromium):
    """The same over a connection that tabs share, in a page without Web Locks."""

    name = "chromium-library-shared"
    opener = "openLibraryShared"
    host = "fanwheel.test"
