"""Publishes one event: python3 publish.py TOPIC TEXT. CONTROL is the server's control address."""
import os, sys, time, urllib.error, urllib.parse, urllib.request, uuid

control = os.environ.get("CONTROL", "http://127.0.0.1:8081")
url = f"{control}/publish?{urllib.parse.urlencode({'topic': sys.argv[1]})}"
# A retry with the same key is published once.
request = urllib.request.Request(url, sys.argv[2].encode(), {"Idempotency-Key": str(uuid.uuid4())})
for attempt in range(1, 6):
    try:
        print(urllib.request.urlopen(request, timeout=10).read().decode())
        break
    except urllib.error.URLError as error:
        if attempt == 5 or getattr(error, "code", 503) != 503:
            raise
        time.sleep(attempt)
