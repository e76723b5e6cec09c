"""`httpx-sse`: after its first id, it delivers a message for every blank line, whatever came before."""

import httpx
from httpx_sse import connect_sse

from records import follow, record


def stream(url, headers):
    """One connection."""
    with httpx.Client(timeout=httpx.Timeout(10, read=None)) as client:
        with connect_sse(client, "GET", url, headers=headers) as source:
            source.response.raise_for_status()
            record("open")
            yield from source.iter_sse()


follow(stream)
