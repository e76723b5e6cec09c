"""Pictures of the dashboard under a real load: those of the documents, or the whole page for its authors.

Usage: pictures.py FOLDER [--all] [--seconds N]. The pictures are dashboard-light, -dark and -phone; with
--all they are whole pages in each width and theme, and what an empty, a draining and a dead server look
like. Curves are N (300) seconds long, with a kill and a restart in their middle, so run it on a machine that
does nothing else. SERVER_BIN names the server; the development build is taken otherwise. Those of the
documents are made smaller by pngquant, a Debian package.
"""

import argparse
import os
import socket
import subprocess
import tempfile
import time

import driver
import server

CONFIG = """[[alerts]]
name = "many_subscribers"
metric = "subscribers_open"
above = 1500
for_ms = 5000
"""
#: Those of the documents: name, width, height, theme.
SCREENS = (("light", 1280, 1060, "light"), ("dark", 1280, 1060, "dark"), ("phone", 390, 844, "light"))
#: Something in every part that asks for it.
BY_HAND = """for (const [id, values] of Object.entries({ watch: { topic: "load.0", last: 3 },
    publish: { topic: "news", event: "headline", data: "Fans turn" } })) {
  const form = document.getElementById(id);
  for (const [name, value] of Object.entries(values)) form.elements[name].value = value;
  form.requestSubmit();
}"""
HEIGHT = "return document.documentElement.scrollHeight"


def load(one, seconds):
    """2 000 subscribers of ten topics, five events a second."""
    command = [server.BINARY, "load", "--subscribers", "2000", "--topics", "10", "--rate", "5",
               "--bytes", "8000", "--seconds", str(seconds),
               "--topic-prefix", "load.",
               "--subscribe-url", f"http://127.0.0.1:{one.port}/events?topic={{topic}}",
               "--publish-url", f"http://127.0.0.1:{one.control_port}/publish?topic={{topic}}"]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def sleepers(one, count):
    """Subscribers that read nothing, until they are closed."""
    sockets = []
    for number in range(count):
        sleeper = socket.socket()
        sleeper.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sleeper.connect(("127.0.0.1", one.port))
        head = f"GET /events?topic=load.{number % 10} HTTP/1.1\r\nHost: a\r\nUser-Agent: sleeper\r\n\r\n"
        sleeper.sendall(head.encode())
        sockets.append(sleeper)
    return sockets


def shrink(path):
    """Few colours are enough for a page of text and lines."""
    subprocess.run(["pngquant", "--force", "--strip", "--speed", "1", "--output", path, "40", path], check=True)


def show(browser, one, width, height, theme):
    """The page on a screen."""
    browser.screen(width, height, theme)
    browser.open(f"http://127.0.0.1:{one.control_port}/")
    browser.wait("live numbers", "return document.getElementById('age').textContent === 'live'")
    # The names of stalled readers are asked for after the first numbers.
    time.sleep(4)


def whole(browser, path, width, theme):
    """The page from its first to its last line."""
    height = browser.run(HEIGHT)
    browser.screen(width, height, theme)
    # Tables are asked for once they can be seen, and make the page longer.
    time.sleep(4)
    browser.screen(width, browser.run(HEIGHT), theme)
    time.sleep(1)
    browser.picture(path)


def all_of_it(browser, one, path):
    """Each width and theme, whole."""
    for width, height in ((1400, 900), (390, 844)):
        for theme in ("light", "dark"):
            show(browser, one, width, height, theme)
            browser.run(BY_HAND)
            whole(browser, path(f"all-{width}-{theme}"), width, theme)


def other_states(browser, path):
    """A server without anything, one that drains, one that is gone."""
    one = server.Server(heartbeat_ms=15_000, drain_ms=3_600_000)
    show(browser, one, 1280, 900, "light")
    whole(browser, path("empty"), 1280, "light")
    show(browser, one, 390, 844, "dark")
    crowd = load(one, 60)
    time.sleep(5)
    one.request("POST", "/drain")
    time.sleep(3)
    browser.picture(path("draining"))
    one.kill()
    crowd.kill()
    crowd.wait()
    time.sleep(8)
    browser.picture(path("gone"))
    browser.open("about:blank")


def main():
    """Starts everything, takes the pictures, ends everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--seconds", type=int, default=300)
    options = parser.parse_args()
    os.makedirs(options.folder, exist_ok=True)
    path = lambda name: os.path.join(options.folder, f"{name}.png")
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
        config.write(CONFIG)
        config.flush()
        one = server.Server(config=config.name, heartbeat_ms=15_000, history_events=1000, stall_ms=90_000,
                            user_timeout_ms=120_000)
        work, browser, asleep = load(one, options.seconds + 180), driver.Driver(), []
        try:
            # The page sees both processes, and shows what the second no longer knows.
            show(browser, one, 1280, 900, "light")
            time.sleep(options.seconds / 2)
            one.kill()
            time.sleep(2)
            one.start()
            time.sleep(options.seconds / 4)
            asleep = sleepers(one, 12)
            time.sleep(options.seconds / 4)
            if options.all:
                all_of_it(browser, one, path)
                other_states(browser, path)
            else:
                for name, width, height, theme in SCREENS:
                    show(browser, one, width, height, theme)
                    browser.picture(path(f"dashboard-{name}"))
                    shrink(path(f"dashboard-{name}"))
        finally:
            browser.close()
            for sleeper in asleep:
                sleeper.close()
            work.terminate()
            work.wait()
            one.kill()


main()
