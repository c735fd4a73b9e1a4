"""Asks for health all the time, from a process of its own that nothing else delays.

`python -m tests.long.poison.health_poller URL…` runs until its standard input ends. Then it prints the
slowest answer of each URL in seconds, as JSON.
"""

import json
import sys
import threading
import time
import urllib.request

INTERVAL_S = 0.1
TIMEOUT_S = 30


def _slowest(url: str, stop: threading.Event, slowest_s: dict[str, float]) -> None:
    while not stop.wait(INTERVAL_S):
        began = time.monotonic()
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response:  # noqa: S310 loopback
                took = time.monotonic() - began if response.status == 200 else TIMEOUT_S
        except OSError:
            took = TIMEOUT_S
        slowest_s[url] = max(slowest_s.get(url, 0), took)


def _main(urls: list[str]) -> None:
    stop, slowest_s = threading.Event(), dict[str, float]()
    threads = [threading.Thread(target=_slowest, args=(url, stop, slowest_s)) for url in urls]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    stop.set()
    for thread in threads:
        thread.join()
    print(json.dumps(slowest_s))


if __name__ == "__main__":
    _main(sys.argv[1:])
