"""What an operator installs: the package, the unit, `make install`. Prints a line for each fact.

Usage: main.py TARGET_FOLDER [PART OF A NAME...]. Nothing is changed on this host: the package is installed in an
overlay over it, in name spaces of its own. Exit code 1 if anything failed.
"""

import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import traceback

import containers

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
TARGET = os.path.abspath(os.path.join(ROOT, sys.argv[1]))
PROGRAM = os.path.join(TARGET, "debug", "fanwheel")
PAGES = os.path.join(TARGET, "pages")
UNIT = os.path.join(ROOT, "packaging", "systemd", "fanwheel.service")
#: The one that Debian's packages are for, whatever else is in front of it.
PYTHON = "/usr/bin/python3"
#: Of 100: what `systemd-analyze security` calls OK ends at 40. A server of the network has no less than about 12 (systemd 252).
EXPOSURE_MAX = 15


#: Documents of the sources that only people need who change the program.
FOR_DEVELOPERS = ("ARCHITECTURE.md", "CONTRIBUTING.md", "benches/", "packaging/", "docs/ARCHITECTURE.md",
                  "clients/js/src/", "clients/js/test/")


class Impossible(Exception):
    """The fact cannot be looked at here."""


def said(*words, code=0, cwd=ROOT, **more):
    """What a command says on both outputs; it must end with `code`."""
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=cwd,
                          stdin=subprocess.DEVNULL, timeout=200, **more)
    assert done.returncode == code, f"{' '.join(words)}: exit {done.returncode}: {done.stdout.strip()[-2000:]}"
    return done.stdout


def needs(*programs):
    """Stops where one of the programs is missing."""
    for program in programs:
        if shutil.which(program) is None:
            raise Impossible(f"no {program} here")


def package():
    """The package that was built before this program started."""
    return max(glob.glob(os.path.join(TARGET, "package-test", "*.deb")), key=os.path.getmtime)


def files_under(folder):
    """Files and links below a folder, with their contents."""
    found = {}
    for path, _, names in os.walk(folder):
        for name in names:
            whole = os.path.join(path, name)
            with open(whole, "rb") as file:
                found[os.path.relpath(whole, folder)] = file.read()
    return found


def package_pleases_lintian():
    """Debian's own judge finds no error and no warning."""
    if shutil.which("lintian") is None:
        raise Impossible("no lintian here; `tests/install.sh lintian` installs it, with some 128 packages")
    assert said("lintian", "--allow-root", "--fail-on", "error,warning", package()).strip() == ""


def package_is_built_twice_alike():
    """The same tree gives the same bytes."""
    with tempfile.TemporaryDirectory() as folder:
        again = said("packaging/build-deb", folder, env={**os.environ, "PROGRAM": PROGRAM, "PAGES": PAGES})
        with open(again.strip().splitlines()[-1], "rb") as one, open(package(), "rb") as other:
            assert one.read() == other.read()


