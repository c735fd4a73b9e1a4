"""Expressions give what jq gives, within a budget. `jq_results.json` holds results of jq itself."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outlast.pipelines.jq.budget import Budget, ExpressionError, OverBudget
from outlast.pipelines.jq.evaluation import evaluate
from outlast.pipelines.jq.parser import parse
from outlast.pipelines.jq.tokens import SyntaxProblem

RECORDED = json.loads((Path(__file__).parent / "jq_results.json").read_text())["cases"]


def result(expression: str, value: Any = None, **variables: Any) -> Any:
    return evaluate(parse(expression, variables), value, variables, Budget())


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: case["expression"])
def test_results_are_those_of_jq(case: dict[str, Any]) -> None:
    # In brackets, all the values of an expression are one array.
    expression = f"[{case['expression']}]"
    if case.get("fails"):
        with pytest.raises(ExpressionError):
            result(expression, case["input"])
    else:
        found = result(expression, case["input"])
        assert json.dumps(found, sort_keys=True) == json.dumps(case["results"], sort_keys=True)


def test_several_values_are_an_error_and_none_is_null() -> None:
    with pytest.raises(ExpressionError, match=r"put it in \[ \]"):
        result("1, 2")
    assert result("empty") is None


def test_variables_are_known_by_name() -> None:
    assert result("$item + 1", item=2) == 3
    with pytest.raises(SyntaxProblem, match=r"did you mean '\$item'"):
        parse("$itm", {"item"})


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("now", "a replay could differ"),
        ("env.HOME", "a replay could differ"),
        ("def f: f; f", "not supported"),
        ("[recurse]", "not supported"),
        ('test("(a+)+")', "regular expressions"),
        (".a |= 1", "not supported"),
        (".a = 1", "not supported"),
        (".. | .a", "not supported"),
        ("lenght", "did you mean 'length'"),
        ("map(1; 2)", "takes 1 arguments"),
        ("1 == 2 == 3", "cannot be chained"),
        ('"open', "closing quote"),
        ("{a: 1", "expected '}'"),
        ("if . then 1", "expected 'end'"),
        ("1 +", "the end"),
        ("$ENV", "not known"),
        ("#", "the end"),
        ("", "the end"),
        ("@base64", "format"),
        ("1e999", "too large"),
    ],
)
def test_what_is_not_supported_is_rejected_with_a_reason(expression: str, reason: str) -> None:
    with pytest.raises(SyntaxProblem, match=reason):
        parse(expression, ())


@pytest.mark.parametrize(
    "expression",
    [
        "[range(1e9)] | length",
        "[range(1000)] as $x | [$x[] | $x[] | $x[]] | length",
        '"abcdefgh" * 1e9',
        "[limit(1e9; range(1e9))]",
        "first(range(1e9; 0; -1) | select(. == 1))",
        "any(range(1e9); false)",
        '"\\(range(1e9))"',
        "try [range(1e9)] catch 1",
        "[range(1e9)]? // 1",
    ],
)
def test_an_expression_that_would_not_end_is_cut(expression: str) -> None:
    with pytest.raises(OverBudget, match="more than"):
        result(expression)


def test_the_same_expression_uses_the_same_budget() -> None:
    used = set()
    for _ in range(2):
        budget = Budget()
        evaluate(parse("[.[] | {a: ., b: (. * 2)}] | sort_by(.b)", ()), [3, 1, 2], {}, budget)
        used.add(budget.used)
    assert len(used) == 1


@pytest.mark.parametrize("expression", ["(" * 200, "[" * 200, "-" * 500 + "1", "1" + "+1" * 500])
def test_nesting_is_bounded(expression: str) -> None:
    with pytest.raises(SyntaxProblem, match="nested|more than|expected"):
        parse(expression, ())


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-100, 100) | st.text("ab é😀", max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner, max_size=3),
    max_leaves=8,
)
PIECES = st.sampled_from(
    [
        *(".", ".a", ".[0]", ".[]", "1", '"x"', "null", "length", "keys", "sort", "add", "map(.)"),
        *(
            "|",
            ",",
            "+",
            "-",
            "*",
            "//",
            "and",
            "==",
            "<",
            "(",
            ")",
            "[",
            "]",
            "{a:",
            "}",
            "as $x |",
        ),
        *("if", "then", "else", "end", "try", "catch", "?", "$x", ":", ";", "not", "select(", "#"),
        *('"\\(', ')"', "tostring", "group_by(.a)", "..", "now", "\x00", "é", "%", "reverse", "@"),
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(PIECES, max_size=12).map(" ".join), VALUES)
def test_any_text_and_value_end_in_a_value_or_a_named_error(text: str, value: Any) -> None:
    reason = "none"
    try:
        node = parse(text, {"x"})
        evaluate(node, value, {"x": 1}, Budget(steps=5_000, size=50_000))
    except (SyntaxProblem, ExpressionError) as error:
        reason = str(error)
    assert reason.strip()
