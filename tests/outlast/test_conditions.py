import pytest
from hypothesis import given
from hypothesis import strategies as st

from outlast import Approval, arguments
from outlast.conditions import Condition

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
