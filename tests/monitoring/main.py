"""What is shipped in monitoring/ against a real server and a real Prometheus: rules that are sound and fire,
a dashboard whose every question has an answer.

Exit code 1 if anything failed.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.error
import urllib.parse
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "clients"))

import server  # noqa: E402  (its folder must be on the path first)

SHIPPED = os.path.join(ROOT, "monitoring")
RULES = os.path.join(SHIPPED, "fanwheel.rules.yml")
DASHBOARD = os.path.join(SHIPPED, "grafana-dashboard.json")
WAIT_SECONDS = 40
#: What Grafana would put in.
VARIABLES = {"$job": "fanwheel", "$instance": ".*", "$__rate_interval": "1m"}
#: Questions that have no answer while all is well.
QUIET = "> 0"


def promtool(*words, stdin=None):
    """Runs promtool; what it says is the failure's text."""
    run = subprocess.run(["promtool", *words], input=stdin, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def eventually(what, probe):
    """The first answer of `probe` that is something."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        answer = probe()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {WAIT_SECONDS} s: {what}"
        time.sleep(0.2)


class Prometheus:
    """A running Prometheus with the shipped configuration, but for its targets and a quicker second hand."""

    def __init__(self, targets):
        self.folder = tempfile.mkdtemp(prefix="fanwheel-prometheus-")
        self.port = server.free_port()
        with open(os.path.join(SHIPPED, "prometheus.yml")) as shipped:
            config = shipped.read()
        listed = ", ".join(f'"{target}"' for target in targets)
        changes = {"15s": "1s", '"127.0.0.1:8081"': listed, "fanwheel.rules.yml": RULES}
        for shipped_words, words in changes.items():
            assert shipped_words in config, f"{shipped_words} is no longer in prometheus.yml"
            config = config.replace(shipped_words, words)
        path = os.path.join(self.folder, "prometheus.yml")
        with open(path, "w") as file:
            file.write(config)
        self.log = open(os.path.join(self.folder, "log"), "w+")
        command = ["prometheus", f"--config.file={path}", f"--web.listen-address=127.0.0.1:{self.port}",
                   f"--storage.tsdb.path={self.folder}/data"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    def ask(self, path, **query):
        """The `data` of an answer of its interface; None while it is not there."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{query or path}: {error.read().decode()}") from error
        except OSError:
            assert self.process.poll() is None, "Prometheus has ended: " + self.log_tail()
            return None

    def log_tail(self):
        """The end of what it wrote."""
        self.log.seek(0)
        return self.log.read()[-1000:]

    def close(self):
        """Ends it and forgets what it stored."""
        self.process.kill()
        self.process.wait()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class World:
    """Two servers, one of them out of memory from the start, and a Prometheus that looks at both."""

    def __init__(self):
        self.busy = server.Server(history_events=100)
        self.full = server.Server(memory_bytes_max=1)
        self.stream = urllib.request.urlopen(self.busy.url("news"), timeout=WAIT_SECONDS)
        self.prometheus = Prometheus([self.target(self.busy), self.target(self.full)])

    @staticmethod
    def target(of):
        """As Prometheus names it."""
        return f"127.0.0.1:{of.control_port}"

    def close(self):
        """Ends everything."""
        self.prometheus.close()
        self.stream.close()
        self.busy.kill()
        self.full.kill()


def metrics_pass_promtool(world):
    """`promtool check metrics` has nothing to say about the real output."""
    for number in range(20):
        world.busy.publish("news", f"event {number}")
    for _ in range(20):
        assert world.stream.readline()
    status, page = world.busy.request("GET", "/metrics")
    assert status == 200
    promtool("check", "metrics", stdin=page.decode())


def rules_and_configuration_pass_promtool(_):
    """`promtool check`."""
    promtool("check", "rules", RULES)
    promtool("check", "config", os.path.join(SHIPPED, "prometheus.yml"))


