"""The dashboard in a real browser: what an operator sees, can do, and must never suffer.

Each scenario opens the page of its own server; after each the browser's console must have been silent.
"""

import json
import os
import socket
import tempfile
import threading
import time
from urllib.parse import quote

import adapters
import driver
from adapters import PATIENCE_SECONDS, Failure
from scenarios import expect

AXE = os.path.join(adapters.HERE, "node", "node_modules", "axe-core", "axe.min.js")
#: Every figure's value and note by its name.
FIGURES = """return Object.fromEntries([...document.querySelectorAll("#figures-list .figure")].map((figure) =>
  [figure.children[0].textContent, [figure.children[1].textContent, figure.children[2].textContent]]))"""
LIVE = """return document.getElementById("age").textContent === "live"
  && !document.body.classList.contains("old")"""
#: The texts of a table's rows, cell by cell.
ROWS = """return [...document.querySelectorAll(arguments[0] + " tbody tr")].map((row) =>
  [...row.children].map((cell) => cell.textContent))"""
FOCUSED = """const at = document.activeElement, style = getComputedStyle(at);
  return { name: at.id || at.name || at.textContent.trim().slice(0, 30), tag: at.tagName, class: at.className,
    outlined: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2 }"""
FOCUSABLE = """const kinds = "a[href], button, input, select, textarea, [tabindex='0']";
  return [...document.querySelectorAll(kinds)].filter((one) => !one.disabled && one.checkVisibility() && !one.closest("dialog")).length"""
TO = "document.getElementById(arguments[0]).scrollIntoView({ block: 'start' })"
SUBMIT = """const [id, values] = arguments, form = document.getElementById(id);
  for (const [name, value] of Object.entries(values)) form.elements[name].value = value;
  form.requestSubmit()"""
ASKED = """return performance.getEntriesByType("resource")
  .filter((entry) => entry.name.includes(arguments[0])).length"""
#: The marks in words, newest first, without their signs and times.
MARKS = """return [...document.querySelectorAll("#marks li span")].map((one) =>
  one.textContent.trim().split(" ").slice(1).join(" "))"""
#: Dots on the first curve that have the colour of a start's mark, and the columns they are in.
MARK_DOTS = """const canvas = document.querySelector("#plots canvas");
  const sample = document.createElement("canvas");
  const pen = sample.getContext("2d");
  pen.fillStyle = getComputedStyle(document.querySelector("#marks .mark-start")).color;
  pen.fillRect(0, 0, 1, 1);
  const [red, green, blue] = pen.getImageData(0, 0, 1, 1).data;
  const { data, width } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const columns = new Map();
  for (let at = 0; at < data.length; at += 4) {
    if (data[at] !== red || data[at + 1] !== green || data[at + 2] !== blue || data[at + 3] !== 255) continue;
    const column = (at / 4) % width;
    columns.set(column, (columns.get(column) ?? 0) + 1);
  }
  return [...columns.values()].filter((dots) => dots > 40).length"""
#: Moves over the first curve from its right end to its left; returns the moments and values it told.
HOVERED = """const over = document.querySelector("#plots .u-over"), told = [];
  const box = over.getBoundingClientRect();
  for (let x = box.right - 1; x > box.left; x -= 1) {
    over.dispatchEvent(new MouseEvent("mousemove", { bubbles: true, clientX: x, clientY: box.top + 9 }));
    told.push([document.querySelector("#plots .moment").textContent,
      document.querySelector("#plots .legend .value").textContent]);
  }
  return told"""
#: The large words and numbers of the first screen.
GLANCE = "return [...document.querySelectorAll('#glance strong')].map((one) => one.textContent)"
#: Those that are wider than their tile.
CLIPPED = """return [...document.querySelectorAll("#glance strong")].filter((one) => {
    const text = document.createRange();
    text.selectNodeContents(one);
    return text.getBoundingClientRect().right > one.closest(".tile").getBoundingClientRect().right - 4;
  }).map((one) => one.textContent)"""
SCRIPT_TOPIC = "<script>alert(1)</script>"
HOSTILE_AGENT = "<img src=x onerror=alert(2)>"


