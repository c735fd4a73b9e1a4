"""Each field of a protocol is used, rejected by name, or listed as ignored on the page of its door."""

import re
from collections.abc import Mapping
from typing import Any

import pytest
from a2a import types as a2a
from ag_ui.core import RunAgentInput
from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming
from openai.types.responses.response_create_params import ResponseCreateParamsStreaming
from outlast_workers.gateway import response_input
from outlast_workers.gateway.a2a import params
from outlast_workers.gateway.completions import body as completions
from pydantic import BaseModel

from tests.docs.prose import ROOT

A2A: Mapping[Any, type[BaseModel]] = {
    a2a.SendMessageRequest: params.SendParams,
    a2a.SendMessageConfiguration: params.Configuration,
    a2a.Message: params.A2aMessage,
    a2a.Part: params.Part,
    a2a.GetTaskRequest: params.TaskParams,
    a2a.CancelTaskRequest: params.TaskParams,
    a2a.SubscribeToTaskRequest: params.TaskParams,
    a2a.ListTasksRequest: params.ListParams,
}
"""The messages of the protocol that a client sends, and what reads them."""

READ_BY_AGUI = {"threadId", "runId", "messages", "resume"}

A2A_FIELDS = {
    field.json_name
    for message, model in A2A.items()
    for field in message.DESCRIPTOR.fields
    if field.json_name not in {each.alias for each in model.model_fields.values()}
}
"""The fields that nothing reads."""

AGUI_FIELDS = {each.alias or name for name, each in RunAgentInput.model_fields.items()}

DOORS = {
    "a2a": ("doors/a2a.md", "**Ignored fields of a request.**", "\n\n", A2A_FIELDS),
    "agui": ("gateway.md", "the same text counts once.", "\n\n", AGUI_FIELDS - READ_BY_AGUI),
    "responses": (
        "gateway.md",
        "**Ignored fields of a request**",
        "\n\n**",
        ResponseCreateParamsStreaming.__annotations__.keys()
        - response_input.ResponseBody.model_fields.keys()
        - response_input.AGENTS_OWN.keys()
        - {"text"}  # its `format` is rejected, and its `verbosity` is listed
        | {"text.verbosity"},
    ),
    "completions": (
        "doors/chat-completions.md",
        "**Ignored fields of a request**",
        "\n\n**",
        CompletionCreateParamsStreaming.__annotations__.keys()
        - completions.CompletionBody.model_fields.keys()
        - completions.AGENTS_OWN.keys(),
    ),
}
"""The page of each door, what its list of ignored fields is between, and the fields that nothing reads."""


@pytest.mark.parametrize("door", DOORS)
def test_a_page_lists_each_field_that_has_no_effect(door: str) -> None:
    page, begin, end, unread = DOORS[door]
    listed = (ROOT / "docs" / page).read_text().partition(begin)[2].partition(end)[0]
    assert set(re.findall("`([A-Za-z_.]+)`", listed)) == unread
