"""What `fanwheel doctor --url` says about proxies that are set up well and badly.

Each case is a proxy with a template of its own, the lines that must be in the report, and the exit code. The same
proxies as in the other checks, so that what docs/proxies.md recommends is what the doctor passes.
"""

import json
import os
import re
import shutil
import subprocess

from checks import World
from proxies import APACHE, APACHE_MODULES, Apache, Caddy, HAPROXY, Haproxy, Nginx, NGINX, Varnish
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
    """The nginx template with these lines in its location for streams instead of docs/proxies.md's."""
    start = NGINX.index("proxy_http_version 1.1;")
    return NGINX[start:NGINX.index("}}", start)], lines


def apache(name, lines):
    """Apache with further lines for the whole server."""
    return variant(Apache, name, ("ProxyTimeout", f"{lines}\nProxyTimeout"))


def module(name):
    """The line that loads a module of Apache's."""
    return f"LoadModule {name}_module {APACHE_MODULES}/mod_{name}.so"


#: A location with `proxy_pass` and nothing else.
NGINX_AS_IT_COMES = variant(Nginx, "nginx-as-it-comes", events_location(""))
NGINX_THAT_BUFFERS = variant(Nginx, "nginx-that-buffers", events_location(
    "proxy_ignore_headers X-Accel-Buffering;\n        "))
NGINX_THAT_IGNORES_AND_IS_TOLD = variant(Nginx, "nginx-that-ignores-and-is-told", (
    "proxy_buffering off;", "proxy_ignore_headers X-Accel-Buffering; proxy_buffering off;"))
NGINX_THAT_READS_ON = variant(Nginx, "nginx-that-reads-on", (
    "proxy_buffering off;", "proxy_buffering off; proxy_ignore_client_abort on;"))
NGINX_THAT_COMPRESSES = variant(Nginx, "nginx-that-compresses", (
    "proxy_buffering off;", "proxy_ignore_headers X-Accel-Buffering; gzip on; gzip_min_length 1; "
    "gzip_proxied any; gzip_types text/event-stream;"))
NGINX_THAT_MEDDLES = variant(Nginx, "nginx-that-meddles", (
    "proxy_read_timeout", "proxy_set_header Last-Event-ID \"\"; add_header Access-Control-Allow-Origin *;\n"
    "            proxy_read_timeout"))
NGINX_WITHOUT_SERVER = variant(Nginx, "nginx-without-server", (
    "proxy_pass http://fanwheel;", "proxy_pass http://127.0.0.1:1;"))
HAPROXY_THAT_HOLDS_BACK = variant(Haproxy, "haproxy-that-holds-back", ("    option http-no-delay\n", ""))
NGINX_THAT_FLUSHES = variant(Nginx, "nginx-that-flushes", (
    "proxy_buffering off;", "proxy_buffering off; gzip on; gzip_min_length 1; gzip_proxied any; "
    "gzip_types text/event-stream;"))
GZIP = "\n".join([module("filter"), module("deflate"), module("setenvif"),
                  "AddOutputFilterByType DEFLATE text/event-stream"])
APACHE_THAT_COMPRESSES = apache("apache-that-compresses", GZIP)
APACHE_THAT_LEAVES_THE_PATH_OUT = apache(
    "apache-that-leaves-the-path-out", f"{GZIP}\nSetEnvIf Request_URI ^/events no-gzip=1 no-brotli=1")
APACHE_THAT_GATHERS = apache("apache-that-gathers", "\n".join([
    module("ext_filter"), "ExtFilterDefine through cmd=/bin/cat", "SetOutputFilter through"]))
APACHE_THAT_LIMITS_RATES = apache("apache-that-limits-rates", "\n".join([
    module("ratelimit"), module("env"), "SetOutputFilter RATE_LIMIT", "SetEnv rate-limit 400"]))
APACHE_WITHOUT_SERVER = variant(Apache, "apache-without-server", (
    "http://127.0.0.1:{server_port}/", "http://127.0.0.1:1/"))
VARNISH_AS_IT_COMES = variant(Varnish, "varnish-as-it-comes", (
    "    if (req.url ~ \"^/events\") {{ return (pipe); }}\n    return (pass);\n", ""))