class Crowd:
    """Subscribers of a topic that read nothing and count nothing: plain sockets."""

    def __init__(self, server, topic, number, agent="crowd"):
        self.sockets = []
        for _ in range(number):
            one = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_SECONDS)
            head = f"GET /events?topic={quote(topic)} HTTP/1.1\r\nHost: a\r\nUser-Agent: {agent}\r\n\r\n"
            one.sendall(head.encode())
            self.sockets.append(one)
        for one in self.sockets:
            if b" 200 " not in one.recv(64):
                raise Failure("a subscriber was refused")

    def hears(self, text):
        """Whether the first of them gets so much as this text."""
        data, deadline = b"", time.monotonic() + PATIENCE_SECONDS
        self.sockets[0].settimeout(1)
        while text.encode() not in data and time.monotonic() < deadline:
            try:
                data += self.sockets[0].recv(65_536) or b""
            except (ConnectionResetError, socket.timeout):
                pass
        return text.encode() in data

    def ended(self):
        """Whether the server ends the first of them, whatever it says before."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        self.sockets[0].settimeout(1)
        while time.monotonic() < deadline:
            try:
                data = self.sockets[0].recv(65_536)
            except ConnectionResetError:
                return True
            except socket.timeout:
                continue
            if not data or b"\r\n0\r\n\r\n" in b"\r\n" + data:
                return True
        return False

    def leave(self):
        """All of them go."""
        for one in self.sockets:
            one.close()


def axe_check():
    """A script that returns the violations which axe-core finds on the page."""
    with open(AXE, encoding="utf-8") as file:
        return file.read() + "; return axe.run().then((result) => result.violations.map((one) =>" \
            " [one.id, one.nodes.map((node) => node.target.join(' ')).slice(0, 3)]))"


def number(text):
    """The number that a figure begins with."""
    return float(text.split("/")[0].split()[0].replace(",", ""))


def opened(world, width=1280, height=900, theme="light", server=None):
    """The page of the world's server, with its first numbers."""
    browser = world.client_class.browser
    # The page goes before its server does, of which it would complain; so does what is left of another one.
    world.closers.append(lambda: browser.open("about:blank"))
    browser.open("about:blank")
    browser.complaints()
    browser.screen(width, height, theme)
    browser.open(f"http://127.0.0.1:{(server or world.server).control_port}/")
    browser.wait("live numbers", LIVE)
    return browser


def await_figure(browser, name, value, seconds=PATIENCE_SECONDS):
    """Waits for a figure's value."""
    deadline = time.monotonic() + seconds
    while (shown := browser.run(FIGURES)[name][0]) != value:
        if time.monotonic() > deadline:
            raise Failure(f"{name} is {shown}, not {value}")
        time.sleep(0.1)


def await_row(browser, table, **cells):
    """Waits for a row of a table with these texts in these columns: `c0="text"`."""
    wanted = [[int(column[1:]), text] for column, text in cells.items()]
    found = """return [...document.querySelectorAll(arguments[0] + " tbody tr")].some((row) =>
      arguments[1].every(([column, text]) => row.children[column]?.textContent === text))"""
    browser.wait(f"row {cells} in {table}", found, table, wanted)


def crowd(world, topic, count, agent="crowd", server=None):
    """A crowd that leaves with the world."""
    made = Crowd(server or world.server, topic, count, agent)
    world.closers.append(made.leave)
    return made


def quiet_console(browser, but=()):
    """The console has told of no error and no violation, other than the parts named."""
    said = [line for line in browser.complaints() if not any(part in line for part in but)]
    expect("complaints in the console", said, [])


def numbers_follow_a_load(world):
    """Figures, plots and workers show what subscribers and publishers do, and stop showing it."""
    browser = opened(world)
    load = crowd(world, "load", 60)
    published = threading.Event()

    def publish():
        for _ in range(100):
            world.server.publish("load", "x" * 100)
            time.sleep(0.04)
        published.set()

    threading.Thread(target=publish, daemon=True).start()
    most = 0
    while not published.is_set():
        most = max(most, number(browser.run(FIGURES)["Deliveries"][0]))
        time.sleep(0.2)
    # 25 events a second to 60 subscribers, less what the machine does beside.
    if not 500 < most < 2500:
        raise Failure(f"at most {most} deliveries a second were shown")
    await_figure(browser, "Subscribers", "61")
    browser.wait("exact count", "return document.getElementById('figures').textContent.includes('100 in all')")
    workers = browser.run(ROWS, "#workers")
    expect("subscribers of all workers", sum(number(row[2]) for row in workers), 61)
    plotted = browser.run("return document.querySelector('#plots .legend .value').textContent")
    if number(plotted) < 61:
        raise Failure(f"the plot says {plotted} connections")
    load.leave()
    await_figure(browser, "Subscribers", "1")
    closed = {row[0]: row[2] for row in browser.run(ROWS, "#closed")}
    if number(closed.get("peer", "0")) + number(closed.get("reset", "0")) < 60:
        raise Failure(f"closings by reason: {closed}")
    quiet_console(browser)


