"""What every client must live through. Each scenario takes a `World` and raises on what went wrong.

Knows no particular client: what a client cannot do stands in its class as a property.
"""

import json
import socket
import time

from adapters import PATIENCE_SECONDS, Failure, Impossible, shorten
from proxy import CuttingProxy
from server import Server

#: What is published, and what the client must then hold.
PAYLOADS = [
    ("plain", "plain"),
    ("one\ntwo\r\nthree\rfour", "one\ntwo\nthree\nfour"),
    ("zażółć 世界 🎡", "zażółć 世界 🎡"),
    ("  leading and trailing  ", "  leading and trailing  "),
    ("data: x\nid: 1-1\nevent: forged\nretry: 1\n: comment", "data: x\nid: 1-1\nevent: forged\nretry: 1\n: comment"),
    ("x\r\rdata: forged\r\r", "x\n\ndata: forged\n\n"),
    ("\n\n", "\n\n"),
    ("", ""),
    ("last", "last"),
]


class World:
    """A server, a way to it that can be cut, and one client. Left behind clean by `close`."""

    def __init__(self, client_class, topic):
        self.client_class = client_class
        self.topic = topic
        self.closers = []
        self.server, self.proxy = self.serve()

    def serve(self, **settings):
        """Another server and its proxy."""
        server = Server(**settings)
        self.closers.append(server.kill)
        proxy = CuttingProxy(server.port)
        self.closers.append(proxy.close)
        return server, proxy

    def client(self, url=None):
        """A client on `url`, or on the topic through the proxy."""
        client = self.client_class()
        self.closers.append(client.stop)
        client.start(url or self.server.url(self.topic, self.proxy.port))
        return client

    def publish(self, *texts, event=None):
        """Publishes to the topic; returns the ids."""
        return [self.server.publish(self.topic, text, event) for text in texts]

    def close(self):
        """Ends all, newest first."""
        for closer in reversed(self.closers):
            closer()


def expect(what, got, wanted):
    """Fails with both sides; of two lists, with the first items that differ."""
    if got == wanted:
        return
    if isinstance(got, list) and isinstance(wanted, list):
        place = next((n for n, pair in enumerate(zip(got, wanted)) if pair[0] != pair[1]),
                     min(len(got), len(wanted)))
        what += f" ({len(got)} of {len(wanted)}), from number {place}"
        got, wanted = got[place:place + 2], wanted[place:place + 2]
    raise Failure(f"{what}: got {shorten(got)}, wanted {shorten(wanted)}")


def receive(world):
    """Every kind of payload arrives as published, under its name and id."""
    client = world.client()
    client.wait_open()
    wanted = []
    for sent, received in PAYLOADS:
        for name in (None, "likes"):
            if client.can_hold(received):
                event_id = world.publish(sent, event=name)[0]
                wanted.append((name or "message", received, event_id))
    client.wait_events(len(wanted))
    expect("events", [(event["event"], event["data"], event["id"]) for event in client.events()], wanted)


def quiet(world):
    """Neither the greeting nor heartbeats are messages to the application."""
    client = world.client()
    client.wait_open()
    time.sleep(1.0)
    client.wait("third heartbeat", lambda: world.proxy.downstream.count(b"2\r\n:\n\r\n") >= 3)
    world.publish("only")
    client.wait_events(1)
    expect("messages", client.texts(), ["only"])
    expect("times opened", client.count("open"), 1)


def resume_after(world, reset):
    """What was published while the client was away comes, once, in order, before what follows."""
    client = world.client()
    client.wait_open()
    ids = world.publish("1", "2", "3")
    client.wait_events(3)
    world.proxy.leave(reset)
    ids += world.publish("4", "5", "6")
    world.proxy.come_back()
    client.wait_events(6)
    ids += world.publish("7")
    client.wait_events(7)
    time.sleep(0.3)
    expect("events", client.texts(), list("1234567"))
    expect("ids", [event["id"] for event in client.events()], ids)


def resume_after_reset(world):
    """The connection is cut by a reset."""
    resume_after(world, reset=True)


def resume_after_close(world):
    """The connection is closed in order, but without the end of the body."""
    resume_after(world, reset=False)


