"""The proxies under test: one process each, on free ports, with the configuration of deploy/ or docs/proxies.md.

Owns the processes and their folders; knows nothing of what is checked. Each proxy has two doors: `port` leads to
the public listener, `guarded_port` to the control listener and lets through only `ALLOWED` and health checks, so
that a request that slips past it can be seen by what it publishes.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "clients"))
from server import free_port  # noqa: E402

ALLOWED = "/publish?topic=allowed"
START_SECONDS = 60
#: Time that streams have when a proxy is reloaded.
SOFT_STOP_MS = 1_000

DEPLOY = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, os.pardir, "deploy")


def deployed(name):
    """A file of deploy/ as a template: its text, in which braces stand for themselves."""
    with open(os.path.join(DEPLOY, name), encoding="utf-8") as file:
        return file.read().replace("{", "{{").replace("}", "}}")


def changed(text, *changes):
    """The text with all these changes; each must fit it."""
    for old, new in changes:
        assert old in text, f"{old!r} is not in it"
        text = text.replace(old, new)
    return text


#: What a proxy of deploy/ cannot have here: its user, its certificate, its bounds and its ports.
NGINX_HERE = (
    ("user www-data;\n", "{user}\ndaemon off;\npid {folder}/pid;\nerror_log {folder}/log;\n"),
    ("worker_rlimit_nofile 65536;\n", ""),
    ("worker_processes auto;", "worker_processes 1;"),
    ("worker_shutdown_timeout 30s;", "worker_shutdown_timeout {soft_stop_ms}ms;"),
    ("worker_connections 32768;", "worker_connections 512;"),
    ("access_log off;", """access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;"""),
    ("server 10.0.0.11:8080 ", "server 127.0.0.1:{server_port} "),
    ("listen 80;", "listen unix:{folder}/plain;"),
    ("/etc/ssl/push.example.org.pem", "{folder}/leaf"),
    ("/etc/ssl/push.example.org.key", "{folder}/key"),
    ("proxy_read_timeout 60s;", "proxy_read_timeout {idle_ms}ms;"),
)
#: The deployed configuration in front of one server, without TLS, and health checks, which would be counted.
NGINX = changed(
    deployed("nginx.conf"), *NGINX_HERE,
    ("        server 10.0.0.12:8080 max_fails=0;\n", ""),
    ("listen 443 ssl http2;", "listen 127.0.0.1:{port};"),
    ("        ssl_certificate {folder}/leaf;\n        ssl_certificate_key {folder}/key;\n", ""),
).rstrip().removesuffix("}}") + """
    upstream guarded {{ server 127.0.0.1:{control_port}; keepalive 4; }}
    server {{
        listen 127.0.0.1:{guarded_port};
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host 127.0.0.1;
        location = /healthz {{ proxy_pass http://guarded; }}
        location = /publish {{
            if ($request_uri != "{allowed}") {{ return 403; }}
            proxy_pass http://guarded;
        }}
        location / {{ return 403; }}
    }}
}}
"""

HAPROXY_HERE = (
    ("hard-stop-after 30s", "hard-stop-after {soft_stop_ms}ms"),
    ("timeout client 60s", "timeout client {idle_ms}ms"),
    ("timeout server 60s", "timeout server {idle_ms}ms"),
    ("    bind :80\n", ""),
    ("server one 10.0.0.11:8080", "server one 127.0.0.1:{server_port}"),
    ("crt /etc/haproxy/push.example.org.pem", "crt {folder}/both"),
)
HAPROXY = changed(
    deployed("haproxy.cfg"), *HAPROXY_HERE,
    ("    server two 10.0.0.12:8080\n", ""),
    ("    option httpchk GET /readyz\n    default-server check inter 1s fall 1 rise 1\n", ""),
    ("bind :443 ssl crt {folder}/both alpn h2,http/1.1", "bind 127.0.0.1:{port}"),
    ("    http-request redirect scheme https unless {{ ssl_fc }}\n", ""),
) + """
frontend guarded
    bind 127.0.0.1:{guarded_port}
    http-request deny unless {{ path /healthz }} or {{ url -m str {allowed} }}
    default_backend guarded