def hostile_texts_are_texts(world):
    """Whatever topics, clients and events are called, nothing of it becomes part of the page."""
    crowd(world, SCRIPT_TOPIC, 1, HOSTILE_AGENT)
    browser = opened(world)
    browser.run(SUBMIT, "watch", {"topic": SCRIPT_TOPIC, "last": "5"})
    browser.wait("open watch", "return document.getElementById('watched').textContent.includes('waiting')")
    data = "<img src=x onerror=alert(3)>\n<script>alert(4)</script>"
    browser.run(SUBMIT, "publish", {"topic": SCRIPT_TOPIC, "event": "<b>bold</b>", "data": data})
    shown = browser.wait("watched event", "return document.querySelector('#events code')?.textContent")
    expect("watched text", shown, data)
    expect("its name", browser.run("return document.querySelector('#events b').textContent"), "<b>bold</b>")
    told = browser.wait("answer", "return document.getElementById('published').textContent")
    expect("subscribers told to the publisher", told.endswith(" to 2 subscribers."), True)
    browser.run(TO, "topics")
    await_row(browser, "#topics", c0=SCRIPT_TOPIC)
    browser.run(TO, "clients")
    await_row(browser, "#clients", c1=HOSTILE_AGENT, c2=SCRIPT_TOPIC)
    made = "return document.querySelectorAll('main script, main img, #events b b').length"
    expect("elements made of texts", browser.run(made), 0)
    quiet_console(browser)


def survives_a_restart(world):
    """The page says that its numbers are old, greys them, and goes on by itself with the new process."""
    browser = opened(world)
    browser.run("window.mark = 'same page'")
    world.server.kill()
    said = browser.wait("sign of age", "return document.body.classList.contains('old')"
                        " && document.getElementById('contact').textContent")
    if "No news from the server" not in said:
        raise Failure(f"the page says {said!r}")
    time.sleep(1)
    world.server.start()
    browser.wait("live numbers", LIVE)
    expect("page", browser.run("return window.mark"), "same page")
    crowd(world, "again", 7)
    await_figure(browser, "Subscribers", "8")
    uptime = browser.run("return document.getElementById('build').textContent")
    if "min" in uptime or float(uptime.split("up ")[1].split()[0]) > 30:
        raise Failure(f"the page shows the first process: {uptime}")
    quiet_console(browser, but=["net::ERR_"])


def restarts_are_marks_that_stay(world):
    """A kill and a start are a mark on the curves and in words; both outlive a reload of the page."""
    browser = opened(world)
    crowd(world, "before", 40)
    await_figure(browser, "Subscribers", "41")
    time.sleep(1.5)
    world.server.kill()
    time.sleep(1)
    world.server.start()
    twice = ["server started"] * 2
    marks = browser.wait("second start", MARKS.replace("return", "const marks =") +
                         "; return marks.length > 1 && marks", seconds=15)
    expect("marks", marks, twice)
    browser.open("about:blank")
    browser.open(f"http://127.0.0.1:{world.server.control_port}/")
    browser.wait("live numbers", LIVE)
    expect("marks after a reload", browser.run(MARKS), twice)
    expect("marks on the curve", browser.run(MARK_DOTS), 2)
    told = browser.run(HOVERED)
    if not any(number(value) > 40 for _, value in told if value[0].isdigit()):
        raise Failure(f"the curve has forgotten the time before the restart: {told[:20]}")
    if not any(moment.endswith("server started") for moment, _ in told):
        raise Failure("the cursor does not name the mark")
    quiet_console(browser, but=["net::ERR_"])


