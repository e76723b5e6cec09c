"""The configurations of deploy/ as they stand, but for addresses: TLS and HTTP/2 in front of two nodes."""

import os
import re
import shutil
import socket
import ssl
import subprocess
import time

from doctor import HaproxyWithTls, NginxWithTls, make_certificates
from proxies import CADDY_HERE, Caddy, HAPROXY_HERE, NGINX_HERE, changed, deployed
from server import BINARY, ENVIRONMENT, Server
from stream import PATIENCE_SECONDS, Impossible, expect

#: Where the client connects from; the proxies connect from 127.0.0.1.
CLIENT = "127.0.0.77"
TOKEN = "deployed-0123456789-0123456789"
TOPICS = [f"topic-{number}" for number in range(24)]
#: Above the interval of health checks, or the time for which a refused node is left alone.
NOTICED_SECONDS = 3
IDLE_MS = 10_000


class DeployedNginx(NginxWithTls):
    """deploy/nginx.conf."""

    name = "deployed nginx"
    template = changed(
        deployed("nginx.conf"), *NGINX_HERE, ("10.0.0.12:8080", "127.0.0.1:{control_port}"),
        ("listen 443 ssl http2;", "listen 127.0.0.1:{port} ssl http2; listen 127.0.0.1:{guarded_port};"))


class DeployedHaproxy(HaproxyWithTls):
    """deploy/haproxy.cfg."""

    name = "deployed haproxy"
    template = changed(
        deployed("haproxy.cfg"), *HAPROXY_HERE, ("10.0.0.12:8080", "127.0.0.1:{control_port}"),
        ("bind :443", "bind 127.0.0.1:{guarded_port}\n    bind 127.0.0.1:{port}"))


class DeployedCaddy(Caddy):
    """deploy/Caddyfile, with a certificate that it need not ask for."""

    name, tls = "deployed caddy", True
    template = changed(
        deployed("Caddyfile"), *CADDY_HERE,
        ("grace_period", "auto_https disable_redirects\n    grace_period"),
        ("push.example.org {{", "http://:{guarded_port} {{\n}}\nhttps://127.0.0.1:{port} {{\n    bind 127.0.0.1\n"
         "    tls {folder}/leaf {folder}/key"),
        ("10.0.0.11:8080", "127.0.0.1:{server_port}"), ("10.0.0.12:8080", "127.0.0.1:{control_port}"))

    def start(self):
        """Makes an authority and a certificate first."""
        make_certificates(self.folder)
        super().start()


