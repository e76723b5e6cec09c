"""The publishers of `examples/publish`: each language that the machine has publishes what others must read."""

import os
import shutil
import subprocess
import urllib.request

from adapters import HERE, PATIENCE_SECONDS, Client, Failure
from scenarios import expect

FOLDER = os.path.join(os.path.dirname(os.path.dirname(HERE)), "examples", "publish")
#: How each file is run.
COMMANDS = {"publish.sh": ["sh"], "publish.mjs": ["node"], "publish.py": ["python3"], "publish.go": ["go", "run"],
            "publish.php": ["php"], "publish.rb": ["ruby"], "Publish.java": ["java"]}
TOPIC = "a topic & more"
TEXT = "zażółć 世界\nsecond line & more"


def run(server, name, topic=TOPIC):
    """Runs a publisher against a server; returns what ended."""
    environment = {**os.environ, "CONTROL": f"http://127.0.0.1:{server.control_port}"}
    command = [*COMMANDS[name], os.path.join(FOLDER, name), topic, TEXT]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def newest(server):
    """The data of the topic's newest event."""
    data = []
    with urllib.request.urlopen(f"{server.url(TOPIC)}&last=1", timeout=PATIENCE_SECONDS) as stream:
        for line in stream:
            text = line.decode().rstrip("\n")
            if text.startswith("data:"):
                data.append(text.removeprefix("data:").removeprefix(" "))
            elif not text and data:
                return "\n".join(data)
    return None


def publisher(name):
    """A scenario: the event arrives as it is, and a refusal is an error."""
    def scenario(world):
        done = run(world.server, name)
        if done.returncode != 0:
            raise Failure(f"{name} failed: {done.stderr[-300:]}")
        expect("data of the event", newest(world.server), TEXT)
        if run(world.server, name, "fanwheel.not-yours").returncode == 0:
            raise Failure(f"{name} takes a refusal for a success")
    scenario.__name__ = name.replace(".", "_").lower()
    return scenario


def files_are_known(_world):
    """Every file of the folder is run by a scenario."""
    expect("files", sorted(set(os.listdir(FOLDER)) - {"README.md"}), sorted(COMMANDS))


class Publishers(Client):
    """Programs that publish."""

    name = "publishers"
    scenarios = [files_are_known, *(publisher(name) for name, command in COMMANDS.items() if shutil.which(command[0]))]

    @classmethod
    def missing(cls):
        """Those whose language is missing are left out one by one."""
        return None
