"""What must hold behind every proxy. Each check gets a proxy class and makes its own server and proxy.

Nothing here knows which proxy it is.
"""

import re
import threading
import time

import attacks
from server import Server
from proxies import SOFT_STOP_MS
from stream import PATIENCE_SECONDS, Impossible, Stream, expect

HEARTBEAT_MS = 1_000
#: Just above the heartbeat.
IDLE_MS = 1_800


class World:
    """A server and a proxy in front of it."""

    def __init__(self, kind, idle_ms=IDLE_MS, **settings):
        self.server = Server(**{"heartbeat_ms": HEARTBEAT_MS, "history_events": 1_000, **settings})
        try:
            self.proxy = kind(self.server, idle_ms)
        except Exception:
            self.server.kill()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.proxy.close()
        self.server.kill()

    def subscribe(self, last_id=None):
        """A stream through the proxy that has had its first bytes."""
        stream = Stream(self.proxy.port, "news", last_id)
        expect(stream.read(1, lambda: stream.comments > 0), "the first bytes did not come within 1 s")
        return stream

    def metric(self, name):
        """One sample."""
        _, page = self.server.request("GET", "/metrics")
        return int(re.search(rf"^fanwheel_{name} (\d+)$", page.decode(), re.MULTILINE)[1])


def events_come_at_once_and_heartbeats_keep_a_quiet_stream(kind):
    """No buffering, and the proxy's idle timeout never strikes."""
    with World(kind) as world:
        stream = world.subscribe()
        quickest = 1
        for number in range(5):
            published = time.monotonic()
            world.server.publish("news", f"event {number}")
            stream.await_events([f"event {at}" for at in range(number + 1)])
            quickest = min(quickest, time.monotonic() - published)
        # A corked socket holds each back for 200 ms.
        expect(quickest < 0.15, f"the quickest of five events took {quickest:.3f} s")
        before = stream.comments
        stream.read(IDLE_MS / 1_000 * 3)
        expect(stream.ended is None, f"the stream was ended: {stream.ended}")
        expect(stream.comments - before >= 3, f"{stream.comments - before} heartbeats came")
        world.server.publish("news", "after the silence")
        stream.await_events([*(f"event {at}" for at in range(5)), "after the silence"])


def a_timeout_below_the_heartbeat_cuts(kind):
    """What shows that the check above could fail at all."""
    with World(kind, heartbeat_ms=30_000) as world:
        stream = world.subscribe()
        stream.read(IDLE_MS / 1_000 * 2 + 1)
        expect(stream.ended == kind.timeout_end, f"a stream without heartbeats ended: {stream.ended}")


def a_restart_of_the_proxy_loses_nothing(kind):
    """The id that a client has is enough to resume."""
    with World(kind) as world:
        stream = world.subscribe()
        expected = ["before 0", "before 1"]
        for text in expected:
            world.server.publish("news", text)
        stream.await_events(expected)
        world.proxy.stop()
        stream.read(PATIENCE_SECONDS)
        expect(stream.ended == "cut", f"a proxy that is gone ended the stream: {stream.ended}")
        missed = [f"missed {at}" for at in range(20)]
        for text in missed:
            world.server.publish("news", text)
        world.proxy.start()
        again = world.subscribe(stream.last_id)
        world.server.publish("news", "live")
        again.await_events([*missed, "live"])


def a_soft_stop_of_the_proxy_ends_streams(kind):
    """A proxy that is reloaded does not wait for streams without end."""
    if kind.soft_stop is None:
        raise Impossible("it has no soft stop")
    with World(kind) as world:
        stream = world.subscribe()
        world.proxy.process.send_signal(kind.soft_stop)
        started = time.monotonic()
        stream.read(SOFT_STOP_MS / 1_000 + PATIENCE_SECONDS)
        expect(stream.ended == "cut", f"a stream through a proxy that stops softly ended: {stream.ended}")
        expect(time.monotonic() - started > SOFT_STOP_MS / 2_000, "the stop was not soft")


def a_drain_ends_streams_cleanly(kind):
    """The last chunk and the time to come back reach the client."""
    with World(kind) as world:
        streams = [world.subscribe() for _ in range(4)]
        told = [stream.retry_lines for stream in streams]
        drain = threading.Thread(target=world.server.drain)
        drain.start()
        for stream, before in zip(streams, told):
            stream.read(PATIENCE_SECONDS)
            expect(stream.ended == "clean", f"a drained stream ended: {stream.ended}")
            expect(stream.retry_lines == before + 1, "no retry line came before the end")
        drain.join()


def a_client_that_leaves_frees_its_place(kind):
    """The proxy passes the end on by itself, or where it cannot, when writes fail: then heartbeats free it."""
    heartbeat_ms = 30_000 if kind.notices_leaving else HEARTBEAT_MS
    with World(kind, idle_ms=60_000, heartbeat_ms=heartbeat_ms) as world:
        streams = [world.subscribe() for _ in range(10)]
        expect(world.metric("subscribers") == 10, "not all are counted")
        for stream in streams:
            stream.close()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (left := world.metric("subscribers")) and time.monotonic() < deadline:
            time.sleep(0.05)
        expect(left == 0, f"{left} of 10 places are still taken")


def attacked(kind, door):
    """All attacks through a door."""
    with World(kind) as world:
        watcher = Stream(world.server.control_port, "canary")
        reads = 0

        def answered():
            nonlocal reads
            reads += 1
            return world.metric("requests_total") - reads

        def canaries():
            watcher.read(0.001)
            expect(watcher.ended is None, "the watcher's stream ended")
            return watcher.events

        attacks.try_all(getattr(world.proxy, door), answered, canaries)
        attacks.answers_to(world.server.control_port, attacks.CANARY, attacks.SILENCE_SECONDS)
        expect(watcher.read(PATIENCE_SECONDS, lambda: watcher.events == ["canary"]), "a canary that nobody guards is not seen")


def no_request_is_smuggled_to_the_public_listener(kind):
    """Where no credentials could be forged, but answers could be mixed up."""
    attacked(kind, "port")


def no_request_is_smuggled_past_a_guard(kind):
    """Where a canary that slips past the proxy's rules would be published."""
    attacked(kind, "guarded_port")


ALL = [
    no_request_is_smuggled_past_a_guard,
    no_request_is_smuggled_to_the_public_listener,
    events_come_at_once_and_heartbeats_keep_a_quiet_stream,
    a_client_that_leaves_frees_its_place,
    a_timeout_below_the_heartbeat_cuts,
    a_restart_of_the_proxy_loses_nothing,
    a_soft_stop_of_the_proxy_ends_streams,
    a_drain_ends_streams_cleanly,
]
