"""Requests that a proxy and a server might cut differently, and what must come of them: nothing.

Each carries a canary, a publish that the guarded door refuses. The proof is threefold: no canary event; beyond the
attacker's own first request the server saw none that the proxy did not answer; and whoever comes next, over a
connection that the proxy may have kept to the server, gets the answer to his own request.
"""

import re
import socket

from proxies import ALLOWED
from stream import expect

CANARY = b"POST /publish?topic=canary HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 6\r\n\r\ncanary"
#: Silence after which nothing more is expected of a proxy.
SILENCE_SECONDS = 0.15
#: Answers come at once, or it waits for a body that never comes.
ANSWER_SECONDS = 0.6
#: The same two where an answer has to come, however busy the machine is.
BUSY_SECONDS = 3


def head(*lines, method="POST", target=ALLOWED, version="HTTP/1.1"):
    """A request head with these lines besides its Host."""
    start = f"{method} {target} {version}\r\nHost: 127.0.0.1\r\n".encode()
    return start + b"".join(line.encode("latin-1") + b"\r\n" for line in lines) + b"\r\n"


def both(length, coding="Transfer-Encoding: chunked"):
    """A head with a length and a coding."""
    return head(f"Content-Length: {length}", coding)


def after_zero_chunk(coding):
    """A body that is empty by its chunks and holds the canary by its length."""
    body = b"0\r\n\r\n" + CANARY
    return both(len(body), coding) + body


def hidden_in_chunk(*lines):
    """A body that holds the canary by its chunks and ends before it by its length of 4."""
    return head("Content-Length: 4", *lines) + b"%x\r\n" % len(CANARY) + CANARY + b"\r\n0\r\n\r\n"


def chunks(body):
    """A chunked request whose body is as given, and the canary behind it."""
    return head("Transfer-Encoding: chunked") + body + CANARY


def all_attacks():
    """Names and bytes."""
    chunked = "Transfer-Encoding: chunked"
    size = len(CANARY)
    yield "length and coding, canary after the last chunk", after_zero_chunk(chunked)
    yield "length and coding, canary in a chunk", hidden_in_chunk(chunked)
    for number, coding in enumerate([
            "Transfer-Encoding : chunked", "Transfer-Encoding: xchunked", " Transfer-Encoding: chunked",
            "X: y\r\n Transfer-Encoding: chunked", "Transfer-Encoding:\x0bchunked",
            "Transfer-Encoding: \xa0chunked", "Transfer-Encoding: \"chunked\"", "Transfer-Encoding: chunked;q=1",
            "Transfer-Encoding: identity", "Transfer-Encoding: gzip, chunked", "Transfer-Encoding: chunked, gzip",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", "Transfer-Encoding: cHuNkEd",
            "X: y\rTransfer-Encoding: chunked", "X: y\nTransfer-Encoding: chunked", "Transfer_Encoding: chunked"]):
        yield f"coding {number} after the last chunk", after_zero_chunk(coding)
        yield f"coding {number} in a chunk", hidden_in_chunk(coding)
    for number, lengths in enumerate([
            (f"Content-Length: {size}", "Content-Length: 0"), ("Content-Length: 0", f"Content-Length: {size}"),
            (f"Content-Length: 0, {size}",), (f"Content-Length: +{size}",), ("Content-Length: -1",),
            ("Content-Length: 0x0",), ("Content-Length : 0",), (f"Content-Length: {2**64 + 1}",),
            ("Content-Length:",), ("Content-Length: 0 0",), ("Content-Length: 0\0",), ("Content_Length: 0",)]):
        yield f"length {number}", head(*lengths) + CANARY
    for number, body in enumerate([
            b"0\n\n", b"0\r\n\n", b"0\r\r\n\r\n", b"00000000000000000\r\n\r\n", b"0;a\nb\r\n\r\n", b"0;a\r\n\r\n",
            b"0 \r\n\r\n", b" 0\r\n\r\n", b"0x0\r\n\r\n", b"-0\r\n\r\n", b"+0\r\n\r\n", b"\r\n0\r\n\r\n",
            b"1\r\naXX0\r\n\r\n", b"1\r\na\n0\r\n\r\n", b"1\na\r\n0\r\n\r\n", b"10000000000000001\r\na\r\n0\r\n\r\n",
            b"100000001\r\na\r\n0\r\n\r\n", b"1;\n%x\r\na\r\n0\r\n\r\n" % size, b"0\r\nContent-Length: 9\r\n\r\n",
            b"0\r\nX: y\n\r\n", b"g\r\n\r\n", b"0_0\r\n\r\n"]):
        yield f"chunks {number}", chunks(body)
    yield "chunks in HTTP/1.0", head(chunked, version="HTTP/1.0") + b"0\r\n\r\n" + CANARY
    yield "body of a GET", head(f"Content-Length: {size}", method="GET", target="/healthz") + CANARY
    yield "body of a HEAD", head(f"Content-Length: {size}", method="HEAD", target="/healthz") + CANARY
    yield "expectation", head("Expect: 100-continue", f"Content-Length: {size}") + CANARY
    yield "upgrade", head("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQA",
                          method="GET", target="/healthz") + CANARY
    yield "websocket", head("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
                            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", method="GET", target="/healthz") + CANARY
    yield "length named by Connection", head("Connection: Content-Length", f"Content-Length: {size}") + CANARY
    yield "coding named by Connection", head("Connection: close, Transfer-Encoding", chunked) + b"0\r\n\r\n" + CANARY
    yield "canary behind a subscription", head(method="GET", target="/events?topic=news") + CANARY
    yield "canary as a subscription's body", head(f"Content-Length: {size}", method="GET",
                                                  target="/events?topic=news") + CANARY
    yield "pipelined canary", head(method="GET", target="/healthz") + CANARY
    yield "pipelined canary after a body", head("Content-Length: 1") + b"x" + CANARY


def answers_to(port, request, silence, patience=ANSWER_SECONDS):
    """Sends the bytes and returns the status codes of the final answers that come back."""
    seen = b""
    with socket.create_connection(("127.0.0.1", port), timeout=patience) as attacker:
        try:
            attacker.sendall(request)
            while more := attacker.recv(65_536):
                seen += more
                attacker.settimeout(silence)
        except OSError:
            pass
    codes = [int(code) for code in re.findall(rb"HTTP/1\.[01] (\d\d\d)", seen)]
    return [code for code in codes if code >= 200 or code == 101]


def innocent(port, case):
    """Somebody else's request gets its own answer, and no other."""
    codes = answers_to(port, head("Connection: close", method="GET", target="/healthz"), BUSY_SECONDS, BUSY_SECONDS)
    expect(codes == [200], f"{case}: the next one's request was answered {codes}")


def try_all(port, answered, canaries):
    """Every attack through one door: `answered` reads the server's counter, `canaries` its canary events."""
    count = 0
    for case, request in all_attacks():
        # On a busy machine an answer may only be late: what looks bad is looked at again, with patience.
        for silence, patience in [(SILENCE_SECONDS, ANSWER_SECONDS), (BUSY_SECONDS, BUSY_SECONDS)]:
            before = answered()
            codes = answers_to(port, request, silence, patience)
            reached = answered() - before
            innocent(port, case)
            expect(not canaries(), f"{case}: the canary was published")
            # An unfinished body is a request that has reached the server and that nobody answers.
            if good := reached <= max(1, len(codes)):
                break
        expect(good, f"{case}: {reached} requests reached the server, {codes} were answered")
        count += 1
    expect(count > 60, f"only {count} attacks")