def alerts_and_drains_are_marks(world):
    """An alert that fires and a drain that begins are marks like a start."""
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
        config.write('[[alerts]]\nname = "anyone"\nmetric = "subscribers_open"\nabove = 0\n')
        config.flush()
        server, _ = world.serve(drain_ms=2_800_000, config=config.name)
        crowd(world, "a", 20, server=server)
        browser = opened(world, server=server)
        wanted = ["alert anyone firing", "server started"]
        browser.wait("mark of the alert", MARKS + ".join() === arguments[0]", ",".join(wanted))
        expect("drain", server.request("POST", "/drain")[0], 202)
        browser.wait("mark of the drain", MARKS + ".join() === arguments[0]",
                     ",".join(["drain began", *wanted]))
        quiet_console(browser, but=["net::ERR_"])


def an_hour_and_a_day_are_shown(world):
    """The curves of an hour and a day are asked for when they are chosen, and drawn."""
    browser = opened(world)
    crowd(world, "a", 9)
    await_figure(browser, "Subscribers", "10")
    expect("asked before", browser.run(ASKED, "series=hour"), 0)
    value = "return document.querySelector('#plots .legend .value').textContent"
    for name in ("hour", "day"):
        browser.run("document.querySelector(`#ranges [value=${arguments[0]}]`).click()", name)
        browser.wait(f"question for a {name}", f"{ASKED} > 0", f"series={name}")
        # A mean of the time since the start, which was without them.
        mean = value.replace("return", "const shown = Number(") + "); return shown > 0 && shown <= 10"
        browser.wait("mean", mean)
        pressed = "return [...document.querySelectorAll('#ranges [aria-pressed=true]')].map((one) => one.value)"
        expect("chosen", browser.run(pressed), [name])
        expect("marks on the curve", browser.run(MARK_DOTS), 1)
    browser.run("document.querySelector('#ranges [value=minutes]').click()")
    if number(browser.run(value)) < 10:
        raise Failure("the last five minutes have stood still meanwhile")
    quiet_console(browser)


def settings_are_shown_with_their_sources(world):
    """Each setting in force stands with its value and source, those that are set first, secrets masked."""
    server, _ = world.serve(alert_webhook="http://127.0.0.1:9/T0/secret", slow_policy="skip")
    browser = opened(world, server=server)
    expect("asked unseen", browser.run(ASKED, f"{server.control_port}/settings"), 0)
    browser.run(TO, "settings")
    await_row(browser, "#settings", c0="slow_policy", c1="skip", c3="--slow-policy")
    await_row(browser, "#settings", c0="alert_webhook", c1="http://127.0.0.1:9/***", c3="--alert-webhook")
    await_row(browser, "#settings", c0="workers", c1="2", c2="2", c3="--workers")
    sources = [row[3] for row in browser.run(ROWS, "#settings")]
    expect("defaults last", sources, sorted(sources, key=lambda source: source == "default"))
    quiet_console(browser)


def classes_are_shown_when_some_are_set(world):
    """Each class has a row with its share; a topic names its class; without any set nothing is said of them."""
    hidden = "return [...document.querySelectorAll('#classes, nav [href=\"#classes\"]')].map((one) => one.hidden)"
    browser = opened(world)
    expect("classes when none is set", browser.run(hidden), [True, True])
    file = tempfile.NamedTemporaryFile("w", suffix=".toml")
    world.closers.append(file.close)
    file.write("[[class]]\nname = 'prices'\ntopics = ['prices.*']\nhistory_events = 2\n")
    file.flush()
    server, _ = world.serve(config=file.name)
    browser = opened(world, server=server)
    expect("classes when one is set", browser.run(hidden), [False, False])
    crowd(world, "prices.oil", 3, server=server)
    for _ in range(5):
        server.publish("prices.oil", "x" * 100)
    server.publish("other", "x")
    await_row(browser, "#classes", c0="prices", c1="1", c2="3", c3="5", c4="5", c5="2")
    await_row(browser, "#classes", c0="default", c3="1", c4="1")
    browser.run(TO, "topics")
    await_row(browser, "#topics", c0="prices.oil", c7="prices")
    await_row(browser, "#topics", c0="other", c7="default")
    quiet_console(browser)


def send_beacon(server, delay_class=3, **changes):
    """A page's figures, as the client library sends them."""
    delays = [0] * 12
    delays[delay_class] = 5
    body = {"connects": 2, "connect_ms": 30, "connected_ms": 900, "total_ms": 1_000, "events": 5, "bytes": 321, "gaps": 1,
            "duplicates": 0, "delays": delays, "reconnects": {"cut": 3, "silent": 1}, **changes}
    status, _ = server.request("POST", "/client-metrics", json.dumps(body), port=server.port)
    expect("answer to a beacon", status, 204)