VARNISH_THAT_GATHERS = variant(Varnish, "varnish-that-gathers", (
    "    if (req.url ~ \"^/events\") {{ return (pipe); }}\n", ""), (
    "sub vcl_pipe", "sub vcl_backend_response {{ set beresp.do_stream = false; }}\nsub vcl_pipe"))
CADDY_THAT_FLUSHES = variant(Caddy, "caddy-that-flushes", (
    "    reverse_proxy 127.0.0.1:{server_port} {{", "    reverse_proxy 127.0.0.1:{server_port} {{\n"
    "        flush_interval -1"))
HAPROXY_THAT_READS_ON = variant(Haproxy, "haproxy-that-reads-on", ("    option abortonclose\n", ""))
CADDY_THAT_COMPRESSES = variant(Caddy, "caddy-that-compresses", (
    "    reverse_proxy 127.0.0.1:{server_port}",
    "    encode {{\n        gzip\n        minimum_length 1\n        match {{\n"
    "            header Content-Type text/event-stream*\n        }}\n    }}\n"
    "    reverse_proxy 127.0.0.1:{server_port}"))


class CaddyThatBuffers(Caddy):
    """It collects answers before it passes them on. The setting was renamed in 2.7."""

    name = "caddy-that-buffers"

    def __init__(self, *arguments):
        version = subprocess.run([self.path(), "version"], capture_output=True, text=True, check=True).stdout
        major, minor = re.search(r"(\d+)\.(\d+)", version).groups()
        renamed = (int(major), int(minor)) >= (2, 7)
        self.template = Caddy.template.replace(
            "        transport http", f"        {'response_buffers 64KiB' if renamed else 'buffer_responses'}\n"
            "        transport http", 1)
        super().__init__(*arguments)


class NginxWithTls(Nginx):
    """As docs/proxies.md has it, with TLS and HTTP/2 for browsers."""

    name, tls = "nginx-with-tls", True
    template = NGINX.replace(
        "listen 127.0.0.1:{port};",
        "listen 127.0.0.1:{port} ssl http2; ssl_certificate {folder}/leaf; ssl_certificate_key {folder}/key;")

    def start(self):
        """Makes an authority and a certificate first."""
        make_certificates(self.folder)
        super().start()


class NginxSelfSigned(NginxWithTls):
    """With a certificate that signs itself, as guides make them, and without HTTP/2."""

    name = "nginx-self-signed"
    template = NginxWithTls.template.replace(" ssl http2;", " ssl;").replace("{folder}/leaf", "{folder}/ca").replace(
        "{folder}/key;", "{folder}/ca-key;")


class ApacheWithTls(Apache):
    """As docs/proxies.md has it, with TLS and HTTP/2 as the doctor says it."""

    name, tls = "apache-with-tls", True
    template = APACHE.replace("ProxyTimeout", "\n".join([
        module("ssl"), module("http2"), "Protocols h2 http/1.1", "ProxyTimeout"])).replace(
            "<VirtualHost 127.0.0.1:{port}>", "<VirtualHost 127.0.0.1:{port}>\n    SSLEngine on\n"
            "    SSLCertificateFile {folder}/leaf\n    SSLCertificateKeyFile {folder}/key")

    def start(self):
        """Makes an authority and a certificate first."""
        make_certificates(self.folder)
        super().start()


class HaproxyWithTls(Haproxy):
    """As docs/proxies.md has it, with TLS and HTTP/2 as the doctor says it."""

    name, tls = "haproxy-with-tls", True
    template = HAPROXY.replace("bind 127.0.0.1:{port}", "bind 127.0.0.1:{port} ssl crt {folder}/both alpn h2,http/1.1")

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
    with open(os.path.join(folder, "both"), "wb") as both:
        for name in ("leaf", "key"):
            with open(os.path.join(folder, name), "rb") as file:
                both.write(file.read())


def report(world, *flags, publish=True):
    """The doctor's findings by key, its exit code and what it printed."""
    scheme = "https" if world.proxy.tls else "http"
    port = world.server.control_port if publish else 1
    command = [BINARY, "doctor", "--url", f"{scheme}://127.0.0.1:{world.proxy.port}/events?topic=news", "--json",
               "--idle-seconds", str(IDLE_SECONDS), "--publish-url", f"http://127.0.0.1:{port}", *flags]
    done = subprocess.run(command, capture_output=True, env=ENVIRONMENT, timeout=REPORT_SECONDS, check=False)
    expect(done.stdout, f"no report: {done.stderr.decode(errors='replace')}")
    findings = json.loads(done.stdout)["findings"]
    return {finding["key"]: finding for finding in findings}, done.returncode


