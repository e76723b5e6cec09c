"""The clients under test behind one shape: start on an address, collect records, stop.

A record is `{"kind": "open" | "event" | "error", …}`; an event has `event`, `data` and `id`. Knows how to
run each client, nothing of what is asked of it.
"""

import json
import os
import shutil
import subprocess
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
#: Time for anything that is awaited: only a failing run waits so long.
PATIENCE_SECONDS = 60
TARGET = os.path.join(os.path.dirname(os.path.dirname(HERE)), "target", "clients")


class Failure(Exception):
    """What a client did or left undone."""


class Impossible(Exception):
    """The client cannot pass the scenario whatever a server does; says why."""


def shorten(value):
    """A value as text that fits a report."""
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:200]}…{text[-80:]}"


class Client:
    """Collects records; the base of all clients."""

    #: Remembers the id of an event when the event is dispatched, as the standard wants, not before.
    takes_id_with_event = True
    #: Takes a block that holds an id alone as the standard says: it sets the last id and is no event.
    takes_position = True
    #: The server tells it its position without being asked, as it does with browsers.
    is_browser = False

    @staticmethod
    def can_hold(_text):
        """Whether the client can deliver this text as it is."""
        return True

    def __init__(self):
        self.records = []
        self.changed = threading.Condition()
        self.stopping = False

    def add(self, record):
        """Takes a record from the client's thread."""
        with self.changed:
            self.records.append(record)
            self.changed.notify_all()

    def events(self):
        """The application messages so far."""
        return [record for record in self.records if record["kind"] == "event"]

    def texts(self):
        """Their data."""
        return [event["data"] for event in self.events()]

    def count(self, kind):
        """How many records of a kind there are."""
        return sum(record["kind"] == kind for record in self.records)

    def wait(self, what, condition, seconds=PATIENCE_SECONDS):
        """Waits until `condition()`; fails with what was seen instead."""
        deadline = time.monotonic() + seconds
        with self.changed:
            while not condition():
                left = deadline - time.monotonic()
                if left <= 0:
                    raise Failure(f"no {what} within {seconds} s; last records: "
                                  f"{[shorten(record) for record in self.records[-6:]]}")
                self.changed.wait(min(left, 0.1))

    def wait_open(self, times=1):
        """Waits for the stream to have been opened so many times."""
        self.wait(f"open number {times}", lambda: self.count("open") >= times)

    def wait_events(self, number):
        """Waits for so many events."""
        self.wait(f"event number {number}", lambda: len(self.events()) >= number)


class ProcessClient(Client):
    """A client that is a program of its own and writes its records to standard output."""

    command = ()
    environment = {}

    @classmethod
    def missing(cls):
        """Why this client cannot run here, or nothing."""
        return None if shutil.which(cls.command[0]) else f"{cls.command[0]} is not installed"

    def start(self, url):
        """Starts on `url`; also listens to the names that the scenarios use."""
        self.process = subprocess.Popen(
            [*self.command, url, "likes", "fanwheel.gap"], cwd=HERE, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **self.environment})
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.add(json.loads(line))
        if not self.stopping:
            error = self.process.stderr.read()[-400:].decode(errors="replace")
            self.add({"kind": "exit", "text": error})

    def stop(self):
        """Ends the program."""
        self.stopping = True
        self.process.kill()
        self.process.wait()


class NodeClient(ProcessClient):
    """A Node program in `node/`."""

    @classmethod
    def missing(cls):
        installed = os.path.isdir(os.path.join(HERE, "node", "node_modules"))
        return super().missing() or (None if installed else "its npm packages are not installed")


class EventSourcePackage(NodeClient):
    """The npm package `eventsource`, which looks like a browser to the server."""

    name = "eventsource"
    command = ("node", "node/eventsource.mjs")
    takes_position = False


