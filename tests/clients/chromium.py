"""EventSource in a real browser: headless Chromium.

Owns a page server; the scenarios see the same shape as of any other client.
"""

import http.server
import threading
import time

import driver
from adapters import Client, Failure

PAGE = b"""<!doctype html><meta charset="utf-8"><title>fanwheel client test</title><script>
const records = [], sources = [];
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
</script>"""


class Page(http.server.BaseHTTPRequestHandler):
    """Answers every request with the page."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, *_):
        pass


class Browser(driver.Driver):
    """One browser session with the page open; records of all its streams are fetched by one thread."""

    def __init__(self):
        self.pages = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
        threading.Thread(target=self.pages.serve_forever, daemon=True).start()
        self.page_port = self.pages.server_address[1]
        self.clients = {}
        self.closed = False
        super().__init__()
        self.visit("127.0.0.1")
        threading.Thread(target=self._collect, daemon=True).start()

    def visit(self, host):
        """Opens the page under a host name, which makes its origin."""
        with self.lock:
            self.clients.clear()
            self._ask("/url", {"url": f"http://{host}:{self.page_port}/"})

    def follow(self, client, url):
        """Opens an EventSource whose records go to `client`."""
        with self.lock:
            client.stream = self._run("return open(arguments[0], arguments[1])", [url, ["likes", "fanwheel.gap"]])
            self.clients[client.stream] = client

    def forget(self, client):
        """Closes its EventSource."""
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


class Chromium(Client):
    """An EventSource in the page."""

    name = "chromium"
    browser = None

    @classmethod
    def missing(cls):
        """Why this client cannot run here, or nothing."""
        return driver.missing()

    @classmethod
    def prepare(cls):
        """Starts the browser, once for all scenarios."""
        cls.browser = Browser()

    @classmethod
    def finish(cls):
        """Ends it."""
        if cls.browser:
            cls.browser.close()

    def start(self, url):
        """Opens an EventSource on `url`."""
        self.browser.follow(self, url)

    def stop(self):
        """Closes it."""
        self.browser.forget(self)
