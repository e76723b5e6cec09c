"""What `fanwheel doctor --url` says about proxies that are set up well and badly.

Each case is a proxy with a template of its own, the lines that must be in the report, and the exit code. The same
proxies as in the other checks, so that what the README recommends is what the doctor passes.
"""

import json
import os
import subprocess

from checks import World
from proxies import Caddy, Haproxy, Nginx, NGINX
from server import BINARY, ENVIRONMENT
from stream import Impossible, expect

#: Longer than a heartbeat of these servers, so that one is seen.
IDLE_SECONDS = 3
REPORT_SECONDS = 60


def variant(base, name, *changes):
    """A proxy whose configuration differs in these places."""
    template = base.template
    for old, new in changes:
        assert old in template, f"{base.name}: {old!r} is not in its template"
        template = template.replace(old, new)
    return type(name, (base,), {"name": name, "template": template})


def events_location(lines):
    """The nginx template with these lines in its location for streams instead of the README's."""
    start = NGINX.index("proxy_http_version 1.1;")
    return NGINX[start:NGINX.index("}}", start)], lines


PLAIN = events_location("proxy_read_timeout {idle_ms}ms;\n        ")
NGINX_AS_IT_COMES = variant(Nginx, "nginx-as-it-comes", PLAIN)
NGINX_THAT_BUFFERS = variant(Nginx, "nginx-that-buffers", PLAIN, (
    "proxy_read_timeout", "proxy_ignore_headers X-Accel-Buffering;\n            proxy_read_timeout"))
NGINX_THAT_COMPRESSES = variant(Nginx, "nginx-that-compresses", (
    "proxy_read_timeout", "proxy_ignore_headers X-Accel-Buffering; gzip on; gzip_min_length 1; gzip_proxied any; "
    "gzip_types text/event-stream;\n            proxy_read_timeout"))
NGINX_THAT_MEDDLES = variant(Nginx, "nginx-that-meddles", (
    "proxy_read_timeout", "proxy_set_header Last-Event-ID \"\"; add_header Access-Control-Allow-Origin *;\n"
    "            proxy_read_timeout"))
NGINX_WITHOUT_SERVER = variant(Nginx, "nginx-without-server", (
    "proxy_pass http://127.0.0.1:{server_port};", "proxy_pass http://127.0.0.1:1;"))
HAPROXY_THAT_HOLDS_BACK = variant(Haproxy, "haproxy-that-holds-back", ("    option http-no-delay\n", ""))
NGINX_THAT_FLUSHES = variant(Nginx, "nginx-that-flushes", (
    "proxy_read_timeout", "proxy_buffering off; gzip on; gzip_min_length 1; gzip_proxied any; "
    "gzip_types text/event-stream;\n            proxy_read_timeout"))
CADDY_THAT_COMPRESSES = variant(Caddy, "caddy-that-compresses", (
    "    reverse_proxy 127.0.0.1:{server_port}",
    "    encode {{\n        gzip\n        minimum_length 1\n        match {{\n"
    "            header Content-Type text/event-stream*\n        }}\n    }}\n"
    "    reverse_proxy 127.0.0.1:{server_port}"))


class NginxWithTls(Nginx):
    """As the README has it, with TLS and HTTP/2 for browsers."""

    name = "nginx-with-tls"
    template = NGINX.replace(
        "listen 127.0.0.1:{port};",
        "listen 127.0.0.1:{port} ssl http2; ssl_certificate {folder}/leaf; ssl_certificate_key {folder}/key;")

    def start(self):
        """Makes an authority and a certificate first."""
        make_certificates(self.folder)
        super().start()


