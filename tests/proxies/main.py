"""Runs every check behind every proxy and prints a line for each.

Usage: main.py [PART OF A NAME...]; a name is `proxy check`. Checks run side by side, each with a server and a proxy
of its own. Exit code 1 if anything failed.
"""

import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

import checks
import client_address
import control_page
import deploy
import doctor
import load
import proxies
from stream import Failure, Impossible

CHECKS_AT_ONCE = 6


def run(name, check, kind):
    """One check: `ok`, `FAILED` or `skipped`, and its line."""
    started = time.monotonic()
    reason = kind.missing()
    if reason:
        return "skipped", f"{name} ... skipped ({reason})"
    try:
        check(kind)
        return "ok", f"{name} ... ok ({time.monotonic() - started:.1f} s)"
    except Impossible as reason:
        return "skipped", f"{name} ... skipped ({reason})"
    except Failure as failure:
        return "FAILED", f"{name} ... FAILED ({failure})"
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"in {place.name}, line {place.lineno}"
        return "FAILED", f"{name} ... FAILED ({type(error).__name__}: {error} {where})"


def main():
    """The program."""
    wanted, counts = sys.argv[1:], {"ok": 0, "FAILED": 0, "skipped": 0}
    pairs = [(check, kind) for check in checks.ALL for kind in proxies.ALL]
    pairs += client_address.ALL + control_page.ALL + deploy.ALL + doctor.ALL + load.ALL
    named = [(f"{kind.name} {check.__name__}", check, kind) for check, kind in pairs]
    chosen = [one for one in named if not wanted or any(part in one[0] for part in wanted)]
    with ThreadPoolExecutor(CHECKS_AT_ONCE) as pool:
        for future in [pool.submit(run, *one) for one in chosen]:
            result, line = future.result()
            counts[result] += 1
            print(line, flush=True)
    print(f"{counts['ok']} passed, {counts['FAILED']} failed, {counts['skipped']} skipped")
    return 1 if counts["FAILED"] else 0


if __name__ == "__main__":
    sys.exit(main())