def diagnosis(kind, bad, first_advice=None, found=None, idle_ms=10_000, flags=(), publish=True, **settings):
    """Fails unless exactly these keys are bad, and whatever else is given holds for the first of them."""
    with World(kind, idle_ms=idle_ms, **settings) as world:
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
                               "clients that leave": "freed within" if kind.notices_leaving else "freed by event",
                               "Last-Event-ID, header": "reaches", "last_event_id, query": "reaches"})


def is_passed_without_publishing(kind):
    """Judged by the greeting, the heartbeats and the gap that an old id is told."""
    findings = diagnosis(kind, [], publish=False, found={"Last-Event-ID, header": "reaches"})
    expect(findings["events one by one"]["verdict"] == "note", f"{findings['events one by one']}")


def is_told_of_a_timeout_below_the_heartbeat(kind):
    """The cut is measured, and the advice is for this proxy."""
    idle_ms = kind.idle_ms_least
    findings = diagnosis(kind, ["quiet stream"], idle_ms=idle_ms, heartbeat_ms=4 * idle_ms,
                         found={"quiet stream": "of silence"})
    seconds = float(findings["quiet stream"]["found"].split(" ")[2])
    expect(0.8 * idle_ms <= seconds * 1_000 <= idle_ms + 400, f"{idle_ms} ms were measured as {seconds} s")
    if findings["proxies"]["found"] != "none that names itself":
        expect(findings["quiet stream"]["fix"][0].lower().startswith(kind.name), f"{findings['quiet stream']}")


def buffering_that_only_a_field_prevents_is_diagnosed(kind):
    """Events come at once, because the server asks for it; what it is set up to do is bad all the same."""
    findings = diagnosis(kind, ["proxy buffering"], "nginx: `proxy_buffering off;", found={
        "proxies": "nginx", "events one by one": "5 of 5",
        "proxy buffering": "on: nothing within 5000 ms without X-Accel-Buffering: no"})
    expect("whatever drops or ignores the field stops all events" in findings["proxy buffering"]["why"], f"{findings}")


def what_does_not_buffer_is_passed_without_a_word(kind):
    """As it is set up, whatever the server's answer asks for."""
    expect("proxy buffering" not in diagnosis(kind, []), "a finding where there is nothing to tell")


def buffering_is_diagnosed(kind):
    """Nothing comes: neither the greeting nor events. The advice for this proxy comes first."""
    findings = diagnosis(kind, ["first byte", "events one by one"], found={
        "first byte": "none within 5000 ms", "events one by one": "0 of 2 in time"})
    expect("proxy buffering" not in findings, f"{findings}")
    # The preflight's answer is not buffered, and tells who does it, if it does tell.
    if findings["proxies"]["found"] == "none that names itself":
        expect(any(line.lower().startswith(kind.program[:5]) for line in findings["first byte"]["fix"]), "no advice")
    else:
        advice = findings["first byte"]["fix"][0].lower()
        expect(advice.startswith(findings["proxies"]["found"].lower()), advice)


def what_notices_clients_that_have_left_late_is_told(kind):
    """That is not bad, but this proxy can do better."""
    row = diagnosis(kind, [])["clients that leave"]
    expect(row["verdict"] == "note" and re.fullmatch(r"freed by event \d after \d+ ms", row["found"]), f"{row}")
    name = next(line for line in row["fix"] if line.lower().startswith(kind.program[:5]))
    expect(name == row["fix"][0] or kind.program == "haproxy", f"{row}")


def compression_is_left_out_for_the_path(kind):
    """As the advice for this proxy says."""
    diagnosis(kind, [], found={"compression": "none"})


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
    nginx = issubclass(kind, Nginx)
    diagnosis(kind, ["answer"], found={"answer": "502" if nginx else "503"},
              first_advice="nginx: look into error_log" if nginx else "Apache: its error log")


