"""EventSource in a real browser: headless Chromium, driven over chromedriver's plain HTTP protocol.

Owns the two processes and a page server; the scenarios see the same shape as of any other client.
"""

import http.client
import http.server
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time

from adapters import Client, Failure

ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync",
             "--no-proxy-server"]

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


class Browser:
    """One browser session with the page open; records of all its streams are fetched by one thread."""

    def __init__(self):
        self.pages = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
        threading.Thread(target=self.pages.serve_forever, daemon=True).start()
        self.page_port = self.pages.server_address[1]
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.driver = subprocess.Popen(["chromedriver", "--port=0"], stdin=subprocess.DEVNULL,
                                       stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                       start_new_session=True)
        self.session = None
        self.lock = threading.Lock()
        self.clients = {}
        try:
            self._open_session()
        except Exception:
            self.close()
            raise
        self.closed = False
        threading.Thread(target=self._collect, daemon=True).start()

    def _open_session(self):
        for line in self.driver.stdout:
            if b"started successfully on port" in line:
                self.driver_port = int(line.split()[-1].rstrip(b"."))
                break
        else:
            raise Failure("chromedriver did not start")
        # What it says later must not fill the pipe.
        threading.Thread(target=self.driver.stdout.read, daemon=True).start()
        options = {"args": [*ARGUMENTS, f"--user-data-dir={self.profile.name}"],
                   "binary": shutil.which("chromium")}
        capabilities = {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}
        self.session = self._call("POST", "/session", {"capabilities": capabilities})["sessionId"]
        self.visit("127.0.0.1")

    def _call(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.driver_port, timeout=30)
        try:
            connection.request(method, path, body=None if body is None else json.dumps(body))
            value = json.loads(connection.getresponse().read())["value"]
        finally:
            connection.close()
        if isinstance(value, dict) and "error" in value:
            raise Failure(f"chromedriver: {value['error']}: {value.get('message', '')[:200]}")
        return value

    def visit(self, host):
        """Opens the page under a host name, which makes its origin."""
        with self.lock:
            self.clients.clear()
            self._call("POST", f"/session/{self.session}/url", {"url": f"http://{host}:{self.page_port}/"})

    def run(self, script, *arguments):
        """Runs a function body in the page; a promise it returns is awaited."""
        with self.lock:
            return self._run(script, arguments)

    def _run(self, script, arguments=()):
        body = {"script": script, "args": list(arguments)}
        return self._call("POST", f"/session/{self.session}/execute/sync", body)

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
        try:
            with self.lock:
                if self.session:
                    self._call("DELETE", f"/session/{self.session}")
        except (Failure, OSError):
            pass
        # The browser, if it outlived its session, is in the driver's own process group.
        os.killpg(self.driver.pid, signal.SIGKILL)
        self.driver.wait()
        self.pages.shutdown()
        self.profile.cleanup()


class Chromium(Client):
    """An EventSource in the page."""

    name = "chromium"
    browser = None

    @classmethod
    def missing(cls):
        """Why this client cannot run here, or nothing."""
        absent = [program for program in ("chromium", "chromedriver") if not shutil.which(program)]
        return f"{' and '.join(absent)} not installed" if absent else None

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