backend guarded
    server one 127.0.0.1:{control_port}
"""

VARNISH = """
vcl 4.1;
backend open {{ .host = "127.0.0.1"; .port = "{server_port}"; }}
backend guarded {{ .host = "127.0.0.1"; .port = "{control_port}"; }}
sub vcl_recv {{
    set req.backend_hint = open;
    if (local.endpoint ~ ":{guarded_port}$") {{
        if (req.url != "/healthz" && req.url != "{allowed}") {{ return (synth(403)); }}
        set req.backend_hint = guarded;
    }}
    if (req.url ~ "^/events") {{ return (pipe); }}
    return (pass);
}}
sub vcl_pipe {{ set bereq.http.Connection = "close"; }}
"""


CADDY_HERE = (
    ("\t", "    "),
    ("grace_period 30s", "admin off\n    grace_period {soft_stop_ms}ms"),
)
CADDY = changed(
    deployed("Caddyfile"), *CADDY_HERE,
    ("    admin off\n", "    admin off\n    auto_https off\n"),
    ("push.example.org {{", "http://:{port} {{\n    bind 127.0.0.1"),
    ("reverse_proxy 10.0.0.11:8080 10.0.0.12:8080 {{", """reverse_proxy 127.0.0.1:{server_port} {{
        transport http {{
            read_timeout {idle_ms}ms
        }}"""),
    ("        health_uri /readyz\n        health_interval 1s\n", ""),
) + """
http://:{guarded_port} {{
    bind 127.0.0.1
    @open expression `{{http.request.uri}} in ["/healthz", "{allowed}"]`
    handle @open {{
        reverse_proxy 127.0.0.1:{control_port} {{
            header_up Host 127.0.0.1
        }}
    }}
    respond 403
}}
"""


APACHE = """
{user}
ServerRoot {folder}
ServerName 127.0.0.1
PidFile {folder}/pid
ErrorLog {folder}/log
DefaultRuntimeDir {folder}
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule proxy_module {modules}/mod_proxy.so
LoadModule proxy_http_module {modules}/mod_proxy_http.so
Listen 127.0.0.1:{port}
Listen 127.0.0.1:{guarded_port}
ProxyTimeout {idle_seconds}
<VirtualHost 127.0.0.1:{port}>
    ProxyPass / http://127.0.0.1:{server_port}/
</VirtualHost>
<VirtualHost 127.0.0.1:{guarded_port}>
    ProxyPass / http://127.0.0.1:{control_port}/
    <If "%{{REQUEST_URI}} != '/healthz' && '%{{REQUEST_URI}}?%{{QUERY_STRING}}' != '{allowed}'">
        Require all denied
    </If>
