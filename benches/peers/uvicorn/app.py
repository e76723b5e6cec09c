"""Server-sent events as a plain ASGI application, without a framework: an event is encoded once, what waits for a
client leaves in one send, one timer serves all heartbeats, and a client that falls far behind is let go.

usage: uvicorn app:app        environment: HEARTBEAT_MS (0 = none)
"""

import asyncio
import os
from urllib.parse import parse_qs

WAITING_MAX = 1024
HEARTBEAT_S = int(os.environ.get("HEARTBEAT_MS", "0")) / 1000
STREAM = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")],
}
ACCEPTED = {"type": "http.response.start", "status": 202, "headers": [(b"content-length", b"0")]}
END = {"type": "http.response.body", "body": b""}

topics = {}


class Client:
    """What waits for one stream, and how to wake it."""

    __slots__ = ("waiting", "wake", "gone")

    def __init__(self):
        self.waiting = []
        self.wake = None
        self.gone = False

    def push(self, frame):
        self.waiting.append(frame)
        self.stir()

    def leave(self, _):
        self.gone = True
        self.stir()

    def stir(self):
        if self.wake and not self.wake.done():
            self.wake.set_result(None)


async def disconnected(receive):
    while (await receive())["type"] != "http.disconnect":
        pass


async def subscribe(clients, receive, send):
    client = Client()
    clients.add(client)
    ended = asyncio.ensure_future(disconnected(receive))
    ended.add_done_callback(client.leave)
    new_future = asyncio.get_running_loop().create_future
    try:
        await send(STREAM)
        await send({"type": "http.response.body", "body": b":ok\n\n", "more_body": True})
        while not client.gone:
            waiting = client.waiting
            if not waiting:
                client.wake = new_future()
                await client.wake
                continue
            if len(waiting) > WAITING_MAX:
                break
            client.waiting = []
            body = waiting[0] if len(waiting) == 1 else b"".join(waiting)
            await send({"type": "http.response.body", "body": body, "more_body": True})
    finally:
        clients.discard(client)
        ended.cancel()


async def publish(clients, receive, send):
    body = b""
    more = True
    while more:
        part = await receive()
        body += part.get("body", b"")
        more = part.get("more_body", False)
    frame = b"data: %b\n\n" % body
    for client in clients:
        client.push(frame)
    await send(ACCEPTED)
    await send(END)


async def beat():
    while True:
        await asyncio.sleep(HEARTBEAT_S)
        for clients in list(topics.values()):
            for client in clients:
                client.push(b":\n")


async def lifespan(receive, send):
    beating = None
    while True:
        kind = (await receive())["type"]
        if kind == "lifespan.startup" and HEARTBEAT_S > 0:
            beating = asyncio.ensure_future(beat())
        if kind == "lifespan.shutdown" and beating:
            beating.cancel()
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    topic = parse_qs(scope["query_string"]).get(b"topic", [b""])[0]
    clients = topics.setdefault(topic, set())
    serve = publish if scope["method"] == "POST" else subscribe
    await serve(clients, receive, send)
