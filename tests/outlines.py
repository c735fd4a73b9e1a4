"""Tests of the api `vllm` need outlines, which has no release for Python 3.14."""

from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any

import pytest

NEEDS_OUTLINES = pytest.mark.skipif(
    find_spec("outlines") is None, reason="outlines has no release for this Python"
)

VLLM = pytest.param("vllm", marks=NEEDS_OUTLINES)
"""The api as a parameter."""


def with_marks(apis: Iterable[str]) -> list[Any]:
    """Return APIs as parameters."""
    return [VLLM if api == "vllm" else api for api in apis]
