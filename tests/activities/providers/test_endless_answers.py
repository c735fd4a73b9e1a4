"""Answers without an end, whose events have no text: what an adapter keeps of them is bounded."""

import asyncio
import itertools
from collections.abc import Mapping
from typing import Any

import pytest
from outlast_activities.providers.registry import connected

from outlast.errors import ModelError, ModelFailure
from outlast.model_server import ServerOptions
from tests.activities.providers.raw_answers import PROMPT, event
from tests.activities.providers.raw_server import SSE, raw_server, response

LARGE = "x" * 100_000

ENTRIES: Mapping[str, tuple[str, Any]] = {
    "anthropic: blocks": (
        "anthropic",
        {
            "type": "content_block_start",
            "content_block": {"type": "redacted_thinking", "data": LARGE},
        },
    ),
    "anthropic: a signature": (
        "anthropic",
        {
            "type": "content_block_delta",
            "delta": {"type": "signature_delta", "signature": LARGE},
        },
    ),
    "openai-responses: items": (
        "openai-responses",
        {
            "type": "response.output_item.done",
            "item": {"type": "message", "encrypted_content": LARGE},
        },
    ),
    "openai-responses: calls": (
        "openai-responses",
        {
            "type": "response.output_item.added",
            "item": {"type": "function_call", "call_id": "c", "name": LARGE},
        },
    ),
    "gemini: signatures": (
        "gemini",
        {"candidates": [{"content": {"parts": [{"thoughtSignature": LARGE}]}}]},
    ),
}


@pytest.mark.parametrize("name", ENTRIES)
async def test_entries_without_an_end_are_cut_off(name: str) -> None:
    api, entry = ENTRIES[name]
    endless = itertools.repeat(event(entry).encode())
    async with raw_server(response(b"", SSE), endless) as server, asyncio.timeout(60):
        model = connected(ServerOptions(server.url, api=api, model="m", api_key="a-key"), None)
        with pytest.raises(ModelError, match="did not end its answer") as failure:
            await model.complete(PROMPT)
        await model.aclose()
    assert failure.value.kind is ModelFailure.TRUNCATED


LONG: Mapping[str, tuple[str, Any]] = {
    "anthropic": ("anthropic", {"type": "message_delta", "delta": {"stop_reason": LARGE}}),
    "openai-responses": (
        "openai-responses",
        {"type": "response.completed", "response": {"status": LARGE, "model": LARGE}},
    ),
    "gemini": (
        "gemini",
        {"candidates": [{"finishReason": "MALFORMED_FUNCTION_CALL" + "!" * 100_000}]},
    ),
}


@pytest.mark.parametrize("name", LONG)
async def test_a_long_reason_is_not_in_the_error(name: str) -> None:
    api, end = LONG[name]
    async with raw_server(response(event(end), SSE)) as server:
        model = connected(ServerOptions(server.url, api=api, model="m", api_key="a-key"), None)
        with pytest.raises(ModelError) as failure:
            await model.complete(PROMPT)
        await model.aclose()
    assert len(failure.value.message) < 1_000