def page_figures_are_shown_when_pages_send_some(world):
    """They are marked as unchecked, never warn, and a lie stays within bounds."""
    shown = """return Object.fromEntries([...document.querySelectorAll("#pages-list .figure")].map((figure) =>
      [figure.children[0].textContent, [figure.children[1].textContent, figure.children[2].textContent.trim()]]))"""
    hidden = "return [...document.querySelectorAll('#pages, nav [href=\"#pages\"]')].map((one) => one.hidden)"
    browser = opened(world)
    expect("figures before the first beacon", browser.run(hidden), [True, True])
    for _ in range(3):
        send_beacon(world.server)
    send_beacon(world.server, delay_class=7)
    browser.wait("figures", "return document.querySelector('#pages-list .value').textContent === '4'")
    browser.wait("delays", "return document.querySelector('#pages-list').textContent.includes('≤ 1.0 s')")
    expect("figures after it", browser.run(hidden), [False, False])
    expect("figures", browser.run(shown), {
        "Beacons, 1 min": ["4", "4 in all"],
        "Delay p99, 1 min": ["≤ 1.0 s", "half of them ≤ 50.0 ms"],
        "Connected": ["90.0 %", "of the time of their pages"],
        "Streams opened": ["8", "in 15.0 ms on average"],
        "Streams ended, 1 min": ["16", "in all 12 cut, 4 silent"],
        "Events heard": ["20", "1.3 KiB; 4 gaps, 0 repeats"]})
    send_beacon(world.server, connected_ms=10**9, gaps=10**9)
    browser.wait("a lie", "return document.querySelector('#pages-list').textContent.includes('100.0 %')")
    expect("warnings", browser.run("return document.querySelectorAll('#pages-list .warns').length"), 0)
    note = browser.run("return document.querySelector('#pages .note').textContent")
    expect("the note", "Nobody has checked it" in note, True)
    quiet_console(browser)


def log_lines_are_shown_as_text(world):
    """The newest lines of the log are shown, newest first, and whatever strangers wrote into them is text."""
    server, _ = world.serve(log_level="debug")
    browser = opened(world, server=server)
    expect("asked unseen", browser.run(ASKED, f"{server.control_port}/log"), 0)
    browser.run(TO, "log")
    lines = "return [...document.querySelectorAll('#log-lines code')].map((one) => one.textContent)"
    browser.wait("line of the start", lines + ".some((line) => line.startsWith('event=started '))")
    crowd(world, SCRIPT_TOPIC, 1, HOSTILE_AGENT, server)
    browser.wait("line of the client", lines + ".some((line) => line.includes(arguments[0]))", HOSTILE_AGENT)
    shown = browser.run(lines)
    started = next(at for at, line in enumerate(shown) if line.startswith("event=started "))
    client = next(at for at, line in enumerate(shown) if HOSTILE_AGENT in line)
    expect("newest first", client < started, True)
    made = "return document.querySelectorAll('#log img, #log script').length"
    expect("elements made of texts", browser.run(made), 0)
    quiet_console(browser)


def drain_is_shown(world):
    """While the server drains the stream has ended, and the page asks instead."""
    server, _ = world.serve(drain_ms=2_800_000)  # for 21 streams: 10 000 would take all of it
    crowd(world, "a", 20, server=server)
    browser = opened(world, server=server)
    expect("drain", server.request("POST", "/drain")[0], 202)
    browser.wait("sign of the drain", "return document.getElementById('state').textContent === 'draining'"
                 " && document.getElementById('attention-list').textContent.includes('draining')")
    quiet_console(browser, but=["net::ERR_"])


def hidden_page_holds_no_connection(world):
    """A browser grants a host six connections: pages in other tabs leave them to the one in front."""
    browser = opened(world)
    streams = lambda: json.loads(world.server.request("GET", "/status")[1])["subscribers"]["open"]
    expect("streams of the page", streams(), 1)
    front = browser.tab()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while streams() > 0:
        if time.monotonic() > deadline:
            raise Failure("a hidden page keeps its stream")
        time.sleep(0.1)
    browser.tab(front)
    browser.wait("live numbers", LIVE)
    await_figure(browser, "Subscribers", "1")
    for _ in range(8):
        browser.open(browser.run("return location.href"))
        browser.run(SUBMIT, "watch", {"topic": "a", "last": "5"})
    browser.wait("live numbers after eight loads", LIVE)
    quiet_console(browser)


