"""Runs every client through every scenario and prints a line for each.

Usage: main.py [PART OF A NAME...]; a name is `client scenario`. Clients run side by side, the scenarios of one
client after each other, each with servers of its own. Exit code 1 if anything failed.
"""

import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

import adapters
import browser_scenarios
import chromium
import dashboard
import examples
import firefox
import library
import load_scripts
import publishers
import scenarios
import stampede

CLIENTS_AT_ONCE = 4


class Results:
    """Counts and prints; several threads report."""

    def __init__(self):
        self.lock = threading.Lock()
        self.counts = {"ok": 0, "FAILED": 0, "skipped": 0}

    def add(self, name, result, detail=""):
        """One result, one line."""
        with self.lock:
            self.counts[result] += 1
            print(f"{name} ... {result}" + (f" ({detail})" if detail else ""), flush=True)


def plan(client, wanted):
    """The scenarios of a client that were asked for, with their names."""
    for scenario in getattr(client, "scenarios", scenarios.ALL):
        name = f"{client.name} {scenario.__name__}"
        if not wanted or any(part in name for part in wanted):
            yield name, scenario


def run_client(client, wanted, results):
    """All scenarios of one client."""
    chosen = list(plan(client, wanted))
    reason = client.missing()
    if reason or not chosen:
        for name, _ in chosen:
            results.add(name, "skipped", reason)
        return
    try:
        getattr(client, "prepare", lambda: None)()
        for name, scenario in chosen:
            run_one(client, name, scenario, results)
    except Exception as error:
        results.add(f"{client.name} start", "FAILED", f"{type(error).__name__}: {error}")
    finally:
        getattr(client, "finish", lambda: None)()


def run_one(client, name, scenario, results):
    """One scenario in a world of its own."""
    world = None
    started = time.monotonic()
    try:
        world = scenarios.World(client, topic=name.replace(" ", "."))
        scenario(world)
        results.add(name, "ok", f"{time.monotonic() - started:.1f} s")
    except adapters.Impossible as reason:
        results.add(name, "skipped", reason)
    except adapters.Failure as failure:
        results.add(name, "FAILED", f"{failure}; server log: {world.server.log_tail()}")
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        results.add(name, "FAILED", f"{type(error).__name__}: {error} in {place.name}, line {place.lineno}")
    finally:
        if world:
            world.close()


def main():
    """The program."""
    results, wanted = Results(), sys.argv[1:]
    chromium.Chromium.scenarios = scenarios.ALL + browser_scenarios.ALL
    chromium.ChromiumByName.scenarios = chromium.ChromiumFetch.scenarios = scenarios.ALL
    chromium.ChromiumLibrary.scenarios = chromium.ChromiumLibraryShared.scenarios = scenarios.ALL
    firefox.Firefox.scenarios = firefox.FirefoxLibrary.scenarios = scenarios.ALL
    firefox.FirefoxLibraryShared.scenarios = scenarios.ALL
    # The clock takes the place of heartbeats.
    chromium.ChromiumLibrarySource.scenarios = [one for one in scenarios.ALL if one is not scenarios.quiet]
    pages = [chromium.Chromium, chromium.ChromiumByName, chromium.ChromiumFetch, chromium.ChromiumLibrary,
             chromium.ChromiumLibrarySource, chromium.ChromiumLibraryShared]
    clients = [dashboard.Dashboard, library.LibraryTabs, examples.Examples, publishers.Publishers,
               load_scripts.LoadScripts, stampede.Stampede, *pages, *adapters.ALL,
               firefox.Firefox, firefox.FirefoxLibrary, firefox.FirefoxLibraryShared, firefox.FirefoxTabs]
    with ThreadPoolExecutor(CLIENTS_AT_ONCE) as pool:
        list(pool.map(lambda client: run_client(client, wanted, results), clients))
    counts = results.counts
    print(f"{counts['ok']} passed, {counts['FAILED']} failed, {counts['skipped']} skipped")
    return 1 if counts["FAILED"] else 0


if __name__ == "__main__":
    sys.exit(main())