def make_certificates(folder):
    """An authority `ca`, and `leaf` with `key` for 127.0.0.1."""
    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-keyout", "ca-key", "-out", "ca", "-subj", "/CN=authority of a test")
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-keyout", "key", "-out", "request", "-subj", "/CN=127.0.0.1")
    with open(os.path.join(folder, "names"), "w", encoding="utf-8") as file:
        file.write("subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
    openssl("x509", "-req", "-in", "request", "-CA", "ca", "-CAkey", "ca-key", "-CAcreateserial", "-days", "2",
            "-extfile", "names", "-out", "leaf")


def report(world, *flags, publish=True):
    """The doctor's findings by key, its exit code and what it printed."""
    scheme = "https" if isinstance(world.proxy, NginxWithTls) else "http"
    port = world.server.control_port if publish else 1
    command = [BINARY, "doctor", "--url", f"{scheme}://127.0.0.1:{world.proxy.port}/events?topic=news", "--json",
               "--idle-seconds", str(IDLE_SECONDS), "--publish-url", f"http://127.0.0.1:{port}", *flags]
    done = subprocess.run(command, capture_output=True, env=ENVIRONMENT, timeout=REPORT_SECONDS, check=False)
    expect(done.stdout, f"no report: {done.stderr.decode(errors='replace')}")
    findings = json.loads(done.stdout)["findings"]
    return {finding["key"]: finding for finding in findings}, done.returncode


def diagnosis(kind, bad, first_advice=None, found=None, idle_ms=10_000, flags=(), publish=True):
    """Fails unless exactly these keys are bad, and whatever else is given holds for the first of them."""
    with World(kind, idle_ms=idle_ms) as world:
        flags = [flag.format(folder=world.proxy.folder) for flag in flags]
        findings, code = report(world, *flags, publish=publish)
        got = [key for key, finding in findings.items() if finding["verdict"] == "bad"]
        expect(got == bad, f"bad: {got} instead of {bad}: {findings}")
        expect(code == (1 if bad else 0), f"exit code {code}")
        for key, part in (found or {}).items():
            expect(part in findings[key]["found"], f"{key}: {findings[key]}")
        if first_advice:
            expect(findings[bad[0]]["fix"][0].startswith(first_advice), f"{findings[bad[0]]['fix']}")
        return findings


def is_passed_as_the_readme_has_it(kind):
    """What is recommended has no fault."""
    diagnosis(kind, [], found={"events one by one": "5 of 5", "quiet stream": "heartbeats",
                               "Last-Event-ID, header": "reaches", "last_event_id, query": "reaches"})


def is_passed_without_publishing(kind):
    """Judged by the greeting, the heartbeats and the gap that an old id is told."""
    findings = diagnosis(kind, [], publish=False, found={"Last-Event-ID, header": "reaches"})
    expect(findings["events one by one"]["verdict"] == "note", f"{findings['events one by one']}")


def is_told_of_a_timeout_below_the_heartbeat(kind):
    """The cut is measured, and the advice is for this proxy."""
    findings = diagnosis(kind, ["quiet stream"], idle_ms=500, found={"quiet stream": "of silence"})
    seconds = float(findings["quiet stream"]["found"].split(" ")[2])
    expect(0.4 <= seconds <= 0.9, f"a timeout of 0.5 s was measured as {seconds}")


def default_buffering_is_named_though_the_server_lifts_it(kind):
    """As it comes nginx buffers, except what the server asks it not to."""
    findings = diagnosis(kind, [], found={"proxies": "nginx"})
    expect("proxy_buffering off" in findings["proxies"]["fix"][0], f"{findings['proxies']}")


def buffering_is_diagnosed(kind):
    """Nothing comes: neither the greeting nor events."""
    diagnosis(kind, ["first byte", "events one by one"], first_advice="nginx: `proxy_buffering off")


def compression_that_keeps_events_is_diagnosed(kind):
    """A stream without compression comes, one with it does not; the advice for this proxy comes first."""
    diagnosis(kind, ["compression"], first_advice=f"{'Caddy' if issubclass(kind, Caddy) else 'nginx'}: ")


def compression_that_is_flushed_is_passed(kind):
    """What comes at once may be compressed."""
    diagnosis(kind, [], found={"compression": "gzip, flushed"})


def meddling_with_fields_is_diagnosed(kind):
    """The position is lost, and the origin is allowed twice."""
    diagnosis(kind, ["Last-Event-ID, header", "CORS, stream"], found={"last_event_id, query": "reaches"})


def a_proxy_without_its_server_is_diagnosed(kind):
    """The answer is the proxy's own."""
    diagnosis(kind, ["answer"], found={"answer": "502"}, first_advice="nginx: look into error_log")


def events_that_are_held_back_are_diagnosed(kind):
    """200 ms each, which nobody notices who only looks whether they come."""
    findings = diagnosis(kind, ["events one by one"], found={"events one by one": "5 of 5"})
    expect(any("http-no-delay" in line for line in findings["events one by one"]["fix"]), f"{findings}")


def tls_and_http2_are_seen(kind):
    """With the test's own authority; without it the certificate is refused, in words."""
    if subprocess.run(["openssl", "version"], capture_output=True, check=False).returncode:
        raise Impossible("openssl is not installed")
    diagnosis(kind, [], found={"HTTP/2": "offered"}, flags=["--ca-file", "{folder}/ca"])
    with World(kind) as world:
        url = f"https://127.0.0.1:{world.proxy.port}/events?topic=news"
        done = subprocess.run([BINARY, "doctor", "--url", url], capture_output=True, env=ENVIRONMENT,
                              timeout=REPORT_SECONDS, check=False)
        words = done.stderr.decode()
        expect(done.returncode == 1 and "certificate" in words and words.count("\n") == 1, f"{words!r}")


ALL = [
    *[(is_passed_as_the_readme_has_it, kind) for kind in (Nginx, Haproxy, Caddy)],
    *[(is_told_of_a_timeout_below_the_heartbeat, kind) for kind in (Nginx, Haproxy, Caddy)],
    (is_passed_without_publishing, Nginx),
    (default_buffering_is_named_though_the_server_lifts_it, NGINX_AS_IT_COMES),
    (buffering_is_diagnosed, NGINX_THAT_BUFFERS),
    (compression_that_keeps_events_is_diagnosed, NGINX_THAT_COMPRESSES),
    (compression_that_keeps_events_is_diagnosed, CADDY_THAT_COMPRESSES),
    (compression_that_is_flushed_is_passed, NGINX_THAT_FLUSHES),
    (meddling_with_fields_is_diagnosed, NGINX_THAT_MEDDLES),
    (a_proxy_without_its_server_is_diagnosed, NGINX_WITHOUT_SERVER),
    (events_that_are_held_back_are_diagnosed, HAPROXY_THAT_HOLDS_BACK),
    (tls_and_http2_are_seen, NginxWithTls),
]
