"""One fanwheel process under test: starts it on free ports, publishes to it, ends it.

Owns nothing but that process; knows no client.
"""

import http.client
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from urllib.parse import quote

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TARGET = os.environ.get("CARGO_TARGET_DIR") or os.path.join(ROOT, "target")
BINARY = os.environ.get("SERVER_BIN") or os.path.join(TARGET, "debug", "fanwheel")
#: Time for a start, an answer and an end: far more than they take, because only a failing run waits so long.
PATIENCE_SECONDS = 60
#: Settings that the tester's own environment may hold do not belong to these servers.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("FANWHEEL_")}


def free_port():
    """A port that nobody listens on now. Somebody may take it before we do, so a start is tried again."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A running server. `settings` are those of the command line, with underscores."""

    def __init__(self, **settings):
        self.settings = {"workers": 2, "heartbeat_ms": 150, "history_events": 8, "retry_ms": 150,
                         "drain_ms": 300, "control": "", **settings}
        self.log = tempfile.TemporaryFile()
        self.process = None
        for attempt in range(3):
            self.port, self.control_port = free_port(), free_port()
            try:
                self.start()
                return
            except RuntimeError:
                if attempt == 2:
                    raise

    def start(self):
        """Starts on the ports chosen before; a restarted server is found where the last one was."""
        settings = {**self.settings, "listen": f"127.0.0.1:{self.port}",
                    "control": f"127.0.0.1:{self.control_port}"}
        command = [BINARY, "serve"]
        for name, value in settings.items():
            command += ["--" + name.replace("_", "-"), str(value)]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                        env=ENVIRONMENT)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self._healthy():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"the server did not start: {self.log_tail()}")
            time.sleep(0.02)

    def _healthy(self):
        # A public listener that requires a PROXY header answers nobody without one.
        guarded = self.settings.get("proxy_protocol") == "require"
        try:
            return self.request("GET", "/healthz", port=None if guarded else self.port)[0] == 200
        except OSError:
            return False

    def request(self, method, path, body=None, headers=None, port=None):
        """One request on a connection of its own: status and body."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.control_port, timeout=PATIENCE_SECONDS)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def publish(self, topic, text, event=None):
        """Publishes and returns the id of the event."""
        path = f"/publish?topic={quote(topic)}" + (f"&event={quote(event)}" if event else "")
        status, body = self.request("POST", path, body=text.encode())
        if status != 202:
            raise RuntimeError(f"publish answered {status}: {body!r}")
        return json.loads(body)["id"]

    def url(self, topic, port=None):
        """The address of a topic, through another port if given."""
        return f"http://127.0.0.1:{port or self.port}/events?topic={quote(topic)}"

    def drain(self):
        """Asks for a drain and returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=PATIENCE_SECONDS)

    def kill(self):
        """Ends the process without any courtesy."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def log_tail(self):
        """The end of what the server wrote, for a failure's report."""
        self.log.seek(0)
        return self.log.read()[-600:].decode(errors="replace")
