"""The line protocol of every client here, and the loop that reconnects for libraries that do not.

One JSON record a line on standard output, which the harness reads.
"""

import json
import sys
import time


def record(kind, **rest):
    """Writes one record."""
    print(json.dumps({"kind": kind, **rest}), flush=True)


def follow(stream):
    """Reads `stream(url, headers)` again and again as the libraries' manuals advise: wait for the time that
    the server asked for, then send the last id. `stream` yields events with `event`, `data`, `id`, `retry`."""
    url, last_id, retry_ms = sys.argv[1], "", 1_000
    while True:
        try:
            headers = {"Accept": "text/event-stream"}
            if last_id:
                headers["Last-Event-ID"] = last_id
            for event in stream(url, headers):
                last_id = event.id or last_id
                retry_ms = event.retry or retry_ms
                # Blocks without data are no events (WHATWG HTML §9.2.6), for those who parse by hand.
                if event.data is None:
                    continue
                record("event", event=event.event or "message", data=event.data, id=event.id or "")
            record("error", text="ended")
        except Exception as error:
            record("error", text=f"{type(error).__name__}: {error}")
        time.sleep(min(int(retry_ms), 200) / 1_000)
