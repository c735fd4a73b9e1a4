"""An agent whose runs fail on a build that is broken."""

import os

from outlast import Agent


def instructions(request: object) -> str:
    """Return the instructions, or fail as a bug of a build does."""
    if os.environ.get("BUILD_IS_BROKEN"):
        raise RuntimeError("this build is broken")
    return "Answer."


desk = Agent(name="desk", instructions=instructions)
