"""Names, ids and comments: the printable ones of any language are accepted."""

from typing import Any

import pytest
from outlast_workers.settings_sections.gateway import GatewayToken
from pydantic import ValidationError

from outlast import Approval, BadRequest, Escalation, run_agent, tool
from outlast.contracts.human import HumanDecision
from outlast.contracts.names import run_id_problem
from outlast.contracts.requests import (
    AgentRequest,
    CommandPayload,
)
from outlast.start_requests import checked_run_id, request_json
from outlast.validation import validated


def refund(order_id: str) -> str:
    """Refund an order."""
    return order_id


INVISIBLE = ["\u200f", "\u202e", "\u200b", "\u2066", "\ufeff", "\u00ad", "\n", "\x00"]


@pytest.mark.parametrize("letter", INVISIBLE, ids=ascii)
def test_an_audience_has_no_invisible_characters(letter: str) -> None:
    for define in (
        lambda name: Approval(audience=name),
        lambda name: Escalation(audience=name, after_s=1),
        lambda name: tool(effect="write", approval=name)(refund),
        lambda name: GatewayToken(token="x" * 16, tenant="t", audiences=(name,)),
    ):
        with pytest.raises(ValueError, match="control or invisible character"):
            define(f"lea{letter}ds")


@pytest.mark.parametrize(
    "tenant",
    [
        "a\x00b",
        "a\nb",
        "a\u202eb",
        "a\u200bb",
        "\x1b[31m",
        "\u2028",
        "\ufeffa",
        "a\tb",
        "\x7f",
        "\ud800",
        "",
    ],
)
def test_a_tenant_is_printable(tenant: str) -> None:
    with pytest.raises(BadRequest, match="tenant"):
        request_json(agent="a", input="x", tenant=tenant) if tenant != "\ud800" else validated(
            AgentRequest, {"agent": "a", "input": 1, "tenant": tenant}
        )


@pytest.mark.parametrize("text", ["acme", "Köln GmbH", "株式会社", "a-b_c/d", "😀"])
def test_printable_names_are_taken(text: str) -> None:
    assert request_json(agent="a", input="x", tenant=text)["tenant"] == text
    assert validated(CommandPayload, {"by": text, "reason": "two\nlines\tand a tab"}).by == text


@pytest.mark.parametrize(
    "run_id",
    [
        "a\nb",
        "a`b",
        "```sh",
        "a\x00",
        "\x1b[2J",
        "a\u202eb",
        "a\u200b",
        "\ud800",
        "x" * 1_001,
        "é" * 501,
        "a\tb",
        "\x7f",
    ],
)
def test_an_odd_id_is_refused(run_id: str) -> None:
    with pytest.raises(BadRequest, match="id: ") as refused:
        checked_run_id(run_id)
    assert len(refused.value.message) < 300
    refused.value.message.encode()


@pytest.mark.parametrize(
    "run_id", ["", "a\nb", "a`b", "x" * 1_001, "\udce9", "\x00", 5, b"x", ["x"]]
)
async def test_an_odd_id_of_a_child_is_rejected_before_it_starts(run_id: Any) -> None:
    with pytest.raises(BadRequest, match="id: "):
        await run_agent("desk", "hello", id=run_id)


@pytest.mark.parametrize(
    "run_id", ["order 42", "a/b%c?d#e", "Köln", "x" * 1_000, "--help", '"quoted"', "$(x)"]
)
def test_a_printable_id_is_taken(run_id: str) -> None:
    assert run_id_problem(run_id) is None


def test_a_comment_in_any_language_is_taken() -> None:
    """Persian needs the zero width non-joiner, and some emoji are joined by the zero width joiner."""
    comment = "\u0645\u06cc\u200c\u062e \U0001f469\u200d\U0001f4bb"
    decision = {"request_id": "1.1", "decision": "deny", "comment": comment}
    assert HumanDecision.model_validate(decision).comment == comment
    with pytest.raises(ValidationError, match="invisible"):
        HumanDecision.model_validate({**decision, "comment": "a\u202eb"})
