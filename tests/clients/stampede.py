"""Two hundred clients of the library lose their server at one moment: they come back spread over the jitter window,
and have every event once."""

import json
import os
import shutil
import statistics
import subprocess
import threading
import time

import library
from adapters import HERE, PATIENCE_SECONDS, Client, Failure
from scenarios import expect

CLIENTS = 200
RETRY_MS = 3_000
#: The server spreads `retry:` by so much, and each client draws its delay from its own window.
RETRY_JITTER = 0.2
BINS = 8
#: With seven degrees of freedom, one fair draw of ten thousand exceeds this.
CHI_SQUARE_MAX = 29.88
#: A busy machine wakes a timer late; a timer counts whole milliseconds.
LATE_MS, TIMER_EARLY_MS = 1_500, 2


class Crowd:
    """The clients, in one process."""

    def __init__(self, server, topic):
        command = ["node", os.path.join(HERE, "node", "stampede.mjs"), f"http://127.0.0.1:{server.port}/events", topic,
                   str(CLIENTS)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        watchdog = threading.Timer(PATIENCE_SECONDS, self.process.kill)
        watchdog.start()
        opened = self.process.stdout.readline()
        watchdog.cancel()
        if opened != "open\n":
            raise Failure(f"{CLIENTS} clients did not open")

    def finish(self, last):
        """Ends them once they have seen this event; returns what each has seen."""
        return json.loads(self.process.communicate(last, timeout=2 * PATIENCE_SECONDS)[0])

    def close(self):
        """Ends them without a word."""
        self.process.kill()
        self.process.wait()


def drawn_delay(states, nth):
    """The delay that was drawn at the nth loss; none if there was no such loss. The next attempt kept it."""
    waits = [place for place, state in enumerate(states) if state["state"] == "waiting"]
    if len(waits) <= nth:
        return None
    lost, again = states[waits[nth]:waits[nth] + 2]
    expect("state after waiting", again["state"], "connecting")
    late = again["at"] - lost["at"] - lost["wait_ms"]
    if not -TIMER_EARLY_MS <= late <= LATE_MS:
        raise Failure(f"an attempt came {late:.0f} ms after its moment")
    return lost["wait_ms"]


def expect_spread(what, found, window_ms):
    """Delays are as if drawn evenly from the window, of which each client's own may be somewhat shorter or longer."""
    longest = window_ms * (1 + RETRY_JITTER)
    if max(found) > longest:
        raise Failure(f"{what}: a delay of {max(found):.0f} ms is beyond {longest:.0f} ms")
    # Every window is at least so long, and even up to here.
    shortest = window_ms * (1 - RETRY_JITTER)
    within = [delay for delay in found if delay < shortest]
    counts = [0] * BINS
    for delay in within:
        counts[int(delay / shortest * BINS)] += 1
    fair = len(within) / BINS
    chi_square = sum((count - fair) ** 2 / fair for count in counts)
    print(f"library-stampede {what}: {len(found)} delays, median {statistics.median(found):.0f} ms, {counts} in "
          f"{shortest:.0f} ms, chi-square {chi_square:.1f} of at most {CHI_SQUARE_MAX}", flush=True)
    if chi_square > CHI_SQUARE_MAX:
        raise Failure(f"{what}: {counts} is no even spread, chi-square {chi_square:.1f}")


def server_is_killed_and_restarted(world):
    """The first attempts are spread, and so are those that come while the server is away."""
    server, _ = world.serve(history_events=10_000, heartbeat_ms=1_000, retry_ms=RETRY_MS)
    crowd = Crowd(server, world.topic)
    world.closers.append(crowd.close)
    before = [server.publish(world.topic, str(number)) and str(number) for number in range(20)]
    time.sleep(1)
    server.kill()
    # Most of them try in vain and wait for twice as long.
    time.sleep(RETRY_MS / 1_500)
    server.start()
    publisher = library.Publisher(server, world.topic)
    library.await_streams(server, CLIENTS, seconds=PATIENCE_SECONDS)
    time.sleep(1)
    after = publisher.stop()
    seen = crowd.finish(after[-1])
    for number, client in enumerate(seen):
        expect(f"events of client {number}", client["events"], before + after)
        expect(f"gaps of client {number}", client["gaps"], ["restart"])
    first, second = ([delay for delay in (drawn_delay(client["states"], nth) for client in seen) if delay is not None]
                     for nth in (0, 1))
    expect("clients that tried again", len(first), CLIENTS)
    expect_spread("first attempts", first, RETRY_MS)
    if len(second) < CLIENTS / 4:
        raise Failure(f"only {len(second)} tried while the server was away")
    expect_spread("second attempts", second, 2 * RETRY_MS)


class Stampede(Client):
    """Many clients of the library at once."""

    name = "library-stampede"
    scenarios = [server_is_killed_and_restarted]

    @classmethod
    def missing(cls):
        """Why it cannot run here, or nothing."""
        return None if shutil.which("node") else "there is no node"