def resume_after_torn_frame(world):
    """The cut falls within an event, which then comes whole and once."""
    if not world.client_class.takes_id_with_event:
        raise Impossible("this client takes the id of an event that it has not whole")
    client = world.client()
    client.wait_open()
    big = "".join(f"line {number}\n" for number in range(4_000))
    world.publish("before")
    client.wait_events(1)
    world.proxy.leave_after(len(big) // 2, reset=True)
    world.publish(big, "after")
    client.wait("cut", lambda: not world.proxy.present)
    world.proxy.come_back()
    client.wait_events(3)
    time.sleep(0.3)
    expect("events", [text[:12] for text in client.texts()], ["before", big[:12], "after"])
    expect("the event that was cut", client.texts()[1] == big, True)


def address(world, more=""):
    """The topic through the proxy. Who takes a position and is not told it unasked, asks for it."""
    client = world.client_class
    asks = "&prime=1" if client.takes_position and not client.is_browser else ""
    return world.server.url(world.topic, world.proxy.port) + asks + more


def before_first_event(world):
    """A client that is cut before its first event has missed nothing, if it can be told where it was; no
    other gets a message that nobody published."""
    for reset in (True, False):
        client = world.client(address(world))
        client.wait_open()
        time.sleep(0.3)
        world.proxy.leave(reset)
        world.publish("1", "2", "3")
        world.proxy.come_back()
        client.wait_open(2)
        time.sleep(0.3)
        world.publish("4")
        client.wait("the last event", lambda: "4" in client.texts())
        expect("events", client.texts(), list("1234") if client.takes_position else ["4"])
        client.stop()


def behind_filter(world):
    """What a filter keeps away from a client is no gap when the client comes back, although the history has
    moved past its last event."""
    client = world.client(address(world, "&event=likes"))
    client.wait_open()
    world.publish("before", event="likes")
    client.wait_events(1)
    world.publish(*map(str, range(200)))
    # A heartbeat tells the position.
    time.sleep(0.5)
    world.proxy.leave(reset=True)
    world.publish("meanwhile", event="likes")
    world.proxy.come_back()
    client.wait_open(2)
    world.publish("live", event="likes")
    client.wait("the last event", lambda: "live" in client.texts())
    names = [event["event"] for event in client.events()]
    wanted = ["likes"] * 3 if client.takes_position else ["likes", "fanwheel.gap", "likes", "likes"]
    expect("names", names, wanted)


def silent_position(world):
    """No client gets a message from the position, unless it asked for what it cannot take."""
    client = world.client(world.server.url(world.topic, world.proxy.port) + "&event=likes")
    client.wait_open()
    for _ in range(3):
        world.publish("kept away")
        time.sleep(0.4)
    told = world.proxy.downstream.count(b"\r\nid: ")
    expect("told its position", told > 0, client.is_browser)
    expect("messages", client.events(), [])
    world.publish("only", event="likes")
    client.wait_events(1)
    expect("messages", client.texts(), ["only"])


def gap(world):
    """A client that was away for longer than the history is told so, and then gets what is kept."""
    client = world.client()
    client.wait_open()
    seen = world.publish("seen")[0]
    client.wait_events(1)
    world.proxy.leave(reset=True)
    world.publish(*map(str, range(20)))
    world.proxy.come_back()
    client.wait_events(10)
    world.publish("live")
    client.wait_events(11)
    names = [event["event"] for event in client.events()]
    expect("names", names, ["message", "fanwheel.gap"] + ["message"] * 9)
    told = json.loads(client.events()[1]["data"])
    expect("topic and position of the gap", (told["topic"], told["after"]), (world.topic, seen))
    expect("events", client.texts()[2:], [str(number) for number in range(12, 20)] + ["live"])


def restart(world):
    """A server that died and came back empty says that there is a gap, and goes on."""
    client = world.client()
    client.wait_open()
    world.publish("before")
    client.wait_events(1)
    world.server.kill()
    world.server.start()
    client.wait_open(2)
    world.publish("after")
    client.wait("event of the new server", lambda: "after" in client.texts())
    expect("names", [event["event"] for event in client.events()], ["message", "fanwheel.gap", "message"])


def drain(world):
    """A server that is asked to end says goodbye to its clients, who find the next one."""
    client = world.client()
    client.wait_open()
    world.publish("before")
    client.wait_events(1)
    mark = len(world.proxy.downstream)
    expect("exit code", world.server.drain(), 0)
    client.wait("end of the stream", lambda: client.count("error") >= 1)
    # Behind it stands what else a client was told: one with a pool asks for something at once.
    ending = bytes(world.proxy.downstream[mark:])
    if b"\r\n0\r\n\r\n" not in ending.partition(b"retry: ")[2]:
        raise Failure(f"the stream ended with {ending[-60:]!r}")
    world.server.start()
    client.wait_open(2)
    world.publish("after")
    client.wait("event of the new server", lambda: "after" in client.texts())


def renewal(world):
    """Streams that the server ends by age lose and repeat nothing."""
    server, proxy = world.serve(max_connection_ms=700, history_events=200, heartbeat_ms=15_000)
    client = world.client(server.url(world.topic, proxy.port))
    client.wait_open()
    wanted = []
    while client.count("open") < 4:
        wanted.append(str(len(wanted)))
        server.publish(world.topic, wanted[-1])
        time.sleep(0.02)
        if len(wanted) > 400:
            raise Failure("the stream was not ended at its age")
    client.wait_events(len(wanted))
    time.sleep(0.2)
    expect("events", client.texts(), wanted)
    expect("requests that failed on a kept connection", client.count("broken"), 0)
    codes = {record["code"] for record in client.records if "code" in record}
    expect("exit codes of curl other than an orderly end", codes - {0}, set())


def overload(world):
    """A client that finds the server full stays in waiting and gets in when there is room."""
    server, _ = world.serve(workers=1, connections_max=3)
    guests = [enter(world, server) for _ in range(3)]
    client = world.client(server.url(world.topic))
    client.wait("two refusals", lambda: client.count("error") >= 2)
    states = {record["state"] for record in client.records if "state" in record}
    expect("ready states after a refusal other than CONNECTING", states - {0}, set())
    expect("messages", client.texts(), [])
    for guest in guests:
        guest.close()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not client.texts() and time.monotonic() < deadline:
        server.publish(world.topic, "room")
        time.sleep(0.1)
    client.wait_events(1)
    expect("messages", set(client.texts()), {"room"})


def enter(world, server):
    """A subscriber that only takes up room: its socket, once the server has greeted it. Refused, it comes
    again: the check that the server has started may not have left yet."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        guest = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_SECONDS)
        world.closers.append(guest.close)
        guest.sendall(b"GET /events?topic=crowd HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = b""
        while b":ok\n" not in answer and (more := guest.recv(4_096)):
            answer += more
        if b":ok\n" in answer:
            return guest
        if time.monotonic() > deadline:
            raise Failure(f"a guest was refused: {answer!r}")
        time.sleep(0.02)


ALL = [receive, quiet, silent_position, before_first_event, behind_filter, resume_after_reset,
       resume_after_close, resume_after_torn_frame, gap, restart, drain, renewal, overload]