</VirtualHost>
"""
APACHE_MODULES = "/usr/lib/apache2/modules"


class Proxy:
    """A running proxy in front of `server`, which ends what says nothing for `idle_ms`."""

    name = program = template = ""
    #: A line that only root's configuration needs.
    user = ""
    #: The signal that lets streams go on for a while.
    soft_stop = None
    #: Whether its door to the public listener wants TLS.
    tls = False
    #: Whether it sees that a client has left before it has something to send.
    notices_leaving = True
    #: The shortest idle timeout that it takes.
    idle_ms_least = 500
    #: How a stream looks that its idle timeout has ended.
    timeout_end = "cut"

    def __init__(self, server, idle_ms):
        self.idle_ms = idle_ms
        self.folder = tempfile.mkdtemp(prefix="fanwheel-proxy-")
        self.port, self.guarded_port = free_port(), free_port()
        self.configuration = os.path.join(self.folder, "configuration")
        with open(self.configuration, "w", encoding="utf-8") as file:
            file.write(self.template.format(
                folder=self.folder, port=self.port, guarded_port=self.guarded_port, server_port=server.port,
                control_port=server.control_port, idle_ms=idle_ms,
                idle_seconds=-(-idle_ms // 1_000), allowed=ALLOWED, soft_stop_ms=SOFT_STOP_MS,
                modules=APACHE_MODULES, user=self.user if os.geteuid() == 0 else ""))
        self.log = open(os.path.join(self.folder, "output"), "wb")
        self.process = None
        self.start()

    @classmethod
    def missing(cls):
        """Why it cannot be tested here; nothing when it can."""
        return "" if cls.path() else f"{cls.program} is not installed"

    @classmethod
    def path(cls):
        """Where the program is; packages put it where only root looks."""
        return shutil.which(cls.program, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")

    def command(self):
        """The command line without the program."""
        raise NotImplementedError

    def environment(self):
        """Whatever it keeps for itself, it keeps in the folder."""
        return {**os.environ, "HOME": self.folder, "XDG_DATA_HOME": self.folder, "XDG_CONFIG_HOME": self.folder}

    def start(self):
        """Starts it and waits until both doors are open."""
        self.process = subprocess.Popen([self.path(), *self.command()], stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=self.log, env=self.environment())
        deadline = time.monotonic() + START_SECONDS
        for port in (self.port, self.guarded_port):
            while not is_open(port):
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{self.name} did not start: {self.log_tail()}")
                time.sleep(0.02)

    def stop(self):
        """Ends it at once, and every connection with it."""
        self.process.terminate()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def close(self):
        """Ends it and removes what it left."""
        if self.process and self.process.poll() is None:
            self.stop()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def log_tail(self):
        """The end of what it said."""
        with open(self.log.name, "rb") as file:
            return file.read()[-600:].decode(errors="replace")


class Nginx(Proxy):
    """Buffers requests, and answers too unless told otherwise."""

    name, program, template = "nginx", "nginx", NGINX
    user = "user root;"
    #: It does not start a timer anew that was started less than 300 ms ago.
    idle_ms_least = 1_000
    soft_stop = signal.SIGQUIT

    def command(self):
        return ["-p", self.folder, "-c", self.configuration]


class Haproxy(Proxy):
    """Buffers nothing, but holds small answers back unless told otherwise."""

    name, program, template = "haproxy", "haproxy", HAPROXY
    soft_stop = signal.SIGUSR1

    def command(self):
        return ["-db", "-f", self.configuration]


class Varnish(Proxy):
    """A cache that is told to pipe streams: passed ones are ended late when their clients leave."""

    name, program, template = "varnish", "varnishd", VARNISH

    def command(self):
        return ["-F", "-j", "none", "-n", os.path.join(self.folder, "work"), "-f", self.configuration,
                "-a", f"127.0.0.1:{self.port}", "-a", f"127.0.0.1:{self.guarded_port}", "-T", "none",
                "-p", f"pipe_timeout={self.idle_ms / 1_000}", "-p", "vsl_space=2M", "-s", "malloc,16M"]


class Caddy(Proxy):
    """Passes streams on at once by itself."""

    name, program, template = "caddy", "caddy", CADDY
    soft_stop = signal.SIGTERM
    timeout_end = "clean"

    def command(self):
        return ["run", "--config", self.configuration, "--adapter", "caddyfile"]


class Apache(Proxy):
    """Passes streams on at once by itself, each on a thread of its own. Its soft stop waits for them for long."""

    name, program, template = "apache", "apache2", APACHE
    user = "User nobody\nGroup nogroup"
    notices_leaving = False
    idle_ms_least = 1_000

    def command(self):
        return ["-f", self.configuration, "-D", "FOREGROUND"]


ALL = [Nginx, Haproxy, Varnish, Caddy, Apache]


def is_open(port):
    """Whether somebody accepts there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