def events_that_are_held_back_are_diagnosed(kind):
    """200 ms each, which nobody notices who only looks whether they come."""
    findings = diagnosis(kind, ["events one by one"], found={"events one by one": "5 of 5"})
    remedy = "http-no-delay" if issubclass(kind, Haproxy) else "mod_ratelimit"
    expect(any(remedy in line for line in findings["events one by one"]["fix"]), f"{findings}")


def needs_openssl():
    """Stops where no certificates can be made."""
    if shutil.which("openssl") is None:
        raise Impossible("openssl is not installed")


def tls_and_http2_are_seen(kind):
    """A stream comes over HTTP/2; with the test's own authority, without which the certificate is refused, in words."""
    needs_openssl()
    row = diagnosis(kind, [], flags=["--ca-file", "{folder}/ca"])["HTTP/2"]
    expect(re.match(r"spoken, first byte after \d+ ms, \d+ streams a connection", row["found"]), f"{row}")
    if kind is not NginxWithTls:
        return
    with World(kind) as world:
        url = f"https://127.0.0.1:{world.proxy.port}/events?topic=news"
        done = subprocess.run([BINARY, "doctor", "--url", url], capture_output=True, env=ENVIRONMENT,
                              timeout=REPORT_SECONDS, check=False)
        words = done.stderr.decode()
        expect(done.returncode == 1 and words.count("\n") == 1, f"{words!r}")
        expect("certificate" in words and "--ca-file FILE" in words, f"{words!r}")


def a_certificate_that_signs_itself_can_be_named(kind):
    """Then all else is looked at, and both that and the want of HTTP/2 are noted, with the browsers' limit."""
    needs_openssl()
    findings = diagnosis(kind, [], found={"HTTP/2": "not offered"}, flags=["--ca-file", "{folder}/ca"])
    expect(findings["certificate"]["verdict"] == findings["HTTP/2"]["verdict"] == "note", f"{findings}")
    expect("six connections to an origin" in findings["HTTP/2"]["why"], f"{findings['HTTP/2']}")


EVERY = (Nginx, Haproxy, Caddy, Apache, Varnish)
ALL = [
    *[(is_passed_as_the_readme_has_it, kind) for kind in EVERY],
    *[(is_told_of_a_timeout_below_the_heartbeat, kind) for kind in EVERY],
    (is_passed_without_publishing, Nginx),
    (buffering_that_only_a_field_prevents_is_diagnosed, NGINX_AS_IT_COMES),
    *[(what_does_not_buffer_is_passed_without_a_word, kind) for kind in (Nginx, NGINX_THAT_IGNORES_AND_IS_TOLD)],
    *[(buffering_is_diagnosed, kind) for kind in (NGINX_THAT_BUFFERS, APACHE_THAT_GATHERS,
                                                  VARNISH_THAT_GATHERS, CaddyThatBuffers)],
    *[(what_notices_clients_that_have_left_late_is_told, kind)
      for kind in (VARNISH_AS_IT_COMES, NGINX_THAT_READS_ON, HAPROXY_THAT_READS_ON, CADDY_THAT_FLUSHES)],
    (compression_that_keeps_events_is_diagnosed, NGINX_THAT_COMPRESSES),
    (compression_that_keeps_events_is_diagnosed, CADDY_THAT_COMPRESSES),
    *[(compression_that_is_flushed_is_passed, kind) for kind in (NGINX_THAT_FLUSHES, APACHE_THAT_COMPRESSES)],
    (compression_is_left_out_for_the_path, APACHE_THAT_LEAVES_THE_PATH_OUT),
    (meddling_with_fields_is_diagnosed, NGINX_THAT_MEDDLES),
    *[(a_proxy_without_its_server_is_diagnosed, kind) for kind in (NGINX_WITHOUT_SERVER, APACHE_WITHOUT_SERVER)],
    *[(events_that_are_held_back_are_diagnosed, kind)
      for kind in (HAPROXY_THAT_HOLDS_BACK, APACHE_THAT_LIMITS_RATES)],
    *[(tls_and_http2_are_seen, kind) for kind in (NginxWithTls, ApacheWithTls, HaproxyWithTls)],
    (a_certificate_that_signs_itself_can_be_named, NginxSelfSigned),
]