def works_with_the_keyboard(world):
    """Everything can be reached, seen and done by keys alone."""
    browser = opened(world)
    seen = []
    while len(seen) < 80:
        browser.press("Tab")
        at = browser.run(FOCUSED)
        if at["tag"] == "BODY":
            break
        if not at["outlined"]:
            raise Failure(f"focus cannot be seen on {at}")
        seen.append(at)
    expect("first stop", seen[0]["class"], "skip")
    expect("stops", len(seen), browser.run(FOCUSABLE))
    themes = []
    browser.run("document.getElementById('theme').focus()")
    for _ in range(3):
        browser.press("Enter")
        themes.append(browser.run("return document.documentElement.dataset.theme ?? 'auto'"))
    expect("themes", themes, ["light", "dark", "auto"])
    browser.press("Enter", "Enter")
    browser.open(browser.run("return location.href"))
    expect("theme kept", browser.run("return document.documentElement.dataset.theme"), "dark")
    browser.run("localStorage.clear()")
    browser.run("document.querySelector('#publish input').focus()")
    browser.press("keys", "Tab", "Tab", "typed", "Tab", "Enter")
    browser.wait("answer", "return document.getElementById('published').textContent.startsWith('Published ')")
    quiet_console(browser)


def ends_a_connection(world):
    """Ending a client asks first, and only then ends it."""
    victim = crowd(world, "victim", 1, "the victim")
    browser = opened(world)
    browser.run(TO, "clients")
    focus = """const row = [...document.querySelectorAll("#clients tbody tr")]
      .find((row) => row.textContent.includes("the victim"));
      row?.querySelector("button")?.focus(); return Boolean(row)"""
    browser.wait("row of the victim", focus)
    browser.press("Enter")
    expect("question", browser.run("return document.getElementById('end').open"), True)
    if "the victim" not in browser.run("return document.getElementById('end-text').textContent"):
        raise Failure("the question does not name the client")
    browser.press("Enter")
    expect("question after a no", browser.run("return document.getElementById('end').open"), False)
    browser.wait("row of the victim", focus)
    browser.press("Enter", "Escape")
    status = json.loads(world.server.request("GET", "/status")[1])
    expect("subscribers", status["subscribers"]["open"], 2)
    browser.wait("row of the victim", focus)
    browser.press("Enter", "Tab", "Enter")
    if not victim.ended():
        raise Failure("the connection was not ended")
    await_row(browser, "#closed", c0="operator")
    quiet_console(browser)


def a_second_question_gets_its_own_answer(world):
    """A browser may tell late that a question was closed: that is not the answer to the one open by then."""
    bystander = crowd(world, "bystander", 1, "the bystander")
    victim = crowd(world, "victim", 1, "the victim")
    browser = opened(world)
    browser.run(TO, "clients")
    ask = """const ask = (who) => [...document.querySelectorAll("#clients tbody tr")]
      .find((row) => row.textContent.includes(who))?.querySelector("button"),
      question = document.getElementById("end"); """
    browser.wait("rows of both", ask + "return Boolean(ask('the bystander') && ask('the victim'))")
    browser.run(ask + "ask('the bystander').click(); question.close('cancel'); ask('the victim').click()")
    time.sleep(0.5)
    browser.run("document.getElementById('end').close('end')")
    if not victim.ended():
        raise Failure("the connection was not ended")
    time.sleep(0.5)
    expect("connections asked to end", browser.run(ASKED, "connections/"), 1)
    world.server.publish("bystander", "still here")
    if not bystander.hears("still here"):
        raise Failure("who was not to be ended was ended")
    quiet_console(browser)


