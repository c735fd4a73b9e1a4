"""Temporal's development server in the cluster.

It is down while the file DOWN exists in its folder, and keeps its database there.
"""

import signal
import subprocess
import sys
import time
from pathlib import Path

PORT = 7233

POLL_S = 0.5

STOP_S = 10.0
"""Seconds until a server that does not stop is killed."""

SETTINGS = (
    # By default the server sees after minutes that a build is drained.
    'matching.wv.VersionDrainageStatusVisibilityGracePeriod="1s"',
    'matching.wv.VersionDrainageStatusRefreshInterval="1s"',
)


def command(folder: Path, port: int) -> list[str]:
    """Return the command that starts the server with its database in a folder."""
    options = [word for one in SETTINGS for word in ("--dynamic-config-value", one)]
    address = ("--ip", "0.0.0.0", "--port", str(port), "--headless")  # noqa: S104 other pods reach it
    return ["temporal", "server", "start-dev", *address, "--db-filename", f"{folder}/db", *options]


def serve(folder: Path, port: int = PORT) -> None:
    """Run the server unless the file DOWN is in the folder, until SIGTERM."""
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    server: subprocess.Popen[bytes] | None = None
    while not stopping:  # bounded by the life of the pod
        is_down = (folder / "DOWN").exists()
        if server is not None and (is_down or server.poll() is not None):
            _end(server)
            server = None
        elif server is None and not is_down:
            server = subprocess.Popen(command(folder, port))
        time.sleep(POLL_S)
    if server is not None:
        _end(server)


def _end(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(STOP_S)
    except subprocess.TimeoutExpired:
        server.kill()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else PORT)
