"""How docs/generation.md says that vLLM is started for our workers."""

import re
import shlex
from collections.abc import Sequence

from tests.deploy.tools import ROOT

PAGE = ROOT / "docs" / "generation.md"


def page_flags() -> list[str]:
    """Return the words that the page puts behind the model."""
    every = re.findall(r"^vllm serve … (.+?)\n```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    (command,) = (one for one in every if "--structured-outputs-config.backend" in one)
    return shlex.split(command.replace("\\\n", " "))


def page_engine() -> str:
    """Return what the page tells the workers of it."""
    words = page_flags()
    return words[words.index("--structured-outputs-config.backend") + 1]


def starts_as_the_page_says(command: Sequence[str]) -> bool:
    """Return whether a command has these words, one after the other."""
    words = page_flags()
    return any(list(command[at : at + len(words)]) == words for at in range(len(command)))
