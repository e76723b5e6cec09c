"""The pages of `examples/browser` in a real browser, served by the program that serves them to a reader.

Each scenario has a server and an application of its own; after each the console must have been silent.
"""

import http.client
import json
import os
import subprocess
import time
from urllib.parse import quote

import driver
from adapters import HERE, Failure
from scenarios import expect

EXAMPLES = os.path.join(os.path.dirname(os.path.dirname(HERE)), "examples", "browser")
#: Fills the fields of the page's form, chooses a file of so many bytes if there is a place for one, and sends it.
#: Returns whether the page's script has taken it: a browser would leave a page that is not ready yet.
SUBMIT = """const form = document.querySelector("form"), [fields, size] = arguments;
  for (const [name, value] of Object.entries(fields)) form.elements[name].value = value;
  if (size) {
    const chosen = new DataTransfer();
    chosen.items.add(new File(["x".repeat(size)], "file.bin"));
    form.elements.file.files = chosen.files;
  }
  return !form.dispatchEvent(new SubmitEvent("submit", { cancelable: true, bubbles: true }))"""
#: The text of an element as it is seen, in one line.
TEXT = "return document.querySelector(arguments[0])?.innerText.split(/\\s+/).join(' ').trim()"
IS_TEXT = f"return (function () {{ {TEXT} }})(...arguments) === arguments[1]"
HOSTILE = "<img src=x onerror=alert(1)>"


class Application:
    """The examples' own program beside a server, which the world ends with it."""

    def __init__(self, world, program="demo.mjs"):
        self.world, self.browser = world, world.client_class.browser
        self.server, _ = world.serve(history_events=10_000, heartbeat_ms=500)
        world.server = self.server
        public, control = (f"http://127.0.0.1:{port}" for port in (self.server.port, self.server.control_port))
        command = ["node", os.path.join(EXAMPLES, program), "0", public, control]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        world.closers.append(self.process.kill)
        # The page goes before its server does, of which it would complain.
        world.closers.append(lambda: self.browser.open("about:blank"))
        self.address = self.process.stdout.readline().decode().strip().partition("?")[0]
        self.public = public
        self.browser.complaints()

    def open(self, name, **query):
        """Opens a page of the folder."""
        more = "".join(f"&{key}={quote(value)}" for key, value in query.items())
        self.browser.open(f"{self.address}{name}?server={quote(self.public, safe='')}{more}")

    def in_new_tab(self):
        """Goes on in a second tab, which the world closes; returns the handle of the first."""
        first = self.browser.tab()
        second = self.browser.handle()

        def close():
            self.browser.tab(second)
            self.browser.close_tab(first)

        self.world.closers.append(close)
        return first

    def shows(self, element, text):
        """Waits until an element has exactly this text."""
        try:
            self.browser.wait(text, IS_TEXT, element, text)
        except Failure as failure:
            raise Failure(f"{element} says {self.browser.run(TEXT, element)!r}, not {text!r}") from failure

    def submit(self, size=0, **fields):
        """Sends the page's form, with a file of so many bytes."""
        self.browser.wait("a form that is sent", SUBMIT, fields, size)

    def silent(self):
        """The console has told of no error."""
        expect("complaints in the console", self.browser.complaints(), [])


def counter_is_in_step(world):
    """Two pages that were opened at different moments show the same number, and count."""
    app = Application(world)
    published = time.monotonic()
    app.server.publish("counter", "")
    shown = "const shown = document.querySelector('output').value; return /^[0-9]+$/.test(shown) && shown"
    app.open("counter.html")
    app.browser.wait("number", shown)
    time.sleep(1.2)
    app.open("counter.html")
    number = int(app.browser.wait("number", shown))
    # However long a busy machine takes to open a page.
    passed = time.monotonic() - published
    if not 1 <= number <= passed:
        raise Failure(f"{number} seconds since an event that came {passed:.1f} seconds ago")
    app.browser.wait("next number", "return Number(document.querySelector('output').value) > arguments[0]", number)
    app.silent()


def ticker_has_the_newest_price(world):
    """Each share has one row with its newest price."""
    app = Application(world)
    for share, price in (("ABC", 1), ("XYZ", 5), ("ABC", 2)):
        app.server.publish("prices", json.dumps({"share": share, "price": price}))
    app.open("ticker.html")
    app.shows("table", "ABC 2.00 XYZ 5.00")
    app.server.publish("prices", json.dumps({"share": "XYZ", "price": 6.5}))
    app.shows("table", "ABC 2.00 XYZ 6.50")
    # A frame of the page later.
    app.browser.wait("one change", "return document.querySelectorAll('.changed').length === 1")
    app.silent()


def rendered_page_misses_nothing(world):
    """What is published between the page's state and its stream arrives."""
    app = Application(world, "rendered.mjs")
    app.browser.open(app.address)
    for votes in range(1, 4):
        app.browser.run("document.querySelector('button').click()")
        app.browser.wait("vote", "return document.querySelector('output').value === arguments[0]", str(votes))


def chat_is_one_talk(world):
    """All pages show the same lines in one order, a newcomer too; what people write stays text."""
    app = Application(world)
    lines = "return [...document.querySelectorAll('li')].map((line) => line.innerText.replace(/ [0-9:]+( [AP]M)?$/, ''))"
    app.open("chat.html")
    app.submit(name="Ann", text="hello")
    app.shows("li:nth-child(1) b", "Ann")
    app.submit(name="<b>Bob", text=HOSTILE)
    app.shows("li:nth-child(2) b", "<b>Bob")
    expect("lines", app.browser.run(lines), ["Ann hello", f"<b>Bob {HOSTILE}"])
    first = app.in_new_tab()
    app.open("chat.html")
    app.shows("li:nth-child(2) b", "<b>Bob")
    app.submit(name="Cy", text="late")
    app.shows("li:nth-child(3) b", "Cy")
    expect("lines of a newcomer", app.browser.run(lines), ["Ann hello", f"<b>Bob {HOSTILE}", "Cy late"])
    app.browser.tab(first)
    app.shows("li:nth-child(3) b", "Cy")
    app.silent()


