"""Fixtures of the tests of workers."""

import os
from pathlib import Path

import pytest


@pytest.fixture
def isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Remove the variables and the working directory of the person who runs the tests."""
    for name in list(os.environ):
        if name.startswith(("OUTLAST_", "TEMPORAL_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
