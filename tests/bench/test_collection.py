"""The measure of a collection of schemas counts what it says."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bench.engines.collection import Compiled, entries, measure, outlines_compiler, shown
from bench.engines.value_forms import forms
from tests.outlines import NEEDS_OUTLINES

ADDRESS = {
    "type": "object",
    "properties": {"street": {"type": "string"}, "zip": {"$ref": "#/$defs/zip"}},
    "required": ["zip"],
    "$defs": {"zip": {"type": "object", "properties": {"b": {}, "a": {}}}},
}


@NEEDS_OUTLINES
def test_a_collection_is_defined_compiled_and_checked(tmp_path: Path) -> None:
    tests = [
        {"data": {"zip": {}}, "valid": True},
        {"data": {"street": 1}, "valid": False},
        {"data": {"street": 1, "zip": {}}, "valid": True},  # labelled wrongly
    ]
    (tmp_path / "a.json").write_text(json.dumps({"schema": ADDRESS, "tests": tests}))
    (tmp_path / "b.json").write_text(json.dumps({"type": "strin"}))

    def refusing(_: dict[str, Any], values: Sequence[Any]) -> Compiled:
        return Compiled(tried=len(values), refused=(1,))

    counts = measure(entries(tmp_path, 10), {"outlines": outlines_compiler(), "xgrammar": refusing})
    assert (counts.schemas, counts.accepted, counts.agreed) == (2, 1, 2)
    assert counts.failed == {"outlines": [], "xgrammar": []}
    assert counts.tried["xgrammar"] == 2
    assert "xgrammar: 1 of 2 valid values excluded" in shown(counts)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"zip": {}, "street": "x"}, ['{"zip":{},"street":"x"}', '{"street":"x","zip":{}}']),
        ({"zip": {"a": 1, "b": 2}}, ['{"zip":{"a":1,"b":2}}', '{"zip":{"b":2,"a":1}}']),
        ({"more": 1, "zip": {}}, ['{"more":1,"zip":{}}', '{"zip":{},"more":1}', '{"zip":{}}']),
        ("text", ['"text"']),
    ],
)
def test_the_forms_of_a_value_have_the_order_of_the_schema(value: Any, expected: list[str]) -> None:
    assert forms(value, ADDRESS) == expected


def test_schemas_that_refer_to_themselves_end() -> None:
    tree = {"properties": {"next": {"$ref": "#"}, "id": {}}, "anyOf": [{"$ref": "#"}]}
    assert forms({"id": 1, "next": {"id": 2}}, tree)[1] == '{"next":{"id":2},"id":1}'