class EventSourcePackage2(NodeClient):
    """Its second version, which takes a 503 for a reason to come back."""

    name = "eventsource-2"
    command = ("node", "node/eventsource-2.mjs")
    takes_id_with_event = False


class FetchEventSource(NodeClient):
    """`@microsoft/fetch-event-source`."""

    name = "fetch-event-source"
    command = ("node", "node/fetch-event-source.mjs")
    takes_id_with_event = False
    takes_position = False

    @staticmethod
    def can_hold(text):
        """It drops empty lines at the beginning of the data."""
        return not text.startswith("\n")


class Library(ProcessClient):
    """The project's own client library under Node, as it is handed out."""

    name = "library"
    command = ("node", "node/library.mjs")
    is_browser = True


class HttpAgent(NodeClient):
    """Node's own `http` with an agent that keeps connections for the next request."""

    name = "http-agent"
    command = ("node", "node/http-agent.mjs")


class PythonClient(ProcessClient):
    """A Python program in `python/`."""

    environment = {"PYTHONPATH": os.path.join(TARGET, "python")}

    @classmethod
    def missing(cls):
        installed = os.path.isdir(os.path.join(TARGET, "python"))
        return super().missing() or (None if installed else "its Python packages are not installed")


class HttpxSse(PythonClient):
    """`httpx-sse`."""

    name = "httpx-sse"
    command = ("python3", "python/httpx_sse_client.py")
    takes_position = False


class SseClientPy(PythonClient):
    """`sseclient-py`."""

    name = "sseclient-py"
    command = ("python3", "python/sseclient_client.py")
    takes_position = False


class RequestsUnicode(PythonClient):
    """`requests` alone, which decodes lines by the charset of the answer."""

    name = "requests-decode-unicode"
    command = ("python3", "python/requests_client.py")


class Curl(Client):
    """`curl`, with the standard's parsing and reconnecting around it. An `error` carries curl's exit code,
    which tells an orderly end of the chunked body (0) from a cut one (18, 56)."""

    name = "curl"

    @classmethod
    def missing(cls):
        """Why this client cannot run here, or nothing."""
        return None if shutil.which("curl") else "curl is not installed"

    def start(self, url):
        """Starts on `url`."""
        self.last_id, self.retry_ms, self.process = "", 1_000, None
        threading.Thread(target=self._follow, args=(url,), daemon=True).start()

    def _follow(self, url):
        while not self.stopping:
            resume = ["-H", f"Last-Event-ID: {self.last_id}"] if self.last_id else []
            command = ["curl", "-q", "--noproxy", "*", "-sS", "-N", "--fail", "-D", "-", *resume, url]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                            stderr=subprocess.PIPE)
            head = self._read_head()
            if head.startswith("HTTP/1.1 200"):
                self.add({"kind": "open", "head": head})
            self._read_stream()
            self.add({"kind": "error", "code": self.process.wait()})
            time.sleep(min(self.retry_ms, 200) / 1_000)

    def _read_head(self):
        lines = []
        for line in self.process.stdout:
            if line == b"\r\n":
                break
            lines.append(line.decode("latin-1"))
        return "".join(lines)

    def _read_stream(self):
        data, name, event_id = [], "", self.last_id
        for raw in self.process.stdout:
            line = raw.decode().rstrip("\n")
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if line == "":
                self.last_id = event_id
                if data:
                    self.add({"kind": "event", "event": name or "message", "data": "\n".join(data),
                              "id": event_id})
                data, name = [], ""
            elif field == "data":
                data.append(value)
            elif field == "event":
                name = value
            elif field == "id":
                event_id = value
            elif field == "retry":
                self.retry_ms = int(value)

    def stop(self):
        """Ends curl."""
        self.stopping = True
        if self.process:
            self.process.kill()
            self.process.wait()


ALL = [Curl, Library, EventSourcePackage, EventSourcePackage2, FetchEventSource, HttpAgent, HttpxSse, SseClientPy,
       RequestsUnicode]
