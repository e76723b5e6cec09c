"""The files of deploy/ for containers: held against their schemas and linters, and their settings against the
program. Nothing here runs a container.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
DEPLOY = os.path.join(ROOT, "deploy")
#: The target folder is the first argument of the suite.
PROGRAM = os.path.join(ROOT, sys.argv[1], "debug", "fanwheel")
#: Where tests/install.sh puts the judges.
PYTHON_FOLDER = os.path.join(ROOT, "target", "package-python")
DCLINT = os.path.join(HERE, "node_modules", ".bin", "dclint")
#: What an image of distroless/cc has.
IMAGE_LIBRARIES = {"libc.so.6", "libgcc_s.so.1", "libm.so.6", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}
YAML_RULES = "{extends: default, rules: {line-length: {max: 110}}}"


class JudgeMissing(Exception):
    """A judge is missing."""


def judge(*words):
    """What a judge of the Python folder says; it must have no complaint."""
    program = os.path.join(PYTHON_FOLDER, "bin", words[0])
    if not os.path.exists(program):
        raise JudgeMissing(f"no {words[0]}; `tests/install.sh package` installs it")
    done = subprocess.run([sys.executable, program, *words[1:]] if is_script(program) else [program, *words[1:]],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=DEPLOY, check=False,
                          env={**os.environ, "PYTHONPATH": PYTHON_FOLDER}, timeout=100)
    assert done.returncode == 0, done.stdout
    return done.stdout


def is_script(path):
    """Whether a program is a text for an interpreter, whose path may be that of another host."""
    with open(path, "rb") as file:
        return file.read(2) == b"#!"


def documents(name):
    """The documents of a YAML file."""
    if importlib.util.find_spec("yaml") is None:
        sys.path.append(PYTHON_FOLDER)
        if importlib.util.find_spec("yaml") is None:
            raise JudgeMissing("no PyYAML")
    import yaml
    with open(os.path.join(DEPLOY, name), encoding="utf-8") as file:
        return list(yaml.safe_load_all(file))


def container_files_please_their_judges():
    """Schemas of Kubernetes and Compose, and linters of all three."""
    assert judge("hadolint", "Dockerfile").strip() == ""
    passed = judge("kubernetes-validate", "--strict", "kubernetes.yaml")
    assert passed.count(" passed ") == len(documents("kubernetes.yaml")) == 5, passed
    assert judge("yamllint", "--strict", "-d", YAML_RULES, "compose.yaml", "kubernetes.yaml").strip() == ""
    if shutil.which("node") is None or not os.path.exists(DCLINT):
        raise JudgeMissing("no dclint; `tests/install.sh package` installs it")
    done = subprocess.run([DCLINT, "--config", os.path.join(HERE, "dclint.json"), "--max-warnings", "0",
                           os.path.join(DEPLOY, "compose.yaml")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def settings_of_containers_are_those_of_the_program():
    """It takes the file of the ConfigMap and the variables of the compose file, and the times fit each other."""
    config_map, stateful_set = documents("kubernetes.yaml")[:2]
    with tempfile.TemporaryDirectory() as folder:
        token = os.path.join(folder, "control-token")
        with open(token, "w", encoding="utf-8") as file:
            file.write("0123456789abcdef0123456789abcdef\n")
        path = os.path.join(folder, "fanwheel.toml")
        pod = stateful_set["spec"]["template"]["spec"]
        container = pod["containers"][0]
        assert container["args"] == ["serve", "--config", "/etc/fanwheel/fanwheel.toml"], container["args"]
        with open(path, "w", encoding="utf-8") as file:
            file.write(config_map["data"]["fanwheel.toml"])
        command = [PROGRAM, "config", "--config", path]
        taken = subprocess.run(command, capture_output=True, text=True, check=False)
        assert taken.returncode == 0, taken.stderr
        for port in container["ports"]:
            assert f"0.0.0.0:{port['containerPort']}" in taken.stdout, port
        drain_ms = int(taken.stdout.split("\ndrain_ms = ")[1].split()[0])
        waits_s = container["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert pod["terminationGracePeriodSeconds"] > waits_s + drain_ms / 1_000 + 2
        service = documents("compose.yaml")[0]["services"]["fanwheel"]
        assert float(service["stop_grace_period"].removesuffix("s")) > drain_ms / 1_000 + 2
        taken = subprocess.run([PROGRAM, "config", "--json"], capture_output=True, text=True, check=False,
                               env={**os.environ, **service["environment"]})
        assert taken.returncode == 0, taken.stderr


def program_needs_no_library_that_an_image_lacks():
    """The image has the C library and little else."""
    listed = subprocess.run(["objdump", "-p", PROGRAM], capture_output=True, text=True, check=True).stdout
    needed = {line.split()[1] for line in listed.splitlines() if line.split()[:1] == ["NEEDED"]}
    assert needed and needed <= IMAGE_LIBRARIES, needed - IMAGE_LIBRARIES


def image_is_built_from_what_its_context_has():
    """Cargo finds all targets, and the sources all that they take in, in the files that are sent to the builder."""
    with open(os.path.join(DEPLOY, "Dockerfile.dockerignore"), encoding="utf-8") as file:
        sent = [line[1:] for line in file.read().splitlines() if line.startswith("!")]
    with tempfile.TemporaryDirectory() as folder:
        for name in sent:
            source, target = os.path.join(ROOT, name), os.path.join(folder, name)
            if os.path.isfile(source):
                shutil.copy(source, target)
            else:
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("node_modules", "*.png"))
        done = subprocess.run(["cargo", "metadata", "--no-deps", "--offline", "--format-version", "1"],
                              cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        taken = 0
        for path, _, names in os.walk(os.path.join(folder, "src")):
            for name in names:
                with open(os.path.join(path, name), "rb") as file:
                    for inner in re.findall(rb'include_(?:str|bytes)!\("([^"]+)"\)', file.read()):
                        taken += 1
                        assert os.path.exists(os.path.join(path, inner.decode())), f"{name}: {inner}"
        assert taken > 5, taken


FACTS = [image_is_built_from_what_its_context_has, container_files_please_their_judges, settings_of_containers_are_those_of_the_program,
         program_needs_no_library_that_an_image_lacks]