def rules_fire_when_they_should(_):
    """`promtool test rules`, over made-up time; and no rule is left out of it."""
    tests = os.path.join(ROOT, "tests", "monitoring", "rules_test.yml")
    promtool("test", "rules", tests)
    with open(RULES) as rules, open(tests) as tested:
        names = [line.split()[-1] for line in rules if "- alert: " in line]
        text = tested.read()
    missing = [name for name in names if f"alertname: {name}\n" not in text]
    assert names and not missing, f"rules without a test: {missing}"


def both_servers_are_scraped(world):
    """Every target is up, without an error."""
    def up():
        data = world.prometheus.ask("targets", state="active")
        targets = data and data["activeTargets"]
        return targets and all(target["health"] == "up" for target in targets) and targets
    targets = eventually("both targets up", up)
    assert len(targets) == 2 and not any(target["lastError"] for target in targets), targets


def every_rule_is_evaluated(world):
    """Prometheus has loaded all of them and is content with each."""
    def evaluated():
        data = world.prometheus.ask("rules")
        rules = data and [rule for group in data["groups"] for rule in group["rules"]]
        return rules and all(rule["health"] != "unknown" for rule in rules) and rules
    rules = eventually("every rule evaluated", evaluated)
    with open(RULES) as shipped:
        assert len(rules) == shipped.read().count("- alert: ")
    assert all(rule["health"] == "ok" for rule in rules), rules


def a_full_server_fires_its_rule_and_only_it_does(world):
    """A real alert about a real state, that ends with it."""
    def firing(name):
        alerts = world.prometheus.ask("alerts")
        found = alerts and [alert for alert in alerts["alerts"] if alert["labels"]["alertname"] == name]
        return [alert for alert in found or [] if alert["state"] == "firing"]
    alerts = eventually("FanwheelMemoryFull fires", lambda: firing("FanwheelMemoryFull"))
    instances = [alert["labels"]["instance"] for alert in alerts]
    assert instances == [world.target(world.full)], alerts
    assert "refuses newcomers" in alerts[0]["annotations"]["summary"], alerts
    world.full.kill()
    eventually("FanwheelMemoryFull is over", lambda: not firing("FanwheelMemoryFull"))


def every_question_of_the_dashboard_has_an_answer(world):
    """Each panel's expression, asked of the real Prometheus."""
    with open(DASHBOARD) as file:
        panels = json.load(file)["panels"]
    questions = [(panel["title"], target["expr"]) for panel in panels for target in panel.get("targets", [])]
    assert len(questions) > 30
    for title, question in questions:
        asked = question
        for name, value in VARIABLES.items():
            asked = asked.replace(name, value)
        assert "$" not in asked, f"{title}: a variable is left in {asked}"
        answered = lambda: world.prometheus.ask("query", query=asked)["result"]
        if not question.endswith(QUIET):
            eventually(f"{title}: {asked}", answered)
        else:
            answered()


ALL = [metrics_pass_promtool, rules_and_configuration_pass_promtool, rules_fire_when_they_should,
       both_servers_are_scraped, every_rule_is_evaluated, every_question_of_the_dashboard_has_an_answer,
       a_full_server_fires_its_rule_and_only_it_does]


def main():
    """The program."""
    missing = [name for name in ("prometheus", "promtool") if not shutil.which(name)]
    if missing:
        print(f"monitoring ... skipped ({', '.join(missing)} not installed)")
        print(f"0 passed, 0 failed, {len(ALL)} skipped")
        return 0
    failed, world = 0, World()
    try:
        for check in ALL:
            started = time.monotonic()
            try:
                check(world)
                print(f"{check.__name__} ... ok ({time.monotonic() - started:.1f} s)", flush=True)
            except Exception as error:
                failed += 1
                place = traceback.extract_tb(error.__traceback__)[-1]
                print(f"{check.__name__} ... FAILED ({type(error).__name__}: {error} in line {place.lineno})")
    finally:
        world.close()
    print(f"{len(ALL) - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
