"""Plants known bugs in a copy of the tree, one at a time, and sees that the simulator finds each."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORK = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve() / "mutants"
TREE = WORK / "tree"
# A mutant that hangs has been found, too; a build on a busy machine is slow.
SECONDS_MAX = 900
# What the simulator is built from.
COPIED = "Cargo.toml Cargo.lock README.md src tests benches clients examples docs tuning vendor".split()
# The simulator needs no program, and each build would link one: the copy has an empty one. Of the library it
# has only those layers that the simulator reaches, since the others would be compiled again with each bug.
REACHED = "base fanout monitor wire".split()
REPLACED = {
    Path("src/main.rs"): "//! Nothing.\nfn main() {}\n",
    Path("src/lib.rs"): "\n".join(
        ["//! A part.", "#![allow(dead_code, unused_imports)]", *(f"pub mod {name};" for name in REACHED), ""]
    ),
}
# A file that source code takes in.
INCLUDED = re.compile(r'include_(?:str|bytes)!\("([^"]+)"\)')
SEEDS = os.environ.get("SIM_SEEDS", "800")
# Most bugs fail one of so few seeds, which take less time than the facts.
SEEDS_FIRST = "12"
FAILED_FACT = re.compile(r"^test facts::(?:\w+::)?(\w+) \.\.\. FAILED$", re.MULTILINE)
FAILED_SEED = re.compile(r"^(seed \d+) failed$", re.MULTILINE)


def read_mutants(path):
    """The mutants as (name, file, old, new)."""
    mutants, part = [], None
    for number, line in enumerate(path.read_text().splitlines(), 1):
        key, _, value = line.partition(": ")
        if line.startswith("|"):
            mutants[-1][part] += line[2:] + "\n"
        elif key == "mutant":
            mutants.append({"name": value, "old:": "", "new:": ""})
        elif key == "file":
            mutants[-1]["file"] = value
        elif line in ("old:", "new:"):
            part = line
        elif line and not line.startswith("#"):
            sys.exit(f"{path}:{number}: not understood: {line}")
    return [(m["name"], m["file"], m["old:"], m["new:"]) for m in mutants]


def plant(name, file, old, new):
    """The file's text with the bug in it."""
    text = (ROOT / file).read_text()
    # The last line of an old text may be a prefix: `let freed`.
    old, new = old.removesuffix("\n"), new.removesuffix("\n")
    found = text.count(old)
    if found != 1:
        sys.exit(f"mutant {name}: its old text occurs {found} times in {file}, not once")
    return text.replace(old, new)


def copy_tree():
    """Brings the copy up to date. Unchanged files keep their times, so that cargo builds little."""
    wanted = [ROOT / name for name in COPIED]
    paths = [path for top in wanted for path in ([top] if top.is_file() else top.rglob("*"))]
    kept = {path.relative_to(ROOT) for path in paths if path.is_file()}
    for path in kept:
        replaced, target = REPLACED.get(path), TREE / path
        source = (ROOT / path).read_bytes() if replaced is None else replaced.encode()
        if not target.exists() or target.read_bytes() != source:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source)
    for path in [path for path in TREE.rglob("*") if path.is_file()]:
        if path.relative_to(TREE) not in kept:
            path.unlink()


def check_copied():
    """Sees that whatever the sources take in is copied with them."""
    for source in (ROOT / "src").rglob("*.rs"):
        for included in INCLUDED.findall(source.read_text()):
            top = (source.parent / included).resolve().relative_to(ROOT).parts[0]
            if top not in COPIED:
                sys.exit(f"{source.relative_to(ROOT)} takes in {included}, but {top}/ is not in COPIED")


def cargo(seeds, *arguments):
    """Runs cargo in the copy until a fact fails; its exit code (none after too long) and its output."""
    environment = {**os.environ, "CARGO_TARGET_DIR": str(WORK / "build"), "SIM_SEEDS": seeds}
    environment |= {"RUST_BACKTRACE": "0", "CARGO_PROFILE_DEV_DEBUG": "0"}
    command = ["cargo", "test", "--locked", "--test", "sim", *arguments]
    # A group of its own, so that a mutant that hangs ends with the cargo that started it.
    running = subprocess.Popen(
        command,
        cwd=TREE,
        env=environment,
        text=True,
        errors="replace",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    expired = threading.Event()

    def expire():
        expired.set()
        os.killpg(running.pid, signal.SIGKILL)

    timer = threading.Timer(SECONDS_MAX, expire)
    timer.start()
    output = ""
    for line in running.stdout:
        output += line
        if FAILED_FACT.match(line):
            os.killpg(running.pid, signal.SIGKILL)
    code = running.wait()
    timer.cancel()
    return None if expired.is_set() else code, output


def sweep(name):
    """Builds, tries a few seeds, the facts, then all; whether one failed (none without a build), and which."""
    code, output = cargo(SEEDS, "--no-run")
    if code != 0:
        print(f"{name} does not build:\n{output}")
        return None, ""
    for seeds, tests in ((SEEDS_FIRST, "every_seed"), (SEEDS, "facts::"), (SEEDS, "every_seed")):
        code, output = cargo(seeds, "--", tests)
        if code is None:
            return True, f"in more than {SECONDS_MAX} s"
        found = FAILED_FACT.search(output) or FAILED_SEED.search(output)
        if code != 0 and found is None:
            sys.exit(f"{name}: the sweep failed without a seed or a fact:\n{output}")
        if code != 0:
            return True, found[1]
    return False, ""


def main():
    wanted = [word for word in sys.argv[1:] if word != "--fits"]
    mutants = read_mutants(Path(__file__).with_name("mutants.txt"))
    mutants = [m for m in mutants if not wanted or any(word in m[0] for word in wanted)]
    planted = [(name, file, plant(name, file, old, new)) for name, file, old, new in mutants]
    check_copied()
    if "--fits" in sys.argv:
        print(f"{len(planted)} passed, 0 failed, 0 skipped")
        return 0
    copy_tree()
    failed, word = sweep("the tree without a mutant")
    if failed is not False:
        sys.exit(f"the tree without a mutant fails: {word}")
    survivors = 0
    for name, file, text in planted:
        (TREE / file).write_text(text)
        found, word = sweep(f"mutant {name}")
        shutil.copyfile(ROOT / file, TREE / file)
        print(f"mutant {name} ... {f'found ({word})' if found else 'NOT FOUND'}", flush=True)
        survivors += not found
    print(f"{len(planted) - survivors} passed, {survivors} failed")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
