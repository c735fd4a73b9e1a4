"""The first example of docs/openapi.md runs with the document that the page shows."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.docs.prose import ROOT


def test_the_example_makes_the_tools_that_the_page_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "openapi.md").read_text()
    (document,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "shop.json").write_text(document)
    monkeypatch.chdir(tmp_path)
    made: dict[str, Any] = {}
    exec(example, made)  # noqa: S102 the code of our own page
    names = {tool.name for tool in made["desk"].tools}
    assert names == {"getOrder", "listOrders", "createRefund"}
