"""A headless Firefox, driven over Marionette: the protocol of its own beneath WebDriver, JSON over TCP.

The library runs in it, and its own EventSource. Owns the process and the session; knows no page.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import chromium
import driver
import library
from adapters import Failure

PROGRAMS = ("firefox-esr", "firefox")
#: A browser that asks nobody for anything, and listens on a port of the kernel's choice.
PREFERENCES = {
    "marionette.port": 0, "app.update.disabledForTesting": True, "browser.shell.checkDefaultBrowser": False,
    "browser.startup.page": 0, "browser.newtabpage.enabled": False, "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False, "datareporting.policy.dataSubmissionEnabled": False,
    "datareporting.healthreport.uploadEnabled": False, "extensions.update.enabled": False,
    "network.captive-portal-service.enabled": False, "network.connectivity-service.enabled": False,
    "network.proxy.type": 0, "services.settings.server": "data:,", "toolkit.telemetry.reportingpolicy.firstRun": False,
    "browser.tabs.unloadOnLowMemory": False,
}


def program():
    """The program, if there is one."""
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


def missing():
    """Why Firefox cannot be driven here, or nothing."""
    return None if program() else "firefox-esr not installed"


class Driver(driver.Session):
    """One browser session. Its calls are made by one thread at a time."""

    def __init__(self, hosts=()):
        self.lock = threading.Lock()
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.socket, self.last = None, 0
        preferences = {**PREFERENCES, "network.dns.localDomains": ",".join(hosts)}
        with open(os.path.join(self.profile.name, "user.js"), "w", encoding="utf-8") as file:
            for name, value in preferences.items():
                file.write(f"user_pref({json.dumps(name)}, {json.dumps(value)});\n")
        environment = {**os.environ, "HOME": self.profile.name, "MOZ_CRASHREPORTER_DISABLE": "1"}
        command = [program(), "--headless", "--marionette", "--no-remote", "--profile", self.profile.name]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL, env=environment, start_new_session=True)
        try:
            self._connect()
            self._command("WebDriver:NewSession", {"pageLoadStrategy": "normal"})
        except Exception:
            self.close()
            raise

    def _connect(self):
        """Waits until the browser tells its port, and takes its greeting."""
        told = os.path.join(self.profile.name, "MarionetteActivePort")
        deadline = time.monotonic() + driver.PATIENCE_SECONDS
        while not (os.path.exists(told) and open(told, encoding="utf-8").read().strip()):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise Failure(f"Firefox did not start; exit code {self.process.poll()}")
            time.sleep(0.1)
        port = int(open(told, encoding="utf-8").read())
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=2 * driver.PATIENCE_SECONDS)
        self.stream = self.socket.makefile("rb")
        self._read()

    def _read(self):
        """One message: its length, a colon, JSON."""
        length = b""
        while (byte := self.stream.read(1)) != b":":
            if not byte:
                raise Failure("Firefox has ended")
            length += byte
        return json.loads(self.stream.read(int(length)))

    def _command(self, name, parameters=None):
        self.last += 1
        message = json.dumps([0, self.last, name, parameters or {}]).encode()
        self.socket.sendall(b"%d:%s" % (len(message), message))
        _, number, error, value = self._read()
        if error or number != self.last:
            raise Failure(f"Firefox: {name}: {error}")
        return value

    def _open(self, url):
        self._command("WebDriver:Navigate", {"url": url})

    def _run(self, script, arguments=()):
        return self._command("WebDriver:ExecuteScript", {"script": script, "args": list(arguments)})["value"]

    def tab(self, handle=None):
        """Brings a tab to the front, a new one without a handle; returns the handle of the one that was."""
        with self.lock:
            before = self._command("WebDriver:GetWindowHandle")["value"]
            handle = handle or self._command("WebDriver:NewWindow", {"type": "tab", "focus": True})["handle"]
            self._command("WebDriver:SwitchToWindow", {"handle": handle, "focus": True})
        return before

    def handle(self):
        """The handle of the tab in front."""
        with self.lock:
            return self._command("WebDriver:GetWindowHandle")["value"]

    def close_tab(self, then):
        """Closes the tab in front and brings another one there."""
        with self.lock:
            self._command("WebDriver:CloseWindow")
            self._command("WebDriver:SwitchToWindow", {"handle": then, "focus": True})

    def close(self):
        """Ends the browser, with all its processes."""
        if self.socket:
            self.socket.close()
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.profile.cleanup()


class Browser(chromium.Records, Driver):
    """One browser with the page of the clients."""


class Firefox(chromium.Chromium):
    """An EventSource in the page."""

    name = "firefox"
    #: It drops a block without data, and the id with it (`DispatchCurrentMessageEvent`), against the standard.
    takes_position = False
    make_browser = Browser

    @classmethod
    def missing(cls):
        return missing()


class FirefoxLibrary(Firefox):
    """The project's own library in a page."""

    name = "firefox-library"
    takes_position = True
    opener = "openLibrary"


class FirefoxLibraryShared(Firefox):
    """The same over a connection that tabs share, in a page without Web Locks."""

    name = "firefox-library-shared"
    takes_position = True
    opener = "openLibraryShared"
    host = "fanwheel.test"


def time_is_within_its_bound(world):
    """The server's time is as far off as the library says, at most; it is exact where the machine is quiet."""
    server, _ = library.serve(world)
    alone = library.Tabs(world, library.address(server.port), 1, {})
    shared = library.Tabs(world, library.address(server.port), 2, {"share": True})
    time.sleep(1)
    for told in alone.ask(library.NOW) + shared.ask(library.NOW):
        # Both clocks of the page count whole milliseconds.
        if abs(told["off"]) > told["bound"] + 2:
            raise Failure(f"the server's time is {told['off']} ms off, said {told['bound']}")


class FirefoxTabs(library.LibraryTabs):
    """The library in several tabs, but for what needs Chromium's own protocol: to freeze a tab, or to crash one."""

    name = "firefox-tabs"
    make_browser = Driver
    scenarios = [library.twenty_tabs_use_one_connection, library.leader_tab_is_closed, library.network_is_cut,
                 library.server_is_killed_and_restarted, library.reloaded_page_goes_on,
                 library.beacon_reaches_the_server, library.clock_of_the_page_jumps, time_is_within_its_bound]

    @classmethod
    def missing(cls):
        """Why this cannot run here, or nothing."""
        return missing()
