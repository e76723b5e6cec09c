"""The client library in tabs of a real browser: one connection for all, and every way in which its owner can end.

Each scenario opens tabs of its own page; publishing goes on at 50 events a second meanwhile.
"""

import http.server
import json
import statistics
import threading
import time

import chromium
import driver
from adapters import Failure
from scenarios import expect

RATE = 50
#: Follows a topic and keeps what came. Arguments: address, topic, options.
FOLLOW = """const [url, topic, options] = arguments;
  window.seen = []; window.gaps = []; window.states = []; window.late = [];
  window.client = connectLibrary(url, { topics: [topic], ...options });
  client.on("*", (event) => {
    seen.push(event.data);
    // Page and server have one wall clock here, so the truth is known.
    late.push([client.metrics().delayMs.last, Date.now() - event.time]);
  });
  client.on("fanwheel.gap", ({ gap }) => gaps.push(gap.reason));
  client.on("fanwheel.state", (state) => states.push(state));"""
OPEN = "return client.state === 'open'"
SEEN = "return seen"
#: How late an event may be when another tab takes over.
LATE_MS_MAX = 1_000
#: The tab leads: no worker is to be had.
BY_LOCKS = {"share": True, "worker": ""}


class Publisher:
    """Publishes numbers, 50 a second, until it is stopped."""

    def __init__(self, server, topic):
        self.server, self.topic = server, topic
        self.accepted = []
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        number = 0
        while not self.stopping.wait(1 / RATE):
            number += 1
            try:
                self.server.publish(self.topic, str(number))
                self.accepted.append(str(number))
            except (OSError, RuntimeError):
                pass

    def stop(self):
        """Returns all that was accepted."""
        self.stopping.set()
        self.thread.join()
        return self.accepted


class Tabs:
    """Tabs of one browser that follow the world's topic."""

    def __init__(self, world, url, number, options):
        self.world = world
        self.browser = world.client_class.browser
        self.handles = []
        world.closers.append(self.close)
        for _ in range(number):
            self.browser.tab()
            self.handles.append(self.browser.handle())
            self.browser.open(world.client_class.page)
            self.browser.wait("library", "return !!window.connectLibrary")
            self.browser.run(FOLLOW, url, world.topic, options)
            self.browser.wait("open stream", OPEN)

    def ask(self, script, *arguments):
        """Runs a function body in each tab."""
        return [self.ask_one(handle, script, *arguments) for handle in self.handles]

    def ask_one(self, handle, script, *arguments):
        """Runs a function body in one tab."""
        self.browser.tab(handle)
        return self.browser.run(script, *arguments)

    def close_first(self):
        """Closes the first tab, which leads if no worker does."""
        self.browser.tab(self.handles.pop(0))
        self.browser.close_tab(self.handles[0])

    def crash_first(self):
        """The first tab ends without a word."""
        self.browser.tab(self.handles.pop(0))
        self.browser.crash_tab()
        self.browser.tab(self.handles[0])

    def await_seen(self, wanted):
        """Each tab has seen exactly this."""
        for handle in self.handles:
            self.browser.tab(handle)
            self.browser.wait("last event", "return seen.at(-1) === arguments[0]", wanted[-1])
            expect("events of a tab", self.browser.run(SEEN), wanted)

    def close(self):
        """Closes them all, and goes back to the first tab of the browser."""
        first = self.world.client_class.first
        while self.handles:
            self.browser.tab(self.handles.pop())
            self.browser.close_tab(first)


def serve(world):
    """A server whose history holds everything."""
    server, proxy = world.serve(history_events=10_000, heartbeat_ms=500)
    world.server = server
    return server, proxy


def streams(server):
    """Open streams, as the server counts them."""
    return json.loads(server.request("GET", "/status")[1])["subscribers"]["open"]


def await_streams(server, wanted, seconds=5):
    """Waits for so many; returns after how many seconds they were there."""
    started = time.monotonic()
    while (number := streams(server)) != wanted:
        if time.monotonic() - started > seconds:
            raise Failure(f"{number} streams, not {wanted}")
        time.sleep(0.01)
    return time.monotonic() - started


def address(port):
    """Where streams are, through this port."""
    return f"http://127.0.0.1:{port}/events"


def end_of_leader(world, options, end):
    """Three tabs share; after `end` of what leads, the others have every event once."""
    server, _ = serve(world)
    tabs = Tabs(world, address(server.port), 3, options)
    expect("streams", streams(server), 1)
    publisher = Publisher(server, world.topic)
    time.sleep(0.6)
    end(tabs)
    time.sleep(1.0)
    await_streams(server, 1)
    tabs.await_seen(publisher.stop())
    expect("gaps", tabs.ask("return gaps"), [[] for _ in tabs.handles])
    longest = max(tabs.ask("return Math.max(...late.map(([, true_ms]) => true_ms))"))
    print(f"{world.topic}: no event was later than {longest} ms", flush=True)
    if longest > LATE_MS_MAX:
        raise Failure(f"an event was {longest} ms late")


