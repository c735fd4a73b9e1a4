"""Exit 0 where an HTTP endpoint of this container answers 200: `python healthcheck.py [PORT [PATH]]`.

Without arguments it asks a worker's own health endpoint whether it is ready.
"""

import http.client
import os
import sys

TIMEOUT_S = 3.0


def status(port: int, path: str) -> int:
    """Return the HTTP status that loopback answers with; raises `OSError` when nothing does."""
    # Not urllib, which would ask a proxy of the environment.
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def main(arguments: list[str]) -> int:
    """Ask, and return the exit status."""
    port = int(arguments[0] if arguments else os.environ.get("OUTLAST_HEALTH__PORT", "8081"))
    path = arguments[1] if len(arguments) > 1 else "/healthz"
    try:
        found = status(port, path)
    except (OSError, http.client.HTTPException) as error:
        print(f"no answer on port {port}: {error}", file=sys.stderr)  # noqa: T201 shown by docker inspect
        return 1
    return 0 if found == http.client.OK else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
