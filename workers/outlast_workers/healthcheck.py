"""Exit 0 if an HTTP endpoint of this container answers 200.

    python -m outlast_workers.healthcheck [PORT [PATH]]

Without arguments, it checks the readiness of the container's own worker. Container engines run it every few
seconds, so it imports only the standard library.
"""

import http.client
import os
import sys

TIMEOUT_S = 3.0


def status_of(port: int, path: str) -> int:
    """Return the HTTP status of an endpoint on loopback; raises `OSError` if there is no answer."""
    # Not urllib, which would use a proxy from the environment.
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def main(arguments: list[str]) -> int:
    """Check the endpoint, and return the exit status."""
    port = int(arguments[0] if arguments else os.environ.get("OUTLAST_HEALTH__PORT", "8081"))
    path = arguments[1] if len(arguments) > 1 else "/healthz"
    try:
        status = status_of(port, path)
    except (OSError, http.client.HTTPException) as error:
        print(f"no answer on port {port}: {error}", file=sys.stderr)  # noqa: T201 `docker inspect` shows it
        return 1
    return 0 if status == http.client.OK else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
