"""A TCP proxy that cuts: between client and server, it ends connections when and how a test says.

Owns its sockets and one thread; knows nothing of HTTP, so what it passes on is what the server sent.
Reads happen under the lock and only when something is there, so a cut never meets a blocked read: a close
under a blocked read would be put off by the kernel, and a reset would come as something else.
"""

import selectors
import socket
import struct
import threading

#: Time for the other side to take a connection or bytes.
PATIENCE_SECONDS = 60
LINGER_NONE = struct.pack("ii", 1, 0)


class CuttingProxy:
    """Listens on a free port and passes bytes to `upstream_port` until told otherwise."""

    def __init__(self, upstream_port):
        self.upstream_port = upstream_port
        self.lock = threading.RLock()
        self.selector = selectors.DefaultSelector()
        self.other_end = {}
        self.clients = set()
        self.downstream = bytearray()
        self.cut_at = None
        self.opened = 0
        self.closed = False
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.present = True
        threading.Thread(target=self._loop, daemon=True).start()

    def leave(self, reset):
        """Cuts every connection, by reset or by an orderly close, and lets newcomers wait."""
        with self.lock:
            if self.present:
                self.selector.unregister(self.listener)
            self.present = False
            for end in list(self.clients):
                self._cut(end, reset)

    def leave_after(self, more_bytes, reset):
        """As `leave`, but only when the server has sent so many further bytes."""
        with self.lock:
            self.cut_at = (len(self.downstream) + more_bytes, reset)

    def come_back(self):
        """Serves those who wait, and all who come."""
        with self.lock:
            if not self.present:
                self.selector.register(self.listener, selectors.EVENT_READ)
            self.present = True

    def close(self):
        """Ends everything."""
        self.leave(reset=True)
        self.closed = True
        self.listener.close()

    def _loop(self):
        while not self.closed:
            ready = self.selector.select(timeout=0.02)
            with self.lock:
                for key, _ in ready:
                    # Closed while the lock was not held.
                    if key.fileobj.fileno() >= 0:
                        self._accept() if key.fileobj is self.listener else self._pass_on(key.fileobj)

    def _accept(self):
        if not self.present:
            return
        client, _ = self.listener.accept()
        try:
            server = socket.create_connection(("127.0.0.1", self.upstream_port), timeout=PATIENCE_SECONDS)
        except OSError:
            _end(client, reset=True)
            return
        client.settimeout(PATIENCE_SECONDS)
        self.opened += 1
        self.clients.add(client)
        self.other_end[client], self.other_end[server] = server, client
        for end in (client, server):
            self.selector.register(end, selectors.EVENT_READ)

    def _pass_on(self, end):
        other, downwards = self.other_end[end], end not in self.clients
        client = other if downwards else end
        try:
            data = end.recv(65_536)
            if not data:
                self._cut(client, reset=False)
            elif downwards:
                self._pass_down(client, data)
            else:
                other.sendall(data)
        except OSError:
            self._cut(client, reset=True)

    def _pass_down(self, client, data):
        before = len(self.downstream)
        self.downstream += data
        if self.cut_at is None or before + len(data) < self.cut_at[0]:
            client.sendall(data)
            return
        (position, reset), self.cut_at = self.cut_at, None
        client.sendall(data[:max(position - before, 0)])
        self.leave(reset)

    def _cut(self, client, reset):
        server = self.other_end.pop(client)
        self.other_end.pop(server)
        self.clients.discard(client)
        for end in (client, server):
            self.selector.unregister(end)
            _end(end, reset)


def _end(end, reset):
    """Closes one end, with a reset instead of an orderly close if so wanted."""
    try:
        if reset:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NONE)
        end.close()
    except OSError:
        pass
