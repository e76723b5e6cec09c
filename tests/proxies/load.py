"""`fanwheel load` through proxies that speak TLS, on both doors."""

import json
import subprocess
import time

from checks import World
from doctor import HaproxyWithTls, NginxSelfSigned, NginxWithTls
from server import BINARY, ENVIRONMENT
from stream import expect

RUN_SECONDS = 120


class NginxForLoad(NginxWithTls):
    """Lets every publish through its guarded door, which wants TLS, too."""

    name = "nginx-with-tls-for-load"
    template = NginxWithTls.template.replace(
        "listen 127.0.0.1:{guarded_port};",
        "listen 127.0.0.1:{guarded_port} ssl; ssl_certificate {folder}/leaf; ssl_certificate_key {folder}/key;").replace(
            'if ($request_uri != "{allowed}") {{ return 403; }}', "").replace(
                "location / {{ return 403; }}", "location / {{ proxy_pass http://guarded; }}")


class HaproxyForLoad(HaproxyWithTls):
    """Lets every publish through its guarded door, which wants TLS, too."""

    name = "haproxy-with-tls-for-load"
    template = HaproxyWithTls.template.replace(
        "bind 127.0.0.1:{guarded_port}", "bind 127.0.0.1:{guarded_port} ssl crt {folder}/both").replace(
            "    http-request deny unless {{ path /healthz }} or {{ url -m str {allowed} }}\n", "")


def run_load(world, *flags):
    """A run over TLS on both doors: its exit code, its report and its standard error."""
    proxy = world.proxy
    command = [BINARY, "load", "--json", "--patience-seconds", "60", *flags,
               "--subscribe-url", f"https://127.0.0.1:{proxy.port}/events?topic={{topic}}",
               "--publish-url", f"https://127.0.0.1:{proxy.guarded_port}/publish?topic={{topic}}"]
    done = subprocess.run(command, capture_output=True, env=ENVIRONMENT, timeout=RUN_SECONDS, check=False)
    return done.returncode, json.loads(done.stdout or "null"), done.stderr.decode(errors="replace")


def a_load_over_tls_loses_nothing(kind):
    """Single events, batches, bodies beyond what a session holds at once, and a return of all subscribers."""
    with World(kind, idle_ms=10_000) as world:
        trust = ["--ca-file", world.proxy.folder + "/ca"]
        for flags, due in (
                ("--subscribers 40 --events 60 --window 4 --reconnect-percent 100 --missed 5", 40 * 60),
                ("--subscribers 20 --events 12 --window 3 --bytes 1000 --bytes-max 250000", 20 * 12),
                ("--subscribers 20 --topics 5 --events 100 --window 20 --batch 10", 20 * 20)):
            code, report, words = run_load(world, *trust, *flags.split())
            expect(code == 0, f"{flags}: exit code {code}: {report} {words}")
            got = report["delivered"]["deliveries"]
            expect(got == due, f"{flags}: {got} deliveries instead of {due}")


def a_load_names_a_server_that_is_not_trusted(kind):
    """At once and with the remedy; a named certificate that signs itself is trusted."""
    with World(kind, idle_ms=10_000) as world:
        begun = time.monotonic()
        code, report, _ = run_load(world, "--subscribers", "3")
        expect(time.monotonic() - begun < 20, "an untrusted server is tried again and again")
        faults = str(report["faults"])
        expect(code == 1 and "is not trusted" in faults and "--ca-file" in faults, f"{code}: {faults}")
        flags = ["--subscribers", "3", "--ca-file", world.proxy.folder + "/ca"]
        code, report, words = run_load(world, *flags)
        expect(code == 0, f"exit code {code}: {report} {words}")
        code, report, _ = run_load(world, "--events", "1", *flags)
        faults = str(report["faults"])
        expect(code == 1 and "is no TLS" in faults, f"its door without TLS: {code}: {faults}")


ALL = [(a_load_over_tls_loses_nothing, NginxForLoad), (a_load_over_tls_loses_nothing, HaproxyForLoad),
       (a_load_names_a_server_that_is_not_trusted, NginxSelfSigned)]