def readers_that_stop_are_named_while_they_do(world):
    """A subscriber that takes nothing is named before it is cut, and is the one that a search finds."""
    browser = opened(world)
    browser.wait("table that nobody sees", "return document.querySelector('#clients tbody').textContent"
                 " === 'Asked for when it is seen.'")
    sleeper = socket.socket()
    sleeper.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sleeper.connect(("127.0.0.1", world.server.port))
    world.closers.append(sleeper.close)
    sleeper.sendall(b"GET /events?topic=sleepy HTTP/1.1\r\nHost: a\r\nUser-Agent: <b>sleeper\r\n\r\n")
    time.sleep(0.5)
    for _ in range(60):
        world.server.publish("sleepy", "x" * 60_000)
    said = browser.wait("name of the sleeper", "const line = document.getElementById('stalled');"
                        " return !line.hidden && line.textContent")
    if "1 subscriber has stopped reading" not in said or "(<b>sleeper) on sleepy" not in said:
        raise Failure(f"the page says {said!r}")
    script = """const [, value, note] = document.getElementById("hurts").children;
      return note.textContent.startsWith("not reading:") && [value.textContent, note.textContent]"""
    hurts = browser.wait("who hurts", script)
    expect("who hurts", [hurts[0], hurts[1].endswith(" on sleepy")], ["1", True])
    crowd(world, "awake", 3, "awake")
    browser.run(TO, "clients")
    browser.run("const search = document.querySelector('#clients input'); search.value = 'SLEEPER';"
                " search.dispatchEvent(new Event('input'))")
    await_row(browser, "#clients", c1="<b>sleeper", c2="sleepy")
    browser.wait("only the sleeper", "return document.querySelectorAll('#clients tbody button').length === 1")
    quiet_console(browser)


def one_glance_tells_how_it_is(world):
    """The first screen says in large letters: is it well, how many, how fast, who hurts."""
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
        config.write('[[alerts]]\nname = "crowded"\nmetric = "subscribers_open"\nabove = 3\n')
        config.flush()
        server, _ = world.serve(config=config.name)
    for width, height in ((390, 844), (1400, 900)):
        browser = opened(world, width, height, server=server)
        browser.wait("good word", GLANCE + "[0] === 'All well'")
        browser.wait("the page's own stream", GLANCE + "[1] === '1'")
        expect("trouble", browser.run(GLANCE)[3], "Nobody")
        visitors = crowd(world, "a", 5, server=server)
        browser.wait("warning", GLANCE + "[0] === 'Warning'")
        why = browser.run("return document.getElementById('verdict-why').textContent")
        if not why.startswith("Alert crowded:"):
            raise Failure(f"the warning says {why!r}")
        browser.wait("subscribers", GLANCE + "[1] === '6'")
        expect("clipped texts", browser.run(CLIPPED), [])
        visitors.leave()
        browser.wait("good word", GLANCE + "[0] === 'All well'")
    least = browser.run("return Math.min(...[...document.querySelectorAll('#glance strong')]"
                        ".map((one) => parseFloat(getComputedStyle(one).fontSize)))")
    if least < 44:
        raise Failure(f"{least} pixels cannot be read across a room")
    lowest = browser.run("return document.getElementById('glance').getBoundingClientRect().bottom")
    expect("on the first screen", lowest < 400, True)
    server.kill()
    browser.wait("sign of no contact", GLANCE + "[0] === 'No contact'", seconds=15)
    expect("clipped texts", browser.run(CLIPPED), [])
    expect("violations in grey", browser.run(axe_check()), [])
    quiet_console(browser, but=["net::ERR_"])


def panels_ask_only_while_seen(world):
    """What costs the server a walk over its connections is asked for only while somebody looks."""
    browser = opened(world)
    time.sleep(3.5)
    expect("asked unseen", [browser.run(ASKED, path) for path in ("connections?", "topics?")], [0, 0])
    browser.run(TO, "clients")
    browser.wait("question", f"{ASKED} > 0", "connections?")
    browser.run("scrollTo(0, 0)")
    time.sleep(0.5)
    before = browser.run(ASKED, "connections?")
    time.sleep(3.5)
    expect("asked after", browser.run(ASKED, "connections?"), before)
    names = browser.run("return performance.getEntriesByType('resource').map((one) => one.name)")
    own = f"http://127.0.0.1:{world.server.control_port}/"
    expect("asked of others", [name for name in names if not name.startswith(own)], [])
    quiet_console(browser)


def accessible_in_light_and_dark(world):
    """axe-core finds nothing, in both themes, wide and narrow, with rows, events and an open question."""
    check = axe_check()
    crowd(world, "a", 3)
    send_beacon(world.server)
    for theme, width in (("light", 1280), ("dark", 1280), ("light", 360), ("dark", 360)):
        browser = opened(world, width=width, theme=theme)
        browser.run(SUBMIT, "watch", {"topic": "a", "last": "5"})
        world.server.publish("a", "x", "named")
        browser.run(TO, "clients")
        browser.wait("row", "return document.querySelector('#clients tbody button')")
        expect(f"violations in {theme}, {width} wide", browser.run(check), [])
        browser.run("document.querySelector('#clients tbody button').click()")
        expect(f"violations of the question in {theme}", browser.run(check), [])
    moving = """return getComputedStyle(document.documentElement).scrollBehavior !== "auto"
      || document.getAnimations().length > 0"""
    expect("motion that nobody wants", browser.run(moving), False)
    if not browser.run("document.querySelector('#end button').textContent = ''; " + check):
        raise Failure("a button without a name was not found")
    quiet_console(browser)


