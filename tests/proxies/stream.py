"""A subscriber that reads every byte: strict about chunks, exact about how the stream ended.

Owns one socket. Written against the wire, not with a client library, because what a proxy did to the bytes is what
is looked at here.
"""

import socket
import time

#: Time for anything that is awaited: only a failing run waits so long.
PATIENCE_SECONDS = 20


class Failure(Exception):
    """What was seen is not what had to be."""


class Impossible(Exception):
    """The check makes no sense for this proxy; the text says why."""


def expect(condition, words):
    """Fails with the words unless the condition holds."""
    if not condition:
        raise Failure(words)


class Stream:
    """An open event stream."""

    def __init__(self, port, topic, last_id=None):
        self.buffer, self.text, self.events = b"", b"", []
        self.comments, self.last_id, self.retry_lines = 0, last_id, 0
        #: `clean` after the last chunk, `cut` after anything else.
        self.ended = None
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)
        resume = f"Last-Event-ID: {last_id}\r\n" if last_id else ""
        self.socket.sendall(f"GET /events?topic={topic} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                            f"Accept: text/event-stream\r\n{resume}\r\n".encode())
        self.head = self._head()
        expect(self.head.startswith("http/1.1 200"), f"head {self.head!r}")
        expect("\ncontent-type: text/event-stream" in self.head, f"head {self.head!r}")
        expect("\ntransfer-encoding: chunked" in self.head, f"head {self.head!r}")

    def _head(self):
        while b"\r\n\r\n" not in self.buffer:
            more = self.socket.recv(65_536)
            expect(more, f"the connection ended in its head: {self.buffer!r}")
            self.buffer += more
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        return head.decode("latin-1").lower()

    def read(self, seconds, until=lambda: False):
        """Reads until a condition holds, the stream ends or the time is over; tells whether the condition holds."""
        deadline = time.monotonic() + seconds
        self._take()
        while not until() and not self.ended:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            self.socket.settimeout(left)
            try:
                more = self.socket.recv(65_536)
            except TimeoutError:
                break
            except OSError:
                more = b""
            self.buffer += more
            self._take()
            if not more and not self.ended:
                self.ended = "cut"
        return until()

    def _take(self):
        while not self.ended and b"\r\n" in self.buffer:
            line, rest = self.buffer.split(b"\r\n", 1)
            size = int(line.split(b";")[0], 16)
            if len(rest) < size + 2:
                break
            expect(rest[size:size + 2] == b"\r\n", f"a chunk that does not end: {self.buffer[:200]!r}")
            self.text += rest[:size]
            self.buffer = rest[size + 2:]
            if size == 0:
                self.ended = "clean"
        *lines, self.text = self.text.split(b"\n")
        for line in lines:
            self._line(line.decode())

    def _line(self, line):
        if line.startswith(":"):
            self.comments += 1
        elif line.startswith("retry:"):
            self.retry_lines += 1
        elif line.startswith("id: "):
            self.last_id = line[4:]
        elif line.startswith("data: "):
            self.events.append(line[6:])

    def await_events(self, expected):
        """Fails unless exactly these have come, in time."""
        self.read(PATIENCE_SECONDS, lambda: len(self.events) >= len(expected))
        expect(self.events == expected, f"events {self.events} instead of {expected}, {self.ended=}")

    def close(self):
        """Leaves."""
        self.socket.close()
