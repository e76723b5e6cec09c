"""A headless Chromium, driven over chromedriver's plain HTTP protocol (W3C WebDriver).

Owns the two processes and the session; knows no page.
"""

import base64
import http.client
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time

from adapters import Client, Failure

ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync",
             "--no-proxy-server",
             # A container has 64 MiB of shared memory.
             "--disable-dev-shm-usage"]
#: Tries to start chromedriver: beside others that start, one may end at once.
STARTS = 5
#: Time for a start, a session and each command. Four browsers start at once, on a machine that does more.
PATIENCE_SECONDS = 60
#: What a key is called by WebDriver.
KEYS = {"Tab": "\ue004", "Enter": "\ue007", "Escape": "\ue00c", "Space": " ", "Shift": "\ue008"}


def missing():
    """Why no browser can be driven here, or nothing."""
    absent = [program for program in ("chromium", "chromedriver") if not shutil.which(program)]
    return f"{' and '.join(absent)} not installed" if absent else None


class Session:
    """What every driver of a browser has: `_open` and `_run` are the driver's."""

    def open(self, url):
        """Goes to an address and waits until its page is loaded."""
        with self.lock:
            self._open(url)

    def run(self, script, *arguments):
        """Runs a function body in the page; a promise it returns is awaited."""
        with self.lock:
            return self._run(script, arguments)

    def wait(self, what, script, *arguments, seconds=PATIENCE_SECONDS):
        """Runs a function body until it returns something true; fails with what it returned last."""
        deadline = time.monotonic() + seconds
        while True:
            value = self.run(script, *arguments)
            if value:
                return value
            if time.monotonic() > deadline:
                raise Failure(f"no {what} within {seconds} s: {value!r}")
            time.sleep(0.1)


class Driver(Session):
    """One browser session. Its calls are made by one thread at a time."""

    def __init__(self, hosts=()):
        # Names of hosts that are this one.
        rules = [f"--host-resolver-rules=MAP {host} 127.0.0.1" for host in hosts]
        self.arguments = [*ARGUMENTS, *rules]
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.session = None
        self.lock = threading.Lock()
        self._start()
        try:
            self._open_session()
        except Exception:
            self.close()
            raise

    def _start(self):
        """Starts chromedriver on a port of the kernel's choice; again, on another one, if it ends."""
        for _ in range(STARTS):
            self.driver = subprocess.Popen(["chromedriver", "--port=0"], stdin=subprocess.DEVNULL,
                                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                           start_new_session=True)
            # Its end ends the reading below.
            watch = threading.Timer(PATIENCE_SECONDS, self.driver.kill)
            watch.start()
            said = []
            for line in self.driver.stdout:
                said.append(line.decode(errors="replace").strip())
                if "started successfully on port" in said[-1]:
                    watch.cancel()
                    self.driver_port = int(said[-1].split()[-1].rstrip("."))
                    # What it says later must not fill the pipe.
                    threading.Thread(target=self.driver.stdout.read, daemon=True).start()
                    return
            watch.cancel()
            code = self.driver.wait()
        self.profile.cleanup()
        raise Failure(f"chromedriver did not start, {STARTS} times; exit code {code}: {' '.join(said)}")

    def _open_session(self):
        options = {"args": [*self.arguments, f"--user-data-dir={self.profile.name}"],
                   "binary": shutil.which("chromium")}
        capabilities = {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options,
                                        "goog:loggingPrefs": {"browser": "ALL"}}}
        self.session = self._call("POST", "/session", {"capabilities": capabilities})["sessionId"]

    def _call(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.driver_port, timeout=PATIENCE_SECONDS)
        try:
            connection.request(method, path, body=None if body is None else json.dumps(body))
            value = json.loads(connection.getresponse().read())["value"]
        finally:
            connection.close()
        if isinstance(value, dict) and "error" in value:
            raise Failure(f"chromedriver: {value['error']}: {value.get('message', '')[:200]}")
        return value

    def _ask(self, path, body):
        return self._call("POST", f"/session/{self.session}{path}", body)

    def _run(self, script, arguments=()):
        return self._ask("/execute/sync", {"script": script, "args": list(arguments)})

    def _open(self, url):
        self._ask("/url", {"url": url})

    def command(self, name, **parameters):
        """A command of the browser's own protocol (CDP)."""
        with self.lock:
            return self._ask("/goog/cdp/execute", {"cmd": name, "params": parameters})

    def screen(self, width, height, theme="light"):
        """A screen of so many pixels, in a theme that the system prefers; without motion."""
        self.command("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                     mobile=width < 600)
        features = {"prefers-color-scheme": theme, "prefers-reduced-motion": "reduce"}
        features = [{"name": name, "value": value} for name, value in features.items()]
        self.command("Emulation.setEmulatedMedia", features=features)

    def press(self, *keys):
        """Presses keys one after the other; of a text, each of its letters. `Shift+Tab` is one press."""
        actions = []
        for key in keys:
            held = ["Shift"] if key.startswith("Shift+") else []
            name = key.removeprefix("Shift+")
            for letter in [KEYS[name]] if name in KEYS else name:
                down = [{"type": "keyDown", "value": KEYS[one]} for one in held]
                up = [{"type": "keyUp", "value": KEYS[one]} for one in held]
                press = [{"type": kind, "value": letter} for kind in ("keyDown", "keyUp")]
                actions += [*down, *press, *up]
        with self.lock:
            self._ask("/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def tab(self, handle=None):
        """Brings a tab to the front, a new one without a handle; returns the handle of the one that was."""
        with self.lock:
            before = self._call("GET", f"/session/{self.session}/window")
            handle = handle or self._ask("/window/new", {"type": "tab"})["handle"]
            self._ask("/window", {"handle": handle})
        return before

    def handle(self):
        """The handle of the tab in front."""
        with self.lock:
            return self._call("GET", f"/session/{self.session}/window")

    def close_tab(self, then):
        """Closes the tab in front and brings another one there."""
        with self.lock:
            self._call("DELETE", f"/session/{self.session}/window")
            self._ask("/window", {"handle": then})

    def crash_tab(self):
        """Ends the process of the tab in front without any courtesy."""
        try:
            self.command("Page.crash")
        except Failure as failure:
            if "crash" not in str(failure):
                raise

    def complaints(self):
        """What the console has said since the last time, but for mere information."""
        with self.lock:
            entries = self._ask("/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] in ("SEVERE", "WARNING")]

    def picture(self, path):
        """Writes what the screen shows, as PNG."""
        shot = self.command("Page.captureScreenshot", format="png", captureBeyondViewport=False)
        with open(path, "wb") as file:
            file.write(base64.b64decode(shot["data"]))

    def close(self):
        """Ends the browser and its driver."""
        try:
            with self.lock:
                if self.session:
                    self._call("DELETE", f"/session/{self.session}")
        except (Failure, OSError):
            pass
        # The browser, if it outlived its session, is in the driver's own process group.
        os.killpg(self.driver.pid, signal.SIGKILL)
        self.driver.wait()
        self.profile.cleanup()


class BrowserClient(Client):
    """Scenarios in one browser, which is started once for all of them."""

    browser = None
    make_browser = Driver

    @classmethod
    def missing(cls):
        """Why this cannot run here, or nothing."""
        return missing()

    @classmethod
    def prepare(cls):
        """Starts the browser."""
        cls.browser = cls.make_browser()

    @classmethod
    def finish(cls):
        """Ends it."""
        if cls.browser:
            cls.browser.close()