def twenty_tabs_use_one_connection(world):
    """A worker holds it for all."""
    server, _ = serve(world)
    tabs = Tabs(world, address(server.port), 20, {"share": True})
    expect("streams", streams(server), 1)
    publisher = Publisher(server, world.topic)
    time.sleep(1)
    tabs.await_seen(publisher.stop())
    expect("streams", streams(server), 1)
    tabs.close()
    await_streams(server, 0)


def leader_tab_is_closed(world):
    """Its lock goes to the next tab."""
    end_of_leader(world, BY_LOCKS, Tabs.close_first)


def leader_tab_crashes(world):
    """So it does when the tab could say nothing."""
    end_of_leader(world, BY_LOCKS, Tabs.crash_first)


def leader_tab_is_frozen(world):
    """A frozen tab hands over, and has everything when it is thawed."""
    server, _ = serve(world)
    tabs = Tabs(world, address(server.port), 3, BY_LOCKS)
    leader = tabs.handles[0]
    publisher = Publisher(server, world.topic)
    time.sleep(0.4)
    tabs.browser.tab(leader)
    tabs.browser.command("Page.setWebLifecycleState", state="frozen")
    time.sleep(1.0)
    tabs.browser.command("Page.setWebLifecycleState", state="active")
    time.sleep(0.5)
    tabs.await_seen(publisher.stop())
    expect("streams", streams(server), 1)
    frozen = tabs.ask_one(leader, "return states.some(({ cause }) => cause === 'frozen')")
    expect("the leader was frozen", frozen, True)


def worker_is_killed(world):
    """A tab takes over from a worker that ends."""
    def kill(tabs):
        targets = tabs.browser.command("Target.getTargets")["targetInfos"]
        workers = [one["targetId"] for one in targets if one["type"] == "shared_worker"]
        expect("workers", len(workers), 1)
        tabs.browser.command("Target.closeTarget", targetId=workers[0])
    end_of_leader(world, {"share": True}, kill)


def network_is_cut(world):
    """Nothing is lost and nothing comes twice."""
    server, proxy = serve(world)
    tabs = Tabs(world, address(proxy.port), 2, {"share": True})
    publisher = Publisher(server, world.topic)
    for reset in (True, False):
        time.sleep(0.4)
        proxy.leave(reset)
        time.sleep(0.4)
        proxy.come_back()
        time.sleep(0.6)
    tabs.await_seen(publisher.stop())
    expect("gaps", tabs.ask("return gaps"), [[], []])


def server_is_killed_and_restarted(world):
    """History was lost, so each tab is told so once; no event comes twice, and none of the new server is missing."""
    server, _ = serve(world)
    tabs = Tabs(world, address(server.port), 2, {"share": True})
    publisher = Publisher(server, world.topic)
    time.sleep(0.5)
    server.kill()
    before = len(publisher.accepted)
    server.start()
    time.sleep(1.5)
    accepted = publisher.stop()
    for handle in tabs.handles:
        tabs.browser.tab(handle)
        tabs.browser.wait("last event", "return seen.at(-1) === arguments[0]", accepted[-1])
        seen = tabs.browser.run(SEEN)
        expect("events that came twice or out of order", seen, sorted(set(seen), key=int))
        # What was accepted right before the end may be lost, and that is what the gap says.
        missing = [number for number in accepted if number not in seen]
        expect("missing events of the new server", [one for one in missing if one in accepted[before:]], [])
        expect("gaps", tabs.browser.run("return gaps"), ["restart"])


def hidden_page_is_paused(world):
    """On request a hidden page holds no connection, and has everything when it is shown."""
    server, _ = serve(world)
    tabs = Tabs(world, address(server.port), 1, {"pauseHiddenMs": 100})
    publisher = Publisher(server, world.topic)
    time.sleep(0.3)
    tabs.browser.tab(world.client_class.first)
    await_streams(server, 0)
    time.sleep(0.3)
    tabs.browser.tab(tabs.handles[0])
    await_streams(server, 1)
    tabs.await_seen(publisher.stop())
    expect("cause", tabs.ask("return states.find(({ state }) => state === 'paused').cause"), ["hidden"])


def reloaded_page_goes_on(world):
    """On request a tab goes on after a reload where it was."""
    server, _ = serve(world)
    tabs = Tabs(world, address(server.port), 1, {"resume": True})
    first = [server.publish(world.topic, text) and text for text in "123"]
    tabs.await_seen(first)
    browser = tabs.browser
    browser.open("about:blank")
    for text in "456":
        server.publish(world.topic, text)
    browser.open(world.client_class.page)
    browser.wait("library", "return !!window.connectLibrary")
    browser.run(FOLLOW, address(server.port), world.topic, {"resume": True})
    tabs.await_seen(list("456"))