def fits_a_phone(world):
    """Nothing is wider than 360 pixels, whatever is shown."""
    crowd(world, "t" * 128, 2, "an agent of many words " * 5)
    send_beacon(world.server, connect_ms=10**9, events=10**9, bytes=10**9, gaps=10**9, duplicates=10**9)
    browser = opened(world, 360, 740)
    for section in ("clients", "topics", "hand"):
        browser.run(TO, section)
        time.sleep(0.8)
    browser.run(SUBMIT, "watch", {"topic": "t" * 128, "last": "1"})
    world.server.publish("t" * 128, "w" * 3000)
    browser.wait("event", "return document.querySelector('#events code')?.textContent.length === 3000")
    browser.run(TO, "clients")
    browser.wait("row", "return document.querySelector('#clients tbody button')")
    expect("width", browser.run("return document.documentElement.scrollWidth"), 360)
    wide = """return [...document.querySelectorAll("main *")]
      .filter((one) => !one.closest(".wide") && one.getBoundingClientRect().right > 361)
      .map((one) => one.outerHTML.slice(0, 80))"""
    expect("too wide", browser.run(wide), [])
    quiet_console(browser)


def works_under_a_token(world):
    """With a control token the browser asks people once, and then the whole page works."""
    token = "token-of-the-operator"
    with tempfile.NamedTemporaryFile("w", suffix=".token", delete=False) as file:
        file.write(token)
    world.closers.append(lambda: os.unlink(file.name))
    server, _ = world.serve(control_token_file=file.name)
    expect("a stranger", server.request("GET", "/")[0], 401)
    browser, host = world.client_class.browser, f"127.0.0.1:{server.control_port}"
    # As if somebody had typed it into the browser's own window.
    browser.open(f"http://ops:{token}@{host}/")
    opened(world, server=server)
    crowd(world, "a", 2, server=server)
    # The page itself is the third.
    await_figure(browser, "Subscribers", "3")
    browser.run(TO, "clients")
    browser.wait("row", "return document.querySelector('#clients tbody button')")
    expect("the token on the page", browser.run("return document.body.textContent.includes(arguments[0])", token),
           False)
    quiet_console(browser)


def console_is_heard(world):
    """A violation of the policy would be noticed by the other scenarios, and does no harm."""
    browser = opened(world)
    attempt = """const script = document.createElement("script");
      try { script.textContent = "window.harm = true"; document.body.append(script); } catch {}
      try { document.body.innerHTML = "<b>x</b>"; } catch {}
      return [window.harm ?? "none", document.querySelector("main") !== null]"""
    expect("harm", browser.run(attempt), ["none", True])
    if not any("Content Security Policy" in line or "TrustedHTML" in line for line in browser.complaints()):
        raise Failure("the console says nothing of a violation")


class Dashboard(driver.BrowserClient):
    """The page in a browser."""

    name = "dashboard"
    scenarios = [numbers_follow_a_load, hostile_texts_are_texts, survives_a_restart,
                 restarts_are_marks_that_stay, alerts_and_drains_are_marks,
                 an_hour_and_a_day_are_shown, settings_are_shown_with_their_sources,
                 classes_are_shown_when_some_are_set,
                 page_figures_are_shown_when_pages_send_some, log_lines_are_shown_as_text, drain_is_shown,
                 hidden_page_holds_no_connection, works_with_the_keyboard, ends_a_connection,
                 a_second_question_gets_its_own_answer, panels_ask_only_while_seen,
                 readers_that_stop_are_named_while_they_do, one_glance_tells_how_it_is,
                 accessible_in_light_and_dark, fits_a_phone, works_under_a_token, console_is_heard]

    @classmethod
    def missing(cls):
        """Why this cannot run here, or nothing."""
        return super().missing() or (None if os.path.exists(AXE) else "axe-core not installed")