def notifications_reach_their_user(world):
    """One user sees its own and those of everybody, each once; what is old is no news."""
    app = Application(world)
    app.server.publish("user.ann", "from before")
    app.open("notifications.html", user="ann")
    app.shows("ul", "from before")
    app.submit(user="bob", text="not yours")
    app.submit(user="Ann", text="yours")
    app.submit(user="everyone", text="for all")
    app.shows("ul", "for all yours from before")
    app.shows("#unread", "2 new")
    app.silent()


def upload_shows_its_progress(world):
    """The job's progress and end come to the page that sends, and to another one that follows."""
    app = Application(world)
    app.open("upload.html", job="7")
    app.browser.run("""window.notes = []; const note = document.querySelector("#note");
      new MutationObserver((changes) => {
        for (const { addedNodes } of changes) notes.push(...[...addedNodes].map((text) => text.textContent));
      }).observe(note, { childList: true })""")
    app.submit(size=300_000)
    app.shows("#note", "300000 bytes are processed.")
    steps = app.browser.run("return notes.filter((text) => text.startsWith('processed: ')).length")
    expect("steps of its progress", steps, 10)
    app.open("upload.html", job="7")
    app.shows("#note", "300000 bytes are processed.")
    app.silent()


def answer_comes_word_by_word(world):
    """It can be read while it is written, and is the same after a reload in its middle."""
    app = Application(world)
    whole = "You asked: why A model would write its answer here, and publish each word as soon as it has it."
    app.open("answer.html")
    app.submit(question="why")
    partial = "return document.querySelector('#answer').textContent.length > 10"
    app.browser.wait("first words", partial)
    app.browser.run("location.reload()")
    app.shows("#answer", whole)
    app.shows("#note", "That is all.")
    app.silent()


def board_says_when_it_hears_nothing(world):
    """Each service has its newest state; a board without a server says so."""
    app = Application(world)
    for service, state in (("mail", "up"), ("search", "slow"), ("mail", "down")):
        app.server.publish("board", json.dumps({"service": service, "state": state}))
    app.open("board.html")
    app.shows("table", "mail down search slow")
    expect("class", app.browser.run("return document.querySelector('td:last-child').className"), "down")
    app.shows("#note", "")
    app.server.kill()
    app.browser.wait("a word about it", "return document.querySelector('#note').textContent.includes('No contact')")
    app.server.start()
    app.shows("#note", "")


def htmx_swaps_fragments(world):
    """Events of two names change two places; what people write stays text."""
    app = Application(world)
    app.server.publish("htmx", "120", "visitors")
    app.open("htmx.html")
    app.shows("b", "120")
    app.submit(text="first")
    app.shows("li", "first")
    app.submit(text=HOSTILE)
    app.shows("ul", f"{HOSTILE} first")
    app.server.publish("htmx", "121", "visitors")
    app.shows("b", "121")
    app.silent()


def hooks_show_the_newest_event(world):
    """The hook for React and the composable for Vue begin with the newest event and follow."""
    app = Application(world)
    for page in ("react.html", "vue.html"):
        app.server.publish("prices", f"before {page}")
        app.open(page)
        app.shows("output", f"before {page}")
        app.shows("small", "open")
        app.server.publish("prices", f"after {page}")
        app.shows("output", f"after {page}")
        app.silent()


def list_has_all_pages(world):
    """The list of pages leads to each page of the folder, and takes the server's address along."""
    app = Application(world)
    app.open("")
    links = app.browser.run("return [...document.links].map((link) => [link.pathname.slice(1), link.search])")
    pages = sorted(name for name in os.listdir(EXAMPLES) if name.endswith(".html") and name != "index.html")
    expect("pages", sorted(name for name, _ in links), pages)
    for _, search in links:
        if quote(app.public, safe="") not in search:
            raise Failure(f"a link without the server's address: {search}")
    app.silent()


def application_refuses_what_is_wrong(world):
    """Files beyond the folder, bodies that are too large, and no JSON: an error, and it goes on."""
    app = Application(world)
    port = int(app.address.rstrip("/").rpartition(":")[2])

    def status(method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request(method, path, body)
            return connection.getresponse().status
        finally:
            connection.close()

    wrong = [status("GET", "/../package.json"), status("GET", "/modules/../demo.mjs"), status("GET", "/none.html"),
             status("POST", "/chat", "x" * 100_000), status("POST", "/chat", "{")]
    expect("answers", wrong, [404, 404, 404, 502, 502])
    expect("a page afterwards", status("GET", "/chat.html"), 200)


class Examples(driver.BrowserClient):
    """The examples' pages."""

    name = "examples"
    scenarios = [counter_is_in_step, ticker_has_the_newest_price, rendered_page_misses_nothing, chat_is_one_talk,
                 notifications_reach_their_user, upload_shows_its_progress, answer_comes_word_by_word,
                 board_says_when_it_hears_nothing, htmx_swaps_fragments, hooks_show_the_newest_event,
                 list_has_all_pages, application_refuses_what_is_wrong]

    @classmethod
    def missing(cls):
        """Why this cannot run here, or nothing."""
        if not os.path.isdir(os.path.join(EXAMPLES, "node_modules")):
            return "the npm packages of the examples are not installed"
        return super().missing()