def beacon_reaches_the_server(world):
    """Figures of pages become metrics of the server, at an interval and when a page is left."""
    server, _ = serve(world)
    tabs = Tabs(world, address(server.port), 1, {"beacon": True, "beaconMs": 300})
    tabs.await_seen([server.publish(world.topic, text) and text for text in "123"])

    def metric(name):
        lines = server.request("GET", "/metrics")[1].decode().splitlines()
        return next(int(line.split()[-1]) for line in lines if line.startswith(f"fanwheel_client_{name} "))

    deadline = time.monotonic() + 5
    while metric("events_total") < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    expect("events and streams", (metric("events_total"), metric("connects_total")), (3, 1))
    expect("delays", metric("delay_seconds_count"), 3)
    tabs.browser.run("client.close()")
    time.sleep(0.5)
    taken = metric("beacons_total")
    tabs.browser.run(FOLLOW, address(server.port), world.topic, {"beacon": True})
    tabs.browser.wait("open stream", OPEN)
    # To another page of the same site: Firefox ends the process of a site that is left, at times with its beacon.
    tabs.browser.open(world.client_class.page)
    deadline = time.monotonic() + 5
    while metric("beacons_total") == taken and time.monotonic() < deadline:
        time.sleep(0.05)
    expect("beacons after leaving", metric("beacons_total"), taken + 1)


def time_is_that_of_the_server(world):
    """Delays are told within 5 ms of the truth, and pages that joined at different moments agree.

    On a busy machine the library knows less, and says so by its bound."""
    server, _ = serve(world)
    tabs = Tabs(world, address(server.port), 1, {})
    publisher = Publisher(server, world.topic)
    time.sleep(2)
    tabs.await_seen(publisher.stop())
    pairs = [pair for pair in tabs.ask("return late")[0] if pair[0] is not None]
    off = statistics.median(abs(told - true) for told, true in pairs)
    shared = Tabs(world, address(server.port), 2, {"share": True})
    apart = tabs.ask(NOW) + shared.ask(NOW)
    print(f"library-tabs delays are {off:.1f} ms off at the median; "
          f"clocks {[round(one['off'], 1) for one in apart]} ms off, "
          f"bounds {[round(one['bound'], 1) for one in apart]}", flush=True)
    if off > max(5, apart[0]["bound"]):
        raise Failure(f"delays are {off} ms off at the median of {len(pairs)}")
    for one in apart:
        if abs(one["off"]) > one["bound"] + 2:
            raise Failure(f"the server's time is {one['off']} ms off, said {one['bound']}")


def clock_of_the_page_jumps(world):
    """An hour ahead and back: the stream goes on, and the server's time stays right."""
    server, _ = serve(world)
    tabs = Tabs(world, address(server.port), 1, {})
    tabs.ask("""const { Date } = window;
      window.trueNow = Date.now.bind(Date); window.jump = 0; Date.now = () => trueNow() + window.jump""")
    publisher = Publisher(server, world.topic)
    for jump_ms in (3_600_000, -3_600_000, 0):
        time.sleep(0.5)
        [told] = tabs.ask("""window.jump = arguments[0]; const { now, error } = client.serverNow();
          return { off: now - trueNow(), bound: error, page: window.Date.now() - trueNow() }""", jump_ms)
        # Both calls of the page's clock take a moment on a busy machine.
        expect("jump of the page's clock", round(told["page"] / 1_000) * 1_000, jump_ms)
        if abs(told["off"]) > told["bound"] + 2:
            raise Failure(f"after a jump the server's time is {told['off']} ms off, said {told['bound']}")
    tabs.await_seen(publisher.stop())
    expect("states", [one["state"] for one in tabs.ask("return states")[0]], ["connecting", "open"])
    expect("gaps", tabs.ask("return gaps"), [[]])


NOW = "const { now, error } = client.serverNow(); return { off: now - Date.now(), bound: error }"


class LibraryTabs(driver.BrowserClient):
    """The library in several tabs."""

    name = "library-tabs"
    scenarios = [twenty_tabs_use_one_connection, leader_tab_is_closed, leader_tab_crashes, leader_tab_is_frozen,
                 worker_is_killed, network_is_cut, server_is_killed_and_restarted, hidden_page_is_paused,
                 reloaded_page_goes_on, beacon_reaches_the_server, time_is_that_of_the_server,
                 clock_of_the_page_jumps]

    @classmethod
    def prepare(cls):
        """Starts browser and page server, once for all scenarios."""
        cls.pages = http.server.ThreadingHTTPServer(("127.0.0.1", 0), chromium.Page)
        threading.Thread(target=cls.pages.serve_forever, daemon=True).start()
        cls.page = f"http://127.0.0.1:{cls.pages.server_address[1]}/"
        super().prepare()
        cls.first = cls.browser.handle()

    @classmethod
    def finish(cls):
        """Ends them."""
        super().finish()
        cls.pages.shutdown()
