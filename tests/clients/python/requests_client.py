"""`requests` with `decode_unicode`, parsed by hand as many programs do. It decodes by the charset that the
answer names, and as Latin-1 if it names none.
"""

import types

import requests

from records import follow, record


def stream(url, headers):
    """One connection, by the rules of the standard (WHATWG HTML §9.2.6)."""
    with requests.get(url, headers=headers, stream=True, timeout=(10, None)) as answer:
        answer.raise_for_status()
        record("open")
        data, name, retry = [], "", None
        last_id = headers.get("Last-Event-ID", "")
        for line in answer.iter_lines(chunk_size=None, decode_unicode=True):
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if line == "":
                text = "\n".join(data) if data else None
                yield types.SimpleNamespace(event=name, data=text, id=last_id, retry=retry)
                data, name, retry = [], "", None
            elif field == "data":
                data.append(value)
            elif field == "event":
                name = value
            elif field == "id":
                last_id = value
            elif field == "retry":
                retry = value


follow(stream)