def installs_serves_and_is_purged_without_a_trace():
    """dpkg installs it over this host, the program serves, a changed setting survives removal but not purging."""
    needs("unshare", "dpkg", "deb-systemd-helper")
    if os.getuid() != 0:
        raise Impossible("needs root")
    with tempfile.TemporaryDirectory() as folder:
        script = os.path.join(HERE, "in-overlay")
        apart = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"]
        # Root of a container may have no right to a name space.
        tried = subprocess.run([*apart, "true"], stderr=subprocess.PIPE, text=True, check=False)
        if tried.returncode != 0:
            raise Impossible(tried.stderr.strip() or f"unshare: exit {tried.returncode}")
        done = subprocess.run([*apart, script, folder, package()], text=True, timeout=200,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    if done.returncode == 77:
        raise Impossible(done.stdout.strip().splitlines()[-1])
    assert done.returncode == 0, done.stdout[-2000:]


def make_install_keeps_the_configuration_and_uninstall_the_rest_not():
    """A file of the operator's is neither overwritten nor removed, unless all is to go."""
    with tempfile.TemporaryDirectory() as folder:
        places = [f"DESTDIR={folder}", "PREFIX=/opt/x", f"PROGRAM={PROGRAM}", f"PAGES={PAGES}"]
        make = ["make", "--no-print-directory", "--silent"]
        said(*make, "install", *places)
        installed = files_under(folder)
        for name in ["opt/x/bin/fanwheel", "opt/x/share/man/man1/fanwheel-plan.1", "etc/fanwheel.toml",
                     "opt/x/share/bash-completion/completions/fanwheel", "opt/x/share/fanwheel/tuning/apply.sh",
                     "opt/x/share/fanwheel/monitoring/fanwheel.rules.yml",
                     "opt/x/share/doc/fanwheel/docs/deploying.md"]:
            assert name in installed, sorted(installed)
        built = os.path.getsize(PROGRAM)
        assert len(installed["opt/x/bin/fanwheel"]) < built / 2, (len(installed["opt/x/bin/fanwheel"]), built)
        assert len(installed["opt/x/bin/.debug/fanwheel.debug"]) > built / 2
        link = said("objdump", "--section=.gnu_debuglink", "--full-contents", f"{folder}/opt/x/bin/fanwheel")
        assert "fanwheel" in link, link
        version = said(f"{folder}/opt/x/bin/fanwheel", "--version")
        assert version.startswith("fanwheel "), version
        unit = installed["opt/x/lib/systemd/system/fanwheel.service"].decode()
        assert "\nExecStart=/opt/x/bin/fanwheel serve --config /etc/fanwheel.toml\n" in unit, unit
        settings = os.path.join(folder, "etc/fanwheel.toml")
        with open(settings, "w", encoding="utf-8") as file:
            file.write("heartbeat_ms = 5000\n")
        said(*make, "install", *places)
        said(*make, "uninstall", *places)
        assert files_under(folder) == {"etc/fanwheel.toml": b"heartbeat_ms = 5000\n"}
        said(*make, "uninstall", *places, "PURGE=1")
        assert files_under(folder) == {}
        missing = said(*make, "install", *places, "PROGRAM=/nowhere", code=2)
        assert "first run `make build pages`" in missing, missing


def manual_pages_are_formatted_without_a_warning():
    """For terminals with and without UTF-8."""
    needs("groff")
    pages = glob.glob(os.path.join(PAGES, "man", "*.1"))
    assert len(pages) >= 8, pages
    for page in pages:
        for terminal in ("ascii", "utf8"):
            shown = said("sh", "-c", 'groff -man -ww -T"$1" "$2" 2>&1 >/dev/null', "sh", terminal, page)
            assert shown == "", shown


def installed_documents_lead_to_installed_files():
    """A document's link leads to a file beside it, unless it is for people who change the program."""
    with tempfile.TemporaryDirectory() as folder:
        places = [f"DESTDIR={folder}", "PREFIX=/usr", f"PROGRAM={PROGRAM}", f"PAGES={PAGES}"]
        said("make", "--no-print-directory", "--silent", "install", *places)
        documents = os.path.join(folder, "usr/share/doc/fanwheel")
        links = 0
        for path in glob.glob(os.path.join(documents, "**/*.md"), recursive=True):
            with open(path, encoding="utf-8") as file:
                text = re.sub(r"(?s)```.*?```", "", file.read())
            for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
                target = os.path.normpath(os.path.join(os.path.dirname(path), link))
                inside = os.path.relpath(target, documents)
                if ":" in link or inside.startswith(FOR_DEVELOPERS):
                    continue
                links += 1
                assert os.path.exists(target), f"{os.path.relpath(path, documents)}: {link}"
        assert links > 50, links


def tarball(folder, **environment):
    """Makes the tarball of this checkout, or says what forbids it."""
    more = {"PROGRAM": PROGRAM, "PAGES": PAGES, "GLIBC_MAX": "99", **environment}
    return said("packaging/build-dist", folder, env={**os.environ, **more})


def tarball_is_packed_twice_alike_and_installs_what_it_has():
    """Other folder and other modes, same bytes; unpacked, it is whole, runs and installs itself."""
    with tempfile.TemporaryDirectory() as folder:
        made = tarball(folder)
        name = made.split()[0]
        with open(name, "rb") as file:
            first = file.read()
        other = os.path.join(folder, "checkout")
        copied = said("git", "-c", f"safe.directory={ROOT}", "ls-files", "-z").split("\0")
        for path in filter(os.path.isfile, copied[:-1]):
            os.makedirs(os.path.join(other, os.path.dirname(path)), exist_ok=True)
            shutil.copy(os.path.join(ROOT, path), os.path.join(other, path))
            os.chmod(os.path.join(other, path), 0o700)
        committed_s = said("sh", "-c", ". packaging/lib.sh; committed_s").strip()
        environment = {**os.environ, "PROGRAM": PROGRAM, "PAGES": PAGES, "GLIBC_MAX": "99",
                       "SOURCE_DATE_EPOCH": committed_s}
        again = said(os.path.join(other, "packaging/build-dist"), os.path.join(folder, "again"), env=environment)
        with open(again.split()[0], "rb") as file:
            assert file.read() == first
        said("sha256sum", "--check", "--quiet", f"{os.path.basename(name)}.sha256", cwd=folder)
        said("tar", "--extract", "--gzip", "--file", name, "--directory", folder)
        root = os.path.join(folder, os.path.basename(name).removesuffix(".tar.gz"))
        said("sha256sum", "--check", "--quiet", "SHA256SUMS", cwd=root)
        assert said(os.path.join(root, "bin/fanwheel"), "--version").startswith("fanwheel ")
        for path in ["README.md", "docs/monitoring.md", "monitoring/fanwheel.rules.yml", "tuning/apply.sh",
                     "packaging/systemd/fanwheel.socket", "pages/man/fanwheel-serve.1",
                     "pages/completions/fanwheel.fish", "pages/fanwheel.toml", "LICENSE-MIT"]:
            assert os.path.isfile(os.path.join(root, path)), path
        target = os.path.join(folder, "target")
        plain = {name: value for name, value in os.environ.items() if name not in ("PROGRAM", "PAGES", "PREFIX")}
        said(os.path.join(root, "packaging/install"), env={**plain, "DESTDIR": target})
        by_make = os.path.join(folder, "make")
        said("make", "--no-print-directory", "--silent", "install", f"DESTDIR={by_make}", f"PROGRAM={PROGRAM}",
             f"PAGES={PAGES}")
        symbols = {"usr/local/bin/.debug/fanwheel.debug"}
        assert set(files_under(target)) == set(files_under(by_make)) - symbols
        said(os.path.join(root, "packaging/uninstall"), env={**plain, "DESTDIR": target, "PURGE": "1"})
        assert files_under(target) == {}


def tarball_is_refused_where_it_would_not_start_on_older_hosts():
    """The program names the C library that it needs, and a newer one than allowed is an error."""
    with tempfile.TemporaryDirectory() as folder:
        made = tarball(folder)
        needed = re.search(r"\(glibc (2\.[0-9]+) or newer\)", made)
        assert needed, made
        refused = subprocess.run(
            ["packaging/build-dist", folder], cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False,
            env={**os.environ, "PROGRAM": PROGRAM, "PAGES": PAGES, "GLIBC_MAX": "2.17"})
        assert refused.returncode == 1 and f"needs glibc {needed[1]}" in refused.stderr, refused


def default_configuration_says_the_defaults():
    """The installed file changes nothing, and neither does it with every line put in force."""
    path = os.path.join(PAGES, "fanwheel.toml")
    with open(path, encoding="utf-8") as file:
        text = file.read()
    assert all(line == "" or line.startswith("#") for line in text.splitlines()), text
    uncommented = re.sub(r"(?m)^#(?=[a-z_]+ = )", "", text)
    values = [re.sub(r'"source": *"[^"]*"|"source":"[^"]*"', "", said(PROGRAM, "config", "--json"))]
    for content in (text, uncommented):
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write(content)
            file.flush()
            values.append(re.sub(r'"source": *"[^"]*"|"source":"[^"]*"', "",
                                 said(PROGRAM, "config", "--json", "--config", file.name)))
    assert values[0] == values[1] == values[2], values
    assert len(uncommented.splitlines()) == len(text.splitlines()) and uncommented != text


def completions_are_scripts_of_their_shells():
    """Each shell that is here reads its completions without a word."""
    read = 0
    for shell, name in [("bash", "fanwheel.bash"), ("zsh", "_fanwheel"), ("fish", "fanwheel.fish")]:
        path = os.path.join(PAGES, "completions", name)
        with open(path, encoding="utf-8") as file:
            assert "heartbeat-ms" in file.read(), path
        if shutil.which(shell):
            read += 1
            assert said(shell, "-n", path) == ""
    assert read > 0


def unit_is_shut_tight():
    """systemd's own measure of what a service could do is low."""
    needs("systemd-analyze")
    said("systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE_MAX}", UNIT)


def server_serves_inside_the_units_walls():
    """With the unit's filters of system calls, no rights and another user, it serves, through io_uring."""
    needs("systemd-analyze", PYTHON)
    seccomp = subprocess.run([PYTHON, "-c", "import seccomp"], stderr=subprocess.DEVNULL, check=False)
    if seccomp.returncode != 0 or os.getuid() != 0:
        raise Impossible("needs root and python3-seccomp")
    said(PYTHON, os.path.join(HERE, "walls.py"), UNIT, PROGRAM)


FACTS = [package_pleases_lintian, package_is_built_twice_alike, installs_serves_and_is_purged_without_a_trace,
         make_install_keeps_the_configuration_and_uninstall_the_rest_not,
         manual_pages_are_formatted_without_a_warning, installed_documents_lead_to_installed_files,
         tarball_is_packed_twice_alike_and_installs_what_it_has,
         tarball_is_refused_where_it_would_not_start_on_older_hosts, default_configuration_says_the_defaults,
         completions_are_scripts_of_their_shells, unit_is_shut_tight, server_serves_inside_the_units_walls, *containers.FACTS]


def main():
    """The program."""
    counts = {"ok": 0, "FAILED": 0, "skipped": 0}
    for fact in FACTS:
        if sys.argv[2:] and not any(part in fact.__name__ for part in sys.argv[2:]):
            continue
        result, why = "ok", ""
        try:
            fact()
        except (Impossible, containers.JudgeMissing) as reason:
            result, why = "skipped", f" ({reason})"
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            result, why = "FAILED", f" ({type(error).__name__}: {error} in {place.name}, line {place.lineno})"
        counts[result] += 1
        print(f"{fact.__name__} ... {result}{why}", flush=True)
    print(f"{counts['ok']} passed, {counts['FAILED']} failed, {counts['skipped']} skipped")
    return 1 if counts["FAILED"] else 0


if __name__ == "__main__":
    sys.exit(main())
