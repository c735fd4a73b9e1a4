"""What takes long to install is made once, in the user's cache."""

import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

STAMP = ".ready"
"""Written last, with a digest of what the rest was made from: without that very one, all is made anew."""


def outlast_cache() -> Path:
    """Return the folder of the user's cache that keeps what takes long to install."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "outlast"


def make_once(target: Path, made_from: bytes, make: Callable[[Path], None]) -> None:
    """Make a folder unless it was made to its end, and from the same; what was half made is removed."""
    digest = hashlib.sha256(made_from).hexdigest()
    stamp = target / STAMP
    if stamp.is_file() and stamp.read_text() == digest:
        return
    shutil.rmtree(target, ignore_errors=True)
    began = time.monotonic()
    print(f"making {target} …", file=sys.stderr, flush=True)
    make(target)
    stamp.write_text(digest)
    print(f"made in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
