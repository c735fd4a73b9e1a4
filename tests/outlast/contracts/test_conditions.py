import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from outlast import Approval, DefinitionError, ToolSpec, arguments, tool
from outlast.contracts.conditions import Condition
from outlast.contracts.effects import CompanionTool
from outlast.contracts.human import Escalation

DEAR = arguments.amount_usd > 50


@pytest.mark.parametrize(
    ("condition", "given_arguments", "holds"),
    [
        (DEAR, {"amount_usd": 51}, True),
        (DEAR, {"amount_usd": 50}, False),
        (DEAR, {"amount_usd": "50.01"}, True),
        (DEAR, {"amount_usd": "50.00"}, False),
        (arguments.amount_usd >= 49.99, {"amount_usd": "49.99"}, True),
        (arguments.amount_usd == 0.1, {"amount_usd": "0.1"}, True),
        (DEAR, {}, True),
        (DEAR, {"amount_usd": None}, True),
        (DEAR, {"amount_usd": "much"}, True),
        (~DEAR, {}, True),
        (~DEAR, {"amount_usd": 51}, False),
        (arguments.order.country == "DE", {"order": {"country": "DE"}}, True),
        (arguments.order.country == "DE", {"order": {"country": "FR"}}, False),
        (arguments.order.country == "DE", {"order": "DE"}, True),
        (arguments["a-b"] != 1, {"a-b": 1}, False),
        (arguments.kind.is_in("cash", "card"), {"kind": "card"}, True),
        (arguments.kind.is_in("cash", "card"), {"kind": "wire"}, False),
        (DEAR & (arguments.kind == "cash"), {"amount_usd": 51, "kind": "card"}, False),
        (DEAR & (arguments.kind == "cash"), {"kind": "card"}, False),
        (DEAR & (arguments.kind == "cash"), {"kind": "cash"}, True),
        (DEAR | (arguments.kind == "cash"), {"amount_usd": 1, "kind": "cash"}, True),
        (DEAR | (arguments.kind == "cash"), {"amount_usd": 1, "kind": "card"}, False),
        (arguments.amount_usd <= 5, {"amount_usd": 5}, True),
        (arguments.amount_usd < 5, {"amount_usd": 5}, False),
        (arguments.amount_usd >= 5, {"amount_usd": 4}, False),
    ],
)
def test_a_condition_holds_or_cannot_be_told(
    condition: Condition, given_arguments: dict[str, object], holds: bool
) -> None:
    assert condition.holds(given_arguments) is holds  # type: ignore[arg-type]  # parametrized
    again = Approval.model_validate_json(
        Approval(audience="a", when=condition).model_dump_json()
    ).when
    assert again is not None
    assert again.holds(given_arguments) is holds  # type: ignore[arg-type]  # parametrized


def test_conditions_are_not_joined_with_words() -> None:
    with pytest.raises(TypeError, match="&"):
        _ = DEAR and DEAR
    with pytest.raises(TypeError, match="compare one of the arguments"):
        _ = arguments > 5


@given(
    st.dictionaries(
        st.text(max_size=3), st.none() | st.integers() | st.text() | st.lists(st.integers())
    )
)
def test_no_arguments_make_a_condition_fail(given_arguments: dict[str, object]) -> None:
    condition = (arguments.a > 5) | ~(arguments.b == "x") & arguments.c.is_in(1, "y")
    assert condition.holds(given_arguments) in (True, False)  # type: ignore[arg-type]  # generated


def test_a_clock_has_to_run_forward() -> None:
    for wrong in (
        {"expires_s": 10, "escalate": [{"audience": "b", "after_s": 10}]},
        {"escalate": [{"audience": "b", "after_s": 9}, {"audience": "c", "after_s": 9}]},
        {"expires_s": 1_000, "remind_s": 1},
        {"quorum": 0},
        {"audience": ""},
    ):
        with pytest.raises(ValueError, match=r"."):
            Approval.model_validate({"audience": "a", **wrong})


class Order(BaseModel):
    country: str
    items: int


def test_an_argument_of_any_value_can_be_compared() -> None:
    schema: dict[str, Any] = {"properties": {"size": {"anyOf": [True, {"type": "string"}]}}}
    assert (arguments.size > "50").mismatch(schema) is None


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        (
            arguments.amount_usd > "50",
            "'amount_usd' is a number; it cannot be compared with text \\('50'\\)",
        ),
        (
            arguments.exact <= "50",
            "'exact' is a number; it cannot be compared with text \\('50'\\)",
        ),
        (~(DEAR & (arguments.order.items < "1")), "'order.items' is a number"),
        (DEAR | (arguments.amont_usd > 1), "no argument 'amont_usd'; did you mean 'amount_usd'"),
        (arguments.order.county == "DE", "no argument 'order.county'; did you mean 'country'"),
        (DEAR, None),
        (arguments.exact > 50, None),
        (arguments.order.country >= "DE", None),
        (arguments.more.anything > "50", None),
    ],
)
def test_a_condition_that_can_never_be_told_is_refused(
    condition: Condition, reason: str | None
) -> None:
    def pay(amount_usd: float, exact: Decimal, order: Order, more: dict[str, str]) -> str:
        return ""

    approved = tool(effect="write", approval=Approval(audience="leads", when=condition))
    if reason is None:
        assert approved(pay).spec.approval
    else:
        with pytest.raises(DefinitionError, match=f"tool 'pay': when: .*{reason}"):
            approved(pay)


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (
            lambda: Approval(audience="a", quorom=2),
            "Approval: unknown field 'quorom'; did you mean",
        ),
        (lambda: Escalation(audience="a", after_s=1, after=2), "'after'; did you mean 'after_s'"),
        (lambda: CompanionTool(tool="a", tol="b"), "'tol'; did you mean 'tool'"),
        (lambda: ToolSpec(name="a", parameters={}, aproval=None), "did you mean 'approval'"),
    ],
)
def test_a_misspelt_field_of_a_definition_is_refused(
    made: Callable[[], object], reason: str
) -> None:
    with pytest.raises(DefinitionError, match=reason):
        made()


def test_a_field_of_a_newer_worker_is_ignored() -> None:
    newer = {"audience": "a", "escalate": [{"audience": "b", "after_s": 1, "new": 1}], "new": 1}
    older = Approval(audience="a", escalate=(Escalation(audience="b", after_s=1),))
    assert Approval.model_validate_json(json.dumps(newer)) == older
    assert Approval.model_validate(newer) == older
