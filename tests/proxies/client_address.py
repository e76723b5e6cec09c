"""The client's address, as real proxies tell it: with the PROXY protocol, and in a field of the request."""

import os
import socket

from checks import World
from proxies import Haproxy, Nginx
from stream import PATIENCE_SECONDS, expect

#: Where the client connects from; the proxies connect from 127.0.0.1.
CLIENT = "127.0.0.77"
STREAM_MODULE = "/usr/lib/nginx/modules/ngx_stream_module.so"


class HaproxyText(Haproxy):
    """HAProxy that begins each connection with a header of version 1."""

    name, protocol = "haproxy send-proxy", "require"
    template = Haproxy.template.replace("server one 127.0.0.1:{server_port}",
                                        "server one 127.0.0.1:{server_port} send-proxy")


class HaproxyBinary(Haproxy):
    """HAProxy that begins each connection with a header of version 2, with extensions."""

    name, protocol = "haproxy send-proxy-v2", "require"
    template = Haproxy.template.replace(
        "server one 127.0.0.1:{server_port}",
        "server one 127.0.0.1:{server_port} send-proxy-v2 proxy-v2-options unique-id,crc32c check inter 100ms "
        "check-send-proxy").replace("frontend public", "frontend public\n    unique-id-format %rt")


class HaproxyField(Haproxy):
    """HAProxy that tells the client in a field of each request."""

    name, protocol = "haproxy forwardfor", "off"


class NginxField(Nginx):
    """nginx that tells the client in a field of each request."""

    name, protocol = "nginx x-forwarded-for", "off"


class NginxStream(Nginx):
    """nginx that hands bytes on, behind a header of version 1."""

    name, protocol = "nginx stream proxy_protocol", "require"
    template = "load_module " + STREAM_MODULE + ";\n" + Nginx.template.replace(
        "listen 127.0.0.1:{port};", "listen unix:{folder}/unused;") + """
stream {{
    server {{
        listen 127.0.0.1:{port};
        proxy_pass 127.0.0.1:{server_port};
        proxy_protocol on;
    }}
}}
"""

    @classmethod
    def missing(cls):
        return super().missing() or ("" if os.path.exists(STREAM_MODULE) else "nginx has no stream module")


def subscribed(world, field=""):
    """A connection from `CLIENT` through the proxy that has become a stream, and its status."""
    client = socket.create_connection(("127.0.0.1", world.proxy.port), PATIENCE_SECONDS, (CLIENT, 0))
    client.sendall(f"GET /events?topic=news HTTP/1.1\r\nHost: 127.0.0.1\r\n{field}\r\n".encode())
    return client, int(client.recv(12).decode().split()[1])


def the_client_has_its_own_address_and_cap(kind):
    """Pages name the client and not the proxy; what a client says of itself is not believed."""
    with World(kind, trusted_proxies="127.0.0.1", proxy_protocol=kind.protocol,
               connections_per_address_max=2) as world:
        made_up = "X-Forwarded-For: 192.0.2.1\r\n"
        first, status = subscribed(world, made_up)
        second, other = subscribed(world, made_up)
        expect((status, other) == (200, 200), f"the first two streams get {status} and {other}")
        _, page = world.server.request("GET", "/connections?q=" + CLIENT)
        expect(page.decode().count(f'"address":"{CLIENT}') == 2, f"the rows are {page.decode()}")
        third, status = subscribed(world, made_up)
        expect(status == 503, f"a third stream of one address gets {status}")
        for client in (first, second, third):
            client.close()
        if kind.protocol == "require":
            expect(world.metric("proxy_headers_total") >= 3, "headers are not counted")


ALL = [(the_client_has_its_own_address_and_cap, kind)
       for kind in (HaproxyText, HaproxyBinary, HaproxyField, NginxField, NginxStream)]
