"""The HTTP client of pipelines: each call goes through the allowlist of the worker."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import httpx2
from pydantic import JsonValue, TypeAdapter

from outlast.agents.openapi.documents import read_document
from outlast.agents.openapi.openapi_tools import operation_of
from outlast.agents.openapi.operations import Operation
from outlast.agents.tool_context import ToolContext
from outlast.agents.tools import MAX_RESULT_BYTES
from outlast.contracts.effects import Effect
from outlast.contracts.http_calls import (
    CALL_TIMEOUT_S,
    HTTP_EFFECTS,
    FoundOperation,
    HttpAuthentication,
    HttpCallRequest,
    HttpOutput,
    OpenApiQuery,
    call_failed,
)
from outlast.errors import DefinitionError, Failure, ToolError
from outlast.pipelines.errors import AUTHORIZATION, COMMUNICATION, CONFIGURATION, VALIDATION
from outlast.text.error_text import error_text
from outlast.text.json_text import to_json
from outlast_activities.http_calls.allowlist import Allowlist, NotAllowed, Origin
from outlast_activities.http_calls.contents import output_of
from outlast_activities.http_calls.requests import request_of
from outlast_activities.http_calls.transport import CheckedTransport
from outlast_activities.openapi.answers import Answer
from outlast_activities.openapi.client import Cleaner, secret_of, within
from outlast_activities.openapi.exchanges import Exchanges, open_http
from outlast_activities.openapi.failures import CallFailures
from outlast_activities.openapi.requests import HttpRequest

_OPERATION: TypeAdapter[Operation] = TypeAdapter(Operation)


@dataclass(frozen=True)
class Secret:
    """A secret of pipelines: the variable that holds it, and the origins that may get it."""

    variable: str
    origins: frozenset[Origin]


class PipelineClient:
    """Makes the HTTP calls of pipelines. It belongs to one event loop."""

    def __init__(
        self,
        http: httpx2.AsyncClient,
        allowlist: Allowlist,
        secrets: Mapping[str, Secret],
        values: Mapping[str, str],
    ) -> None:
        self._exchanges = Exchanges(http)
        self._allowlist = allowlist
        self._secrets = secrets
        self._values = values
        self._cleaner = Cleaner(values.values())

    async def call(
        self, call: HttpCallRequest, effect: Effect, context: ToolContext[Any]
    ) -> JsonValue:
        """Make a call, and return its output. Raises `HttpCallFailed`, or `ConnectionLost` to try again."""
        request = self._request(call, context.idempotency_key)
        failures = _Failures(_shown(request), effect, context.attempt, self._cleaner.clean)
        answer = await self._answer(request, failures, follows=call.redirect)
        is_redirect = 300 <= answer.status < 400
        if not (call.redirect and is_redirect):
            failures.check(answer)
        # In a thread: a server can send JSON of so many values that the worker would stop for seconds.
        output, size = await asyncio.to_thread(self._output, call.output, request, answer)
        if size > MAX_RESULT_BYTES:
            raise failures.unreadable(
                f"the answer has {size:,} bytes as JSON; at most {MAX_RESULT_BYTES:,} are allowed"
            )
        return output

    def _output(
        self, form: HttpOutput, request: HttpRequest, answer: Answer
    ) -> tuple[JsonValue, int]:
        """Return the output of a call, and its size as JSON."""
        output = output_of(form, request, answer, self._cleaner.clean)
        return output, len(to_json(output).encode())

    async def find_operation(
        self, query: OpenApiQuery, context: ToolContext[Any]
    ) -> dict[str, JsonValue]:
        """Return an operation of an OpenAPI document, which is read from an allowed server."""
        request = self._request(HttpCallRequest(url=query.url), "")
        failures = _Failures(_shown(request), "read", context.attempt, self._cleaner.clean)
        answer = await self._answer(request, failures, follows=True)
        failures.check(answer)
        try:
            operation = await asyncio.to_thread(_operation_in, answer, query)
        except DefinitionError as error:
            raise call_failed(
                f"{query.url}: {error}", CONFIGURATION, HTTPStatus.BAD_REQUEST
            ) from None
        value = _OPERATION.dump_python(operation, mode="json")
        found = FoundOperation(effect=HTTP_EFFECTS[operation.method], operation=value)
        dumped: dict[str, JsonValue] = found.model_dump(mode="json")
        return dumped

    def _request(self, call: HttpCallRequest, idempotency_key: str) -> HttpRequest:
        """Return the request of a call, whose origin and credentials are allowed."""
        try:
            credentials = self._credentials(call.authentication)
            request = request_of(call, credentials=credentials, idempotency_key=idempotency_key)
            origin = self._allowlist.origin(request.url)
        except NotAllowed as error:
            raise call_failed(str(error), AUTHORIZATION, HTTPStatus.FORBIDDEN) from None
        except ToolError as error:
            raise call_failed(str(error.message), VALIDATION, HTTPStatus.BAD_REQUEST) from None
        except ValueError as error:
            what = "" if type(error) is not ValueError else f"{self._cleaner.clean(call.url)!r} "
            raise call_failed(
                f"{what}{error_text(error)}", VALIDATION, HTTPStatus.BAD_REQUEST
            ) from None
        self._check_secret(call.authentication, origin)
        return request

    def _credentials(self, authentication: HttpAuthentication | None) -> str | None:
        if authentication is None:
            return None
        if authentication.secret not in self._values:
            raise call_failed(
                f"there is no secret {authentication.secret!r}: add it to http.secrets in the settings of"
                " the workers",
                CONFIGURATION,
                HTTPStatus.BAD_REQUEST,
            )
        return self._values[authentication.secret]

    def _check_secret(self, authentication: HttpAuthentication | None, origin: Origin) -> None:
        if authentication is None or origin in self._secrets[authentication.secret].origins:
            return
        name = authentication.secret
        raise call_failed(
            f"the secret {name!r} may not go to {str(origin)!r}: add it to http.secrets.{name}.hosts in the"
            " settings of the workers",
            AUTHORIZATION,
            HTTPStatus.FORBIDDEN,
        )

    async def _answer(
        self, request: HttpRequest, failures: "_Failures", *, follows: bool
    ) -> Answer:
        try:
            return await self._exchanges.answer(
                request, failures, within_s=within(CALL_TIMEOUT_S), follows=follows
            )
        except NotAllowed as error:
            raise call_failed(str(error), AUTHORIZATION, HTTPStatus.FORBIDDEN) from None


def _operation_in(answer: Answer, query: OpenApiQuery) -> Operation:
    document = read_document(answer.text().strip() or "{}")
    return operation_of(document, query.operation_id, query.url)


class _Failures(CallFailures):
    """The failures of one attempt of a call, with the status that the pipeline sees."""

    def _final(self, text: str, status: int) -> Failure:
        return call_failed(text, COMMUNICATION, status)

    def _unknown(self, text: str, status: int) -> Failure:
        return call_failed(text, COMMUNICATION, status)


def _shown(request: HttpRequest) -> str:
    """Return a request for a message, without its query, which may hold data."""
    parts = urlsplit(request.url)
    return f"{request.method} {parts.scheme}://{parts.netloc}{parts.path}"


@asynccontextmanager
async def open_pipeline_client(
    allowlist: Allowlist, secrets: Mapping[str, Secret]
) -> AsyncIterator[PipelineClient]:
    """Open the connections of pipelines. Raises `NotReady` if the variable of a secret is not set."""
    values = {
        name: secret_of(secret.variable, f"http.secrets.{name}") for name, secret in secrets.items()
    }
    async with open_http(CALL_TIMEOUT_S, CheckedTransport(allowlist)) as http:
        yield PipelineClient(http, allowlist, secrets, values)
