"""Answers of a model server as bytes, and what the adapter makes of them."""

import json
from collections.abc import Iterable
from typing import Any

from outlast_activities.providers.chat_completions import ChatCompletions

from outlast.errors import ModelError, ModelFailure
from outlast.model_server import Completion, Prompt, ServerOptions
from outlast.turns import UserTurn
from tests.activities.providers.raw_server import raw_server

Failed = ModelFailure

ANSWER = '{"answer":"y"}'
PROMPT = Prompt((UserTurn("x" * 300),), {"type": "object"}, "k", 100, session="run")


async def outcome_of(
    *pieces: bytes | Iterable[bytes], prompt: Prompt = PROMPT, **options: Any
) -> Completion | ModelError:
    outcome = await _outcome_of(*pieces, prompt=prompt, **options)
    if isinstance(outcome, ModelError):
        assert "\n" not in outcome.message
        assert len(outcome.message.encode()) < 800
    return outcome


async def _outcome_of(
    *pieces: bytes | Iterable[bytes], prompt: Prompt, **options: Any
) -> Completion | ModelError:
    async with raw_server(*pieces) as server:
        model = ChatCompletions(ServerOptions(server.url, model="m", **{"timeout_s": 5, **options}))
        try:
            return await model.complete(prompt)
        except ModelError as error:
            return error
        finally:
            await model.aclose()


def chunk(content: Any = None, finish: Any = None, **more: Any) -> str:
    delta = {} if content is None else {"content": content}
    choice = {"index": 0, "delta": delta, "finish_reason": finish, **more}
    return event({"choices": [choice]})


def event(body: Any) -> str:
    return f"data: {json.dumps(body)}\n\n"


def message(content: Any, finish: Any = "stop", **more: Any) -> str:
    choice = {"index": 0, "message": {"content": content}, "finish_reason": finish, **more}
    return json.dumps({"choices": [choice]})
