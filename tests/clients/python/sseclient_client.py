"""`sseclient-py` over `requests`."""

import requests
import sseclient

from records import follow, record


def stream(url, headers):
    """One connection."""
    with requests.get(url, headers=headers, stream=True, timeout=(10, None)) as answer:
        answer.raise_for_status()
        record("open")
        yield from sseclient.SSEClient(answer).events()


follow(stream)
