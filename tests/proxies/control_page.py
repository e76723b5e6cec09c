"""The control listener behind nginx, with the block that docs/proxies.md shows: a browser's requests pass.

The `Host` that nginx sends is its own by default, and the page's `Origin` is another one.
"""

import base64
import json
import os
import re

from checks import World
from proxies import Nginx
from stream import expect

PAGES = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, os.pardir, "docs", "proxies.md")
NAME = "ops.example.org"
#: All that a browser says about a request of the page's own script.
BROWSER = {"Host": NAME, "Origin": f"https://{NAME}", "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors",
           "Authorization": "Basic " + base64.b64encode(b"ops:secret").decode()}


def documented_block():
    """The location of the section about the dashboard."""
    with open(PAGES, encoding="utf-8") as file:
        section = file.read().split("### The dashboard behind nginx", 1)[1]
    return re.search(r"```nginx\n(.*?)```", section, re.DOTALL)[1]


class DashboardNginx(Nginx):
    """nginx whose first door leads to the control listener, as documented, with one more line."""

    name = "nginx dashboard"
    more = ""

    def __init__(self, server, idle_ms):
        block = documented_block().replace("{", "{{").replace("}", "}}")
        block = block.replace("127.0.0.1:8081", "127.0.0.1:{control_port}")
        block = block.replace("/etc/nginx/fanwheel.htpasswd", "{folder}/passwords")
        block = block.replace("proxy_pass", self.more + "proxy_pass")
        own = re.compile(r"(listen 127.0.0.1:\{port\};\n).*?(\n    \}\}\n+    upstream guarded)", re.DOTALL)
        self.template = own.sub(lambda found: found[1] + block + found[2], super().template)
        super().__init__(server, idle_ms)

    def start(self):
        with open(os.path.join(self.folder, "passwords"), "w", encoding="utf-8") as file:
            file.write("ops:{PLAIN}secret\n")
        super().start()


class ForwardedHost(DashboardNginx):
    """The same, with the browser's `Host` passed on."""

    name = "nginx dashboard, its Host passed on,"
    more = "proxy_set_header Host $http_host; "


def asked(world, method, path, body=None, headers=BROWSER):
    """Status and text of an answer to a browser."""
    status, page = world.server.request(method, path, body, headers, world.proxy.port)
    return status, page.decode()


def pages_and_buttons_of_the_dashboard_work(kind):
    """Page, figures, publish and end; without the name they are refused with words that say what to do."""
    with World(kind, control_names=NAME) as world:
        expect(asked(world, "GET", "/", headers={"Host": NAME})[0] == 401, "it asks for no password")
        expect(asked(world, "GET", "/")[0] == 200, "the page does not come")
        expect(asked(world, "GET", "/status")[0] == 200, "the figures do not come")
        status, text = asked(world, "POST", "/publish?topic=news", b"hello")
        expect(status == 202, f"a publish gets {status} {text}")
        foreign = asked(world, "POST", "/publish?topic=news", b"x", {**BROWSER, "Origin": "https://evil.example"})
        expect(foreign[0] == 403, f"a page of another site gets {foreign}")
    with World(kind) as world:
        status, text = asked(world, "POST", "/publish?topic=news", b"hello")
        expect(status in (403, 421) and "control_names" in json.loads(text)["message"], f"{status} {text}")


ALL = [(pages_and_buttons_of_the_dashboard_work, kind) for kind in (DashboardNginx, ForwardedHost)]
