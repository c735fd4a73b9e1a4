import sys

import pytest
from outlast_activities.providers.request_fields import field_writer

from outlast.errors import NotReady

WRITER = "outlast_activities.providers.structured_outputs"


def test_only_vllm_needs_outlines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, WRITER, raising=False)
    monkeypatch.setitem(sys.modules, "outlines.models.vllm", None)  # as with Python 3.14
    assert field_writer("openai-chat")({})["response_format"]
    with pytest.raises(NotReady, match="Python 3.11 to 3.13: use one of these, or the api openai"):
        field_writer("vllm")