class Nodes:
    """Two servers that know nothing of each other, as a proxy is told of them."""

    def __init__(self, kind):
        if shutil.which("openssl") is None:
            raise Impossible("openssl is not installed")
        self.settings = f"/tmp/fanwheel-deploy-{os.getpid()}-{id(self)}.toml"
        with open(self.settings, "w", encoding="utf-8") as file:
            hashed = subprocess.run(["sha256sum"], input=TOKEN.encode(), capture_output=True, check=True).stdout
            file.write(f'[[token]]\nname = "app"\nhash = "sha256:{hashed.split()[0].decode()}"\npublish = ["**"]\n')
        own = {"config": self.settings, "trusted_proxies": "127.0.0.1", "history_events": 100, "drain_ms": 500,
               "heartbeat_ms": 2_000}
        self.nodes = [Server(**own), Server(**own)]
        self.port, self.control_port = self.nodes[0].port, self.nodes[1].port
        try:
            self.proxy = kind(self, IDLE_MS)
        except Exception:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.proxy.close()
        self.close()

    def close(self):
        """Ends the nodes."""
        for node in self.nodes:
            node.kill()
        os.unlink(self.settings)

    def connect(self, request):
        """A connection over TLS on which this request was sent."""
        context = ssl.create_default_context(cafile=self.proxy.folder + "/ca")
        client = socket.create_connection(("127.0.0.1", self.proxy.port), PATIENCE_SECONDS, (CLIENT, 0))
        client = context.wrap_socket(client, server_hostname="127.0.0.1")
        client.sendall(request.encode())
        return client

    def subscribe(self, topic):
        """A stream, and the status of its answer."""
        client = self.connect(f"GET /events?topic={topic} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        return client, int(client.recv(12).decode().split()[1])

    def publish(self, topic, data):
        """The status of a publish."""
        client = self.connect(f"POST /publish?topic={topic} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                              f"Authorization: Bearer {TOKEN}\r\nContent-Length: {len(data)}\r\n\r\n{data}")
        with client:
            return int(client.recv(12).decode().split()[1])

    def open_streams(self):
        """The streams of each node."""
        pages = [node.request("GET", "/metrics")[1].decode() for node in self.nodes]
        return [int(re.search(r"^fanwheel_subscribers (\d+)$", page, re.MULTILINE)[1]) for page in pages]


def received(client, data):
    """Whether a stream brings this event."""
    client.settimeout(PATIENCE_SECONDS)
    text = b""
    while f"data: {data}\n".encode() not in text:
        more = client.recv(65_536)
        if not more:
            return False
        text += more
    return True


def has_ended(client):
    """Whether a stream whose end may have come has come to it, cleanly."""
    client.settimeout(0.2)
    text = b""
    try:
        # A stream that goes on has a heartbeat now and then.
        while len(text) < 2_000 and not text.endswith(b"0\r\n\r\n"):
            more = client.recv(65_536)
            expect(more, f"a stream was cut: {text!r}")
            text += more
    except TimeoutError:
        return False
    return text.endswith(b"0\r\n\r\n")


def subscribers_and_publishers_of_a_topic_meet(kind):
    """On one node without sticky sessions, and both nodes have topics. Pages know the client's own address."""
    with Nodes(kind) as fleet:
        streams = {topic: fleet.subscribe(topic) for topic in TOPICS}
        expect(all(status == 200 for _, status in streams.values()), f"{streams}")
        split = fleet.open_streams()
        expect(sum(split) == len(TOPICS) and min(split) > 0, f"streams of the nodes: {split}")
        for topic, (client, _) in streams.items():
            expect(fleet.publish(topic, topic) == 202, f"{topic} is not taken")
            expect(received(client, topic), f"the event of {topic} went elsewhere")
        _, page = fleet.nodes[0].request("GET", "/connections?q=" + CLIENT)
        expect(f'"address":"{CLIENT}' in page.decode(), f"the client's address is lost: {page[:300]}")
        for client, _ in streams.values():
            client.close()


def a_node_that_drains_hands_its_topics_on(kind):
    """Its streams end cleanly, the other node takes them, and it has them again when it is back."""
    with Nodes(kind) as fleet:
        before = [fleet.subscribe(topic)[0] for topic in TOPICS]
        first = fleet.nodes[0]
        mine = fleet.open_streams()[0]
        first.drain()
        time.sleep(NOTICED_SECONDS)
        ended = sum(has_ended(client) for client in before)
        expect(ended == mine, f"{ended} of {mine} streams of the drained node have ended")
        after = [fleet.subscribe(topic) for topic in TOPICS]
        expect([status for _, status in after] == [200] * len(TOPICS), f"{[status for _, status in after]}")
        first.start()
        time.sleep(NOTICED_SECONDS)
        again = [fleet.subscribe(topic) for topic in TOPICS]
        expect([status for _, status in again] == [200] * len(TOPICS), f"{[status for _, status in again]}")
        expect(fleet.open_streams()[0] == mine, f"{fleet.open_streams()[0]} instead of {mine} topics are back")


def browsers_get_http2(kind):
    """The doctor has no complaint."""
    with Nodes(kind) as fleet:
        url = f"https://127.0.0.1:{fleet.proxy.port}/events?topic=news"
        done = subprocess.run([BINARY, "doctor", "--url", url, "--ca-file", fleet.proxy.folder + "/ca",
                               "--idle-seconds", "3", "--publish-url", "http://127.0.0.1:1"],
                              capture_output=True, env=ENVIRONMENT, timeout=60, check=False)
        text = done.stdout.decode()
        expect(done.returncode == 0, f"exit code {done.returncode}: {text} {done.stderr.decode()}")
        expect("spoken, first byte" in text, text)


KINDS = [DeployedNginx, DeployedHaproxy, DeployedCaddy]
ALL = [(check, kind) for kind in KINDS for check in (
    subscribers_and_publishers_of_a_topic_meet, a_node_that_drains_hands_its_topics_on, browsers_get_http2)]
