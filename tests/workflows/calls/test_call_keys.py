"""What begins the idempotency keys of a run: the rules for each kind of run, without a server."""

from types import SimpleNamespace
from typing import Any

import pytest
from outlast_workflows.calls.call_batch import CallBatch, PlannedCall
from outlast_workflows.calls.call_keys import CallKeys, inherited_key_base
from temporalio import workflow

from outlast.contracts.agents import ToolSpec
from outlast.contracts.effects import CompanionTool
from outlast.contracts.messages import ToolCall
from outlast.temporal.call_headers import CHILD_KEY_HEADER, text_payload

PAY = ToolSpec(name="pay", parameters={}, effect="write")
BOOK = ToolSpec(name="book", parameters={}, effect="write", compensate=CompanionTool(tool="cancel"))


def call_of(tool: ToolSpec, **fields: Any) -> PlannedCall:
    return PlannedCall("2.1", tool, ToolCall(tool=tool.name, arguments={}), CallBatch(), **fields)


@pytest.mark.parametrize(
    ("keys", "call", "key"),
    [
        (CallKeys("w/r"), call_of(PAY), "w/r/2.1"),
        (CallKeys("w/r"), call_of(BOOK), "w/r/2.1"),
        (CallKeys("w/r", "p/q/1.1-desk"), call_of(PAY), "p/q/1.1-desk/2.1"),
        (CallKeys("w/r", "p/q/1.1-desk"), call_of(BOOK), "w/r/2.1"),
        (CallKeys("w/r", "p/q/1.1-desk"), call_of(PAY, key="w/r/1.1"), "w/r/1.1"),
        (CallKeys("w/r"), call_of(PAY, place="f1.0/1.1"), "w/r/f1.0/1.1"),
        (CallKeys(""), call_of(PAY), ""),
    ],
)
def test_the_key_of_a_call(keys: CallKeys, call: PlannedCall, key: str) -> None:
    assert keys.key_of(call) == key


@pytest.mark.parametrize(
    ("keys", "base"),
    [
        (CallKeys("w/r"), "w/r/2.1-desk"),
        (CallKeys("w/r", "p/q/1.1-lead"), "p/q/1.1-lead/2.1-desk"),
        (CallKeys(""), ""),
    ],
)
def test_a_called_agent_gets_the_place_of_its_call(keys: CallKeys, base: str) -> None:
    assert keys.of_child("2.1", "desk") == base


@pytest.mark.parametrize(
    ("fields", "base"),
    [
        ({}, "p/q/1.1-desk"),
        ({"parent": None}, ""),  # a stranger set the header
        ({"attempt": 2}, ""),
        ({"cron_schedule": "@daily"}, ""),
        ({"headers": {}}, ""),
    ],
)
def test_only_the_first_run_of_a_child_takes_what_its_caller_gives(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], base: str
) -> None:
    info = {
        "parent": "p",
        "attempt": 1,
        "cron_schedule": None,
        "headers": {CHILD_KEY_HEADER: text_payload("p/q/1.1-desk")},
        **fields,
    }
    monkeypatch.setattr(workflow, "info", lambda: SimpleNamespace(**info))
    assert inherited_key_base() == base
