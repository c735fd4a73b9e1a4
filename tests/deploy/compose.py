"""The compose file, as compose understands it."""

import json
import os
from typing import Any

from tests.deploy import tools

FILE = tools.ROOT / "docker-compose.yml"

VARIABLES = {
    "POSTGRES_PASSWORD": "a",
    "GRAFANA_PASSWORD": "b",
    "CALLBACK_SECRET": "c" * 32,
    "BUILD_ID": "b1",
}


def composed(*profiles: str, variables: dict[str, str] | None = None) -> dict[str, Any]:
    """Return the services as compose understands them, with the profiles, by their names."""
    chosen = [word for profile in profiles for word in ("--profile", profile)]
    done = tools.run(
        "docker-compose",
        *("--env-file", "/dev/null", "--file", str(FILE), *chosen, "config", "--format", "json"),
        env={"PATH": os.environ["PATH"], **(VARIABLES if variables is None else variables)},
    )
    assert done.returncode == 0, done.stdout
    services: dict[str, Any] = json.loads(done.stdout)["services"]
    return services
