"""The scripts of `examples/load`, run without k6 and Artillery: what they measure must be what the server sent.

k6's modules are stood in for by `node/k6.mjs`. Artillery's script is read and compared with its processor, which is
plain JavaScript.
"""

import json
import os
import shutil
import subprocess
import sys

import library
from adapters import HERE, TARGET, Client, Failure
from scenarios import expect

FOLDER = os.path.join(os.path.dirname(os.path.dirname(HERE)), "examples", "load")
#: Delay on one machine, far beyond what it is.
DELAY_MS_MAX = 2_000
#: The words that Artillery knows at each place of the script.
KNOWN = {"": {"config", "scenarios"},
         "config": {"target", "processor", "variables", "phases", "http", "plugins", "ensure"},
         "phase": {"name", "duration", "arrivalRate"}, "scenario": {"name", "weight", "flow"}}


def run(world, command, **environment):
    """Runs a script; returns what it prints."""
    server = world.server
    names = {"SERVER": f"http://127.0.0.1:{server.port}", "CONTROL": f"http://127.0.0.1:{server.control_port}",
             "TOPIC": world.topic, **environment}
    done = subprocess.run(command, env={**os.environ, **names}, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise Failure(f"{command[1:3]} failed: {done.stderr[-500:]}")
    return json.loads(done.stdout)


def k6(world, script, function, times, seconds=1.2, **environment):
    """Runs a function of a k6 script so many times."""
    command = ["node", os.path.join(HERE, "node", "k6.mjs"), os.path.join(FOLDER, script), function, str(times),
               str(seconds)]
    return run(world, command, **environment)


def serve(world):
    """A server that keeps all."""
    world.server, _ = world.serve(history_events=10_000)


def expect_figures(seen, published):
    """A script counted what it saw, and saw a whole stretch of what was published."""
    data, metrics = seen["data"], seen["metrics"]
    if len(data) < 5:
        raise Failure(f"it saw {len(data)} events only")
    first = published.index(data[0])
    expect("events", data, published[first:first + len(data)])
    expect("counted", sum(metrics["fanwheel_events"]), len(data))
    expect("gaps", metrics["fanwheel_gaps"], [])
    expect("checks", set(seen["checks"]), {True})
    delays = metrics["fanwheel_delay"]
    if not delays or not all(0 <= delay < DELAY_MS_MAX for delay in delays):
        raise Failure(f"delays are {delays}")
    unknown = set(seen["options"]["thresholds"]) - set(metrics) - {"checks"}
    expect("thresholds of metrics that it has not", unknown, set())


def k6_streams(world):
    """The second stream goes on where the first was cut."""
    serve(world)
    publisher = library.Publisher(world.server, world.topic)
    try:
        seen = k6(world, "k6-streams.js", "follow", 2)
    finally:
        published = publisher.stop()
    expect_figures(seen, published)
    expect("repeats", seen["metrics"]["fanwheel_repeats"], [])
    wanted = {scenario["exec"] for scenario in seen["options"]["scenarios"].values()}
    expect("functions that it has not", wanted - set(seen["functions"]), set())


def k6_streams_tell_a_gap(world):
    """Between two streams more is published than is kept."""
    world.server, _ = world.serve(history_events=3)
    publisher = library.Publisher(world.server, world.topic)
    try:
        seen = k6(world, "k6-streams.js", "follow", 2, seconds=0.5)
    finally:
        publisher.stop()
    expect("gaps", seen["metrics"]["fanwheel_gaps"], [1])


def k6_publishes(world):
    """The publisher's function is accepted, and a refusal fails its check."""
    serve(world)
    expect("checks", k6(world, "k6-streams.js", "publish", 3)["checks"], [True] * 3)
    refused = k6(world, "k6-streams.js", "publish", 1, TOPIC="fanwheel.not-yours")
    expect("checks", refused["checks"], [False])


def k6_polls(world):
    """Nothing is lost between two answers."""
    serve(world)
    publisher = library.Publisher(world.server, world.topic)
    try:
        seen = k6(world, "k6-polls.js", "default", 12, WAIT_MS="1000")
    finally:
        published = publisher.stop()
    expect_figures(seen, published)


def artillery_streams(world):
    """The processor's figures are those of the stream."""
    serve(world)
    script = os.path.join(FOLDER, "artillery.mjs")
    runner = os.path.join(HERE, "node", "artillery.mjs")
    publisher = library.Publisher(world.server, world.topic)
    try:
        seen = run(world, ["node", runner, script, f"http://127.0.0.1:{world.server.port}", world.topic, "4"])
    finally:
        published = publisher.stop()
    counted, delays = seen["counter"]["fanwheel.events"], seen["histogram"]["fanwheel.delay_ms"]
    if not 5 < counted <= len(published):
        raise Failure(f"{counted} events of {len(published)}")
    if len(delays) != counted or not all(0 <= delay < DELAY_MS_MAX for delay in delays):
        raise Failure(f"{counted} events, delays {delays}")
    expect("streams", len(seen["histogram"]["fanwheel.connect_ms"]), 1)
    expect("other counts", {**seen["counter"], "fanwheel.events": 0},
           {"fanwheel.events": 0, "fanwheel.duplicates": 0})
    server = world.server
    server.kill()
    lost = run(world, ["node", runner, script, f"http://127.0.0.1:{server.port}", world.topic, "3"])
    if not lost["counter"].get("fanwheel.ends.failed"):
        raise Failure(f"a server that is away is not counted: {lost}")


def artillery_script(_world):
    """The script has the words that Artillery knows, and names functions and figures of its processor."""
    reader = "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))"
    environment = {**os.environ, "PYTHONPATH": os.path.join(TARGET, "python")}
    path = os.path.join(FOLDER, "artillery.yml")
    script = json.loads(subprocess.run([sys.executable, "-c", reader, path], env=environment, capture_output=True,
                                       text=True, check=True).stdout)
    config, scenarios = script["config"], script["scenarios"]
    for place, item in [("", script), ("config", config), *(("phase", one) for one in config["phases"]),
                        *(("scenario", one) for one in scenarios)]:
        expect(f"unknown words of {place or 'the script'}", set(item) - KNOWN[place], set())
    with open(os.path.join(FOLDER, config["processor"]), encoding="utf-8") as file:
        processor = file.read()
    functions = [step["function"] for one in scenarios for step in one["flow"] if "function" in step]
    expect("functions", functions, ["follow"])
    expect("function of the processor", f"export async function {functions[0]}(" in processor, True)
    for threshold in config["ensure"]["thresholds"]:
        for name in threshold:
            figure = name.removeprefix("fanwheel.").rsplit(".", 1)[0]
            expect(f"figure of {name}", f'record("{figure}"' in processor, True)
    variables = set(config["variables"])
    expect("variables", {name for name in variables if f"vars.{name}" in processor}, variables)
    polls = next(one for one in scenarios if one["name"] == "polls")["flow"][0]["loop"][0]["get"]["url"]
    wait_s = int(polls.rsplit("wait_ms=", 1)[1]) / 1_000
    expect("polls within the timeout", wait_s < config["http"]["timeout"], True)


class LoadScripts(Client):
    """Scripts for tools that measure."""

    name = "load-scripts"
    scenarios = [k6_streams, k6_streams_tell_a_gap, k6_publishes, k6_polls, artillery_streams, artillery_script]

    @classmethod
    def missing(cls):
        """Why they cannot run here, or nothing."""
        absent = [name for name in ("node", "curl") if not shutil.which(name)]
        return f"there is no {absent[0]}" if absent else None
