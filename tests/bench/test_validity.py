"""The pure parts of bench.engines.validity: what counts as valid, and the table."""

from bench.engines.prompts import is_of, unconstrained_messages
from bench.engines.types import TYPES
from bench.engines.validity import Constrained, Free, Report, markdown

SET = next(kind for kind in TYPES if kind.name == "set")


def test_pydantic_decides_what_is_valid() -> None:
    assert is_of(SET, ["red", "green"])
    assert not is_of(SET, ["purple"])
    assert not is_of(SET, [])


def test_without_constraint_the_schema_stands_in_the_prompt() -> None:
    system, question = unconstrained_messages(SET)
    assert '"red"' in system["content"]
    assert question == {"role": "user", "content": SET.prompt}


def test_the_table_counts_each_outcome() -> None:
    constrained = [
        Constrained("set", "first", 1, [], ["1"]),
        Constrained("set", "later", 2, ["ModelTruncated"], ["1", "2"]),
        Constrained("date", "failed", 3, ["ModelSchemaInvalid"], ["1"]),
    ]
    free = [Free("set", parses=True, valid=False, answer="1")] * 3
    written = markdown([Report("vLLM", "vllm 1", "2026-11-24", constrained, free)])
    assert "| types | 2 |" in written
    assert "| **valid in the end** | 2 (66.7%) |" in written
    assert "| reasons for asking again | 1 `ModelTruncated` |" in written
    assert "| failed | 1 `ModelSchemaInvalid` |" in written
    assert "| **without constraint: valid** | 0 (0.0%) |" in written
