from types import MappingProxyType
from typing import Any

import pytest

from outlast.testing import answer, call
from outlast.text.json_text import NestedTooDeep, plain_json


def test_sequences_and_mappings_of_a_caller_become_lists_and_dicts() -> None:
    given = MappingProxyType({"orders": ("A-1", MappingProxyType({"sizes": (1, 2)}))})
    plain = {"orders": ["A-1", {"sizes": [1, 2]}]}
    assert plain_json(given) == plain
    assert call("look", orders=("A-1",)) == call("look", orders=["A-1"])
    assert answer(given) == {"answer": plain}


def test_a_value_without_a_bottom_is_nested_too_deep() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(NestedTooDeep, match="at most 100 levels"):
        plain_json(endless)
