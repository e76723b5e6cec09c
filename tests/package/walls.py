"""Runs the server inside the walls of its unit, as far as they are filters of system calls: walls.py UNIT PROGRAM.

The filters come from the unit's own lines, the groups in them from systemd. Exit code 0 if it served.
"""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request

import seccomp

NAMES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10}
#: Flags of unshare and clone that RestrictNamespaces refuses.
NAMESPACES = [0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000]


def values(unit, key):
    """All values of a key, in order."""
    return re.findall(rf"(?m)^{key}=(.*)$", unit)


def calls(words):
    """The system calls of names and groups."""
    found = set()
    for word in words.split():
        if not word.startswith("@"):
            found.add(word)
            continue
        text = subprocess.run(["systemd-analyze", "syscall-filter", word], capture_output=True, text=True, check=True)
        for line in text.stdout.splitlines()[1:]:
            name = line.strip()
            if name and not name.startswith("#"):
                found |= calls(name)
    return found


def wall(unit):
    """The filter of a unit."""
    allowed = set()
    for words in values(unit, "SystemCallFilter"):
        if words.startswith("~"):
            allowed -= calls(words[1:])
        else:
            allowed |= calls(words)
    refuse = seccomp.ERRNO(1)
    made = seccomp.SyscallFilter(refuse)
    families = {NAMES[name] for name in values(unit, "RestrictAddressFamilies")[0].split()}
    for name in sorted(allowed):
        try:
            if name == "socket":
                for family in families:
                    made.add_rule(seccomp.ALLOW, name, seccomp.Arg(0, seccomp.EQ, family))
            elif name == "unshare" and values(unit, "RestrictNamespaces") == ["yes"]:
                made.add_rule(seccomp.ALLOW, name, seccomp.Arg(0, seccomp.MASKED_EQ, sum(NAMESPACES), 0))
            else:
                made.add_rule(seccomp.ALLOW, name)
        except (RuntimeError, ValueError):
            # A call of another architecture.
            pass
    return made


def started(log, words):
    """Reads the log up to the line of the start, into `words`; returns the addresses of both listeners."""
    for line in log:
        words.append(line)
        found = re.search(r"event=started .*?listen=(\S+) control=(\S+)", line)
        if found:
            return found.groups()
    raise AssertionError("it ended before its start: " + "".join(words))


def served(public, control):
    """Passes one event, once both workers are ready."""
    for _ in range(100):
        try:
            urllib.request.urlopen(f"http://{public}/readyz", timeout=5)
            break
        except OSError:
            time.sleep(0.1)
    stream = urllib.request.urlopen(f"http://{public}/events?topic=a", timeout=10)
    request = urllib.request.Request(f"http://{control}/publish?topic=a", data=b"inside", method="POST")
    assert json.load(urllib.request.urlopen(request, timeout=10))["subscribers"] == 1
    for _ in range(10):
        if stream.readline() == b"data: inside\n":
            return
    raise AssertionError("no event came")


def main():
    """The program."""
    with open(sys.argv[1], encoding="utf-8") as file:
        unit = file.read()
    made = wall(unit)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.dup2(writing, 2)
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            made.load()
            os.execv(sys.argv[2], [sys.argv[2], "serve", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0",
                                   "--send-backend", "io_uring", "--workers", "2", "--pin-workers", "on"])
        except OSError as error:
            os.write(2, f"{sys.argv[2]}: {error}\n".encode())
        finally:
            os._exit(127)
    os.close(writing)
    words = []
    log = os.fdopen(reading, encoding="utf-8")
    try:
        served(*started(log, words))
        with open(f"/proc/{child}/status", encoding="utf-8") as file:
            assert "Seccomp:\t2\n" in file.read(), "the filter is not in force"
        try:
            rings = [os.readlink(path) for path in worker_files(child)]
            assert any("io_uring" in name for name in rings), f"no worker has a ring: {rings}"
        except PermissionError:
            # Root of a container may not look at another user's files. A refused ring is in the log, too.
            pass
    finally:
        os.kill(child, 15)
        os.waitpid(child, 0)
        words += log.readlines()
        words = "".join(words)
        print(words)
    assert "refused" not in words and "[WARN]" not in words


def worker_files(process):
    """The open files of every thread: workers have tables of their own."""
    for thread in os.listdir(f"/proc/{process}/task"):
        folder = f"/proc/{process}/task/{thread}/fd"
        for name in os.listdir(folder):
            yield os.path.join(folder, name)


if __name__ == "__main__":
    main()
