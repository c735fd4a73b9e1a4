"""The connections of a worker to an HTTP API."""

import asyncio
import base64
import os
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from pydantic import JsonValue

from outlast.agents.openapi.openapi_tools import OpenApiTool
from outlast.agents.openapi.operations import Api
from outlast.agents.tool_context import ToolContext
from outlast.errors import NotReady
from outlast_activities.openapi.answers import result_of
from outlast_activities.openapi.exchanges import Exchanges, open_http
from outlast_activities.openapi.failures import CallFailures
from outlast_activities.openapi.requests import http_request
from outlast_activities.providers.redaction import Redactor, clean_api_key

MARGIN_S = 1.0
"""How much earlier than Temporal the client ends a slow call, so that its failure still arrives."""


class ApiClient:
    """Makes the calls of one API. It belongs to one event loop."""

    def __init__(self, http: httpx2.AsyncClient, secrets: Mapping[str, str]) -> None:
        self._exchanges = Exchanges(http)
        self._secrets = secrets
        self._cleaner = Cleaner(secrets.values())

    async def call(
        self, tool: OpenApiTool, arguments: dict[str, JsonValue], context: ToolContext[Any]
    ) -> JsonValue:
        """Make a call, and return its result.

        Raises `ToolError` for an error that the model can act on, and `ConnectionLost` for a call that may
        have happened, or that another attempt may make.
        """
        request = http_request(
            tool.operation,
            arguments,
            secrets=self._secrets,
            idempotency_key=context.idempotency_key,
        )
        failures = CallFailures(tool.name, tool.spec.effect, context.attempt, self.clean)
        answer = await self._exchanges.answer(
            request, failures, within_s=within(tool.spec.timeout_s)
        )
        failures.check(answer)
        # In a thread: a server can send JSON of so many values that the worker would stop for seconds.
        return await asyncio.to_thread(result_of, answer, self.clean)

    def clean(self, text: str) -> str:
        """Return a text of the server without the credentials."""
        return self._cleaner.clean(text)


class Cleaner:
    """Removes credentials from texts of servers, which may send them back."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._redactors = [Redactor(form) for secret in secrets for form in _forms(secret)]

    def clean(self, text: str) -> str:
        """Return a text without the credentials."""
        for redactor in self._redactors:
            text = redactor.clean(text)
        return text


def within(timeout_s: float) -> float:
    """Return the seconds of a call whose attempt has a timeout: its failure must still arrive."""
    return timeout_s - min(MARGIN_S, timeout_s / 5)


@asynccontextmanager
async def open_api(api: Api) -> AsyncIterator[ApiClient]:
    """Open the connections to an API. Raises `NotReady` if one of its credentials is not set."""
    secrets = {name: secret_of(name, api.server) for name in sorted(api.variables)}
    async with open_http(api.timeout.total_seconds()) as http:
        yield ApiClient(http, secrets)


def secret_of(variable: str, owner: str) -> str:
    """Return the value of a variable that holds credentials. Raises `NotReady` if it is not set."""
    try:
        secret = clean_api_key(os.environ.get(variable))
    except ValueError as error:
        raise NotReady(f"{owner}: the variable {variable} {error}") from None
    if secret is None:
        raise NotReady(f"{owner}: set the variable {variable}, its credentials")
    return secret


def _forms(secret: str) -> set[str]:
    """Return the forms of a secret in requests: as it is, and as a user with a password."""
    _, colon, password = secret.partition(":")
    if not colon or not password:
        return {secret}
    return {secret, password, base64.b64encode(secret.encode()).decode()}
