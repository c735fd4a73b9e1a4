"""Dockerfiles, read; and carried out below a folder, for this machine has no container engine."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.deploy.tools import ROOT

FOLDERS = ("/app", "/build", "/opt/outlast", "/src")
"""Where images keep things: paths below these are moved below the folder of a rehearsal."""

NEEDS_A_ROOT_OF_ITS_OWN = ("groupadd", "apt-get")
"""What a `RUN` with one of these does would change this machine."""

STEP_WITHIN_S = 180.0


@dataclass(frozen=True)
class Stage:
    """One stage of a Dockerfile: what it begins from, and its instructions."""

    base: str
    name: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, word: str) -> list[str]:
        """Return the arguments of every instruction of a kind."""
        return [rest for found, rest in self.instructions if found == word]


def stages(file: Path) -> list[Stage]:
    """Return the stages of a Dockerfile in their order."""
    found: list[Stage] = []
    for word, rest in _instructions(file.read_text()):
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            found.append(Stage(base=base, name=name))
        else:
            found[-1].instructions.append((word, rest))
    return found


def copied(stage: Stage) -> Iterator[tuple[list[str], str]]:
    """Yield what a stage copies out of the context: sources, and the destination."""
    for rest in stage.all("COPY"):
        if not rest.startswith("--from"):
            *sources, destination = rest.split()
            yield sources, destination


class Rehearsal:
    """Stages carried out one after the other below `root`, with an interpreter of this machine."""

    def __init__(self, root: Path, *, python: Path, arguments: dict[str, str]) -> None:
        self.root = root
        self.environment: dict[str, str] = {}
        self._path = f"{python.parent}:/usr/bin:/bin"
        self._arguments = arguments
        self._folder = root
        self._programs = root / "programs"
        self._programs.mkdir(parents=True)
        (self._programs / "python").symlink_to(python)

    def carry_out(self, stage: Stage) -> None:
        """Do what the instructions of a stage say, in their order."""
        for word, rest in stage.instructions:
            if word == "WORKDIR":
                self._folder = Path(self._moved(rest))
                self._folder.mkdir(parents=True, exist_ok=True)
            elif word == "COPY":
                self._copy(rest)
            elif word == "ENV":
                self._set(rest)
            elif word == "RUN" and not rest.startswith(NEEDS_A_ROOT_OF_ITS_OWN):
                self._run(re.sub(r"--mount=\S+\s*", "", rest))

    def command(self, *words: str) -> list[str]:
        """Return a command of the image with its paths moved, to be started in the last `WORKDIR`."""
        found = shutil.which(words[0], path=self.environment["PATH"])
        return [found or words[0], *map(self._moved, words[1:])]

    def _moved(self, text: str) -> str:
        return re.sub(rf"(?<![\w/])({'|'.join(FOLDERS)})(?!\w)", rf"{self.root}\1", text)

    def _copy(self, rest: str) -> None:
        if rest.startswith("--from"):  # the stages share one folder here
            assert Path(self._moved(rest.rsplit(maxsplit=1)[-1])).exists(), rest
            return
        *sources, destination = rest.split()
        for source in sources:
            found, target = ROOT / source, self._folder / destination
            if found.is_dir():
                ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
                shutil.copytree(found, target, ignore=ignored)
            else:
                shutil.copy(found, target)

    def _set(self, rest: str) -> None:
        known = {"PATH": "/usr/bin:/bin", **self.environment, **self._arguments}
        for word in shlex.split(rest):
            name, _, value = word.partition("=")
            filled = re.sub(r"\$(\w+)", lambda found: known[found[1]], value)
            self.environment[name] = self._moved(filled)

    def _run(self, script: str) -> None:
        done = subprocess.run(
            ["/bin/sh", "-ec", self._moved(script)],
            cwd=self._folder,
            env={**os.environ, **self._arguments, "PATH": f"{self._programs}:{self._path}"},
            timeout=STEP_WITHIN_S,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout[-2_000:]}"


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    lines = (line for line in text.splitlines() if line.strip() and not line.startswith("#"))
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    for line in joined.splitlines():
        word, _, rest = line.partition(" ")
        yield word, rest.strip()
