"""kubectl, helm and Temporal's CLI in a cluster: each call is bounded, and says what failed."""

import json
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

ROOT = Path(__file__).parents[2]

CALL_S = 120.0
"""Most calls of a command line take less than a second."""

LONG_CALL_S = 1_800.0
"""A build of the image, or a Helm command with its hooks."""

POLL_S = 2.0

MAX_QUOTED = 2_000
"""Characters of a command's output in an error."""


class NotRunnable(Exception):
    """Raised if the suite cannot run here. The message says what is missing."""


class Unexpected(Exception):
    """Raised if the cluster does something else than a scenario expects."""


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    status: int
    output: str
    errors: str = ""

    @property
    def text(self) -> str:
        """Everything that it printed."""
        return f"{self.output}{self.errors}".strip()


class Runner(Protocol):
    """Whatever runs a command line."""

    def __call__(self, words: Sequence[str], *, given: str | None, within_s: float) -> Done:
        """Run a command with text on its stdin."""
        ...


def run(words: Sequence[str], *, given: str | None, within_s: float) -> Done:
    """Run a command of this machine in the root of the tree."""
    try:
        done = subprocess.run(
            words,
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            cwd=ROOT,
            timeout=within_s,
            text=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Done(-1, f"no end after {within_s:g} s")
    except FileNotFoundError:
        raise NotRunnable(f"there is no command {words[0]!r}: install it") from None
    return Done(done.returncode, done.stdout, done.stderr)


@dataclass
class Cluster:
    """A namespace of a cluster."""

    namespace: str
    runner: Runner = run
    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    saw: list[str] = field(default_factory=list)
    """What the current scenario has seen."""

    def see(self, text: str) -> None:
        """Print something that a scenario has seen."""
        self.saw.append(text)
        print(f"    saw: {text}", flush=True)

    def call(self, *words: str, given: str | None = None, within_s: float = CALL_S) -> str:
        """Run a command that must succeed, and return its output."""
        done = self.runner(words, given=given, within_s=within_s)
        if done.status:
            shown = done.text[-MAX_QUOTED:]
            raise Unexpected(f"{' '.join(words[:6])} … ended with {done.status}: {shown}")
        return done.output

    def kubectl(self, *words: str, given: str | None = None, within_s: float = CALL_S) -> str:
        """Run kubectl in the namespace."""
        return self.call("kubectl", "-n", self.namespace, *words, given=given, within_s=within_s)

    def try_helm(self, *words: str) -> Done:
        """Run Helm in the namespace; it may fail."""
        return self.runner(("helm", "-n", self.namespace, *words), given=None, within_s=LONG_CALL_S)

    def helm(self, *words: str) -> str:
        """Run Helm in the namespace."""
        return self.call("helm", "-n", self.namespace, *words, within_s=LONG_CALL_S)

    def items(self, kind: str, selector: str = "") -> list[dict[str, Any]]:
        """Return the objects of a kind."""
        words = ["get", kind, "-o", "json", *(["-l", selector] if selector else [])]
        found: list[dict[str, Any]] = json.loads(self.kubectl(*words))["items"]
        return found

    def has(self, crd: str) -> bool:
        """Return whether the cluster has a custom resource."""
        words = ("kubectl", "get", "crd", crd, "--ignore-not-found", "-o", "name")
        return bool(self.call(*words).strip())

    def inside(self, *words: str) -> str:
        """Run a command in the pod of the Temporal server, and return its stdout."""
        return self.kubectl("exec", "deployment/temporal", "--", *words)

    def temporal(self, *words: str) -> Any:
        """Run Temporal's CLI in the cluster, and return its JSON."""
        return json.loads(self.inside("temporal", *words, "--output", "json"))

    def until(self, what: str, reading: Callable[[], Any], within_s: float) -> Any:
        """Return the first reading that is not false; raises `Unexpected` after `within_s`."""
        began, last = self.now(), ""
        while True:  # bounded by within_s
            try:
                found = reading()
                last = ""
            except Unexpected as error:
                found, last = None, f" ({error})"
            waited = self.now() - began
            if found:
                return found
            if waited >= within_s:
                raise Unexpected(f"after {within_s:g} s: {what} did not happen{last}")
            self.sleep(POLL_S)
