"""Tools from the operations of an OpenAPI document."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from os import PathLike
from typing import Any, Literal, Protocol

from pydantic import BaseModel, JsonValue, TypeAdapter

from outlast.agents.openapi.documents import Document, Unusable, read_document
from outlast.agents.openapi.inputs import Inputs, read_inputs
from outlast.agents.openapi.operations import Api, Operation
from outlast.agents.openapi.selection import EFFECTS, Found, chosen, operations_of
from outlast.agents.openapi.servers import Credentials, allowed_servers, own_server, server_of
from outlast.agents.tool_context import ToolContext
from outlast.agents.tool_options import RESERVED, checked_approval, checked_effect, seconds
from outlast.agents.tools import Tool
from outlast.contracts.agents import ToolSpec
from outlast.contracts.effects import Effect
from outlast.contracts.human import Approval
from outlast.contracts.names import NAME_PATTERN
from outlast.errors import DefinitionError, ToolError
from outlast.jsonschema.schema_checks import check_schema
from outlast.text.error_text import error_text
from outlast.text.hints import hint
from outlast.text.json_text import from_json
from outlast.text.texts import cut, shown

MAX_DESCRIPTION_BYTES = 4_000
"""Bytes of the description of a tool: it is part of every prompt."""

MAX_PROBLEM_BYTES = 500
"""Bytes of the reason why an operation cannot be used."""

MAX_NAMED = 10
"""Operations that one message names."""

_HEADER_NAME = re.compile(r"[A-Za-z0-9-]{1,100}")


class HttpCaller(Protocol):
    """Makes the calls of an API. The worker opens one for each API."""

    async def call(
        self, tool: "OpenApiTool", arguments: dict[str, JsonValue], context: ToolContext[Any]
    ) -> JsonValue:
        """Make a call, and return its result."""
        ...


class _Arguments(BaseModel):
    """The server checks the arguments of its operations."""


async def _called_by_name(*_: Any, **__: Any) -> Any:
    raise NotImplementedError("an operation of an API is called on a worker; use outlast.testing")


@dataclass(frozen=True)
class OpenApiTool(Tool[Any, ..., Any]):
    """An operation of an HTTP API as a tool."""

    operation: Operation = field(kw_only=True)
    api: Api = field(kw_only=True)

    @property
    def is_async(self) -> bool:
        """True: the call waits for the server."""
        return True

    @property
    def place(self) -> str:
        """The operation."""
        operation = self.operation
        return f"the operation {operation.method} {operation.server}{operation.path}"

    async def invoke_async(
        self, arguments: bytes, context: ToolContext[Any] | None = None
    ) -> bytes:
        """Make the call with the connections of the worker, and return its result as JSON."""
        caller: HttpCaller | None = None if context is None else context.deps
        if context is None or caller is None:
            return self.encoded(await _called_by_name())
        values = from_json(arguments)
        if not isinstance(values, dict):
            raise ToolError(f"{self.name}: the arguments are not a JSON object")
        return self.encoded(await caller.call(self, values, context))


def tools_from_openapi(  # noqa: PLR0913 the options of an API, each by name
    document: "Mapping[str, Any] | str | PathLike[str]",
    *,
    servers: str | Sequence[str],
    include: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
    effects: Mapping[str, Effect] | None = None,
    approvals: Mapping[str, str | Approval | Literal[False]] | None = None,
    credentials: str | Mapping[str, str] | None = None,
    idempotency_header: str | None = None,
    prefix: str = "",
    timeout: timedelta = timedelta(minutes=1),
) -> list[Tool[Any, ..., Any]]:
    """Return the operations of an OpenAPI document of 3.0 or 3.1 as tools, for `Agent(tools=…)`.

    - `document` is a dict, JSON text, or the path of a JSON file.
    - `servers` are the URLs to which calls may go. The first one is the base of all paths. The servers of
      the document are never used by themselves.
    - `include` and `exclude` are names of operations, with `*` for any text. An operation is named by its
      `operationId`, or by its method and path, such as `get_pets_petId`.
    - `effects` and `approvals` are those of operations by name. By default, GET and HEAD are `read`, PUT
      and DELETE `idempotent`, POST and PATCH `write`.
    - `credentials` is `env:NAME`, or a dict of them by security scheme: variables of the worker.
    - `idempotency_header` is the header in which calls that change something send their idempotency key.
    - `prefix` stands before the name of each tool, and `timeout` limits one attempt of a call.

    Raises `DefinitionError` with the name of an operation that cannot work.
    """
    reader = _Reader(
        document=read_document(document),
        servers=allowed_servers(servers),
        effects={} if effects is None else effects,
        approvals={} if approvals is None else approvals,
        idempotency_header=_checked_header(idempotency_header),
        prefix=_checked_prefix(prefix),
        timeout_s=seconds(timeout, "tools_from_openapi: timeout"),
    )
    found = chosen(list(operations_of(reader.document)), include, exclude)
    for option, given in (("effects", reader.effects), ("approvals", reader.approvals)):
        _check_options(option, given, [each.name for each in found])
    read = reader.read(found, Credentials(reader.document, credentials))
    variables = frozenset(each.variable for _, operation in read for each in operation.credentials)
    api = Api(reader.servers[0], variables, timeout)
    return [
        OpenApiTool(
            function=_called_by_name,
            spec=spec,
            arguments=_Arguments,
            result=TypeAdapter(JsonValue),
            operation=operation,
            api=api,
        )
        for spec, operation in read
    ]


@dataclass(frozen=True)
class _Reader:
    """Reads operations, with the options of the developer."""

    document: Document
    servers: Sequence[str]
    effects: Mapping[str, Effect]
    approvals: Mapping[str, str | Approval | Literal[False]]
    idempotency_header: str | None
    prefix: str
    timeout_s: float

    def read(
        self, found: Sequence[Found], credentials: Credentials
    ) -> list[tuple[ToolSpec, Operation]]:
        """Return the operations with their tools. Raises `DefinitionError` with those that cannot work."""
        read: list[tuple[ToolSpec, Operation]] = []
        problems: dict[str, str] = {}
        for each in found:
            try:
                read.append(self._read(each, credentials))
            except Unusable as error:
                problems[each.name] = str(error)
        if problems:
            raise DefinitionError(_problem_line(problems))
        paths: dict[str, str] = {}
        for (spec, _), each in zip(read, found, strict=True):
            known = paths.setdefault(spec.name, each.path)
            if known != each.path:
                raise DefinitionError(
                    f"two tools are named {spec.name!r}: {shown(known)} and {shown(each.path)}; leave"
                    " one out with exclude="
                )
        return read

    def _read(self, found: Found, credentials: Credentials) -> tuple[ToolSpec, Operation]:
        inputs = read_inputs(
            self.document, found.item, found.node, found.path, self.idempotency_header
        )
        effect = checked_effect(self.effects.get(found.name, EFFECTS[found.method]), found.name)
        operation = Operation(
            method=found.method.upper(),
            server=server_of(self.servers, found.item, found.node, found.path),
            path=_checked_path(found, inputs),
            parameters=inputs.parameters,
            body=inputs.body,
            credentials=credentials.of(found.node, found.path),
            idempotency_header=None if found.method in {"get", "head"} else inputs.key_header,
        )
        return self._spec(found, inputs, effect), operation

    def _spec(self, found: Found, inputs: Inputs, effect: Effect) -> ToolSpec:
        name = re.sub(r"[^A-Za-z0-9_-]+", "_", f"{self.prefix}{found.name}").strip("_")
        if not re.fullmatch(NAME_PATTERN, name) or name in RESERVED:
            raise Unusable(
                f"{found.path}: {name!r} cannot be the name of a tool: it does not begin with a letter, has"
                " more than 64 characters, or is an activity of outlast"
            )
        try:
            check_schema(inputs.schema, f"{found.path}: arguments", arguments=True)
        except ValueError as error:
            raise Unusable(error_text(error)) from None
        texts = [found.node.get(key) for key in ("summary", "description")]
        description = "\n".join(text.strip() for text in texts if isinstance(text, str))
        return ToolSpec(
            name=name,
            description=cut(
                description or f"{found.method.upper()} {found.template}", MAX_DESCRIPTION_BYTES
            ),
            parameters=inputs.schema,
            effect=effect,
            approval=checked_approval(
                self.approvals.get(found.name), effect, inputs.schema, found.name
            ),
            timeout_s=self.timeout_s,
            heartbeats=True,
        )


def operation_of(document: Document, operation_id: str, url: str) -> Operation:
    """Return an operation by its `operationId`. Its server is the first of the document at the URL.

    Raises `DefinitionError`.
    """
    found = {each.name: each for each in operations_of(document)}
    each = found.get(operation_id)
    if each is None:
        raise DefinitionError(
            f"{shown(operation_id)} is not an operation; {hint(operation_id, found)}"
        )
    try:
        inputs = read_inputs(document, each.item, each.node, each.path, None)
        return Operation(
            method=each.method.upper(),
            server=own_server(document, each.item, each.node, each.path, url.rpartition("/")[0]),
            path=_checked_path(each, inputs),
            parameters=inputs.parameters,
            body=inputs.body,
            idempotency_header=None if each.method in {"get", "head"} else inputs.key_header,
        )
    except Unusable as error:
        raise DefinitionError(str(error)) from None


def _check_options(option: str, given: object, names: list[str]) -> None:
    if not isinstance(given, Mapping):
        raise DefinitionError(f"{option}: {shown(given)} must be a dict by the names of operations")
    for name in given:
        if name not in names:
            raise DefinitionError(
                f"{option}: {shown(name)} is not among the operations; {hint(str(name), names)}"
            )


def _checked_prefix(prefix: object) -> str:
    if isinstance(prefix, str):
        return prefix
    raise DefinitionError(f"prefix: {shown(prefix)} must be text")


def _checked_header(header: object) -> str | None:
    if header is None or (isinstance(header, str) and _HEADER_NAME.fullmatch(header)):
        return header
    raise DefinitionError(
        f"idempotency_header: {shown(header)} must be a name such as 'Idempotency-Key'"
    )


def _checked_path(found: Found, inputs: Inputs) -> str:
    """Return the template of a path, whose braces are exactly the parameters of the path."""
    template = found.template
    if not template.startswith("/") or not re.fullmatch(r"[!-~]+", template):
        raise Unusable(f"{found.path}: a path begins with '/', and is ASCII without white space")
    plain = re.sub(r"\{[^{}/]+\}", "x", template)
    if re.search(r"[{}?#\\]|/\.\.?(/|$)", plain):
        raise Unusable(f"{found.path}: a path has no query, fragment, '..' or single braces")
    needed = set(re.findall(r"\{([^{}/]+)\}", template))
    given = {each.name for each in inputs.parameters if each.place == "path"}
    if needed != given:
        name = sorted(needed ^ given)[0]
        reason = "has no parameter" if name in needed else "does not contain the parameter"
        raise Unusable(f"{found.path}: the path {reason} {shown(name)}")
    return template


def _problem_line(problems: Mapping[str, str]) -> str:
    """Return one line about the operations that cannot be used."""
    (first, reason), *others = problems.items()
    line = f"operation {shown(first)}: {cut(reason, MAX_PROBLEM_BYTES)}"
    if others:
        names = ", ".join(shown(name) for name, _ in others[:MAX_NAMED])
        more = f", and {len(others) - MAX_NAMED} more" if len(others) > MAX_NAMED else ""
        line += f"; {len(others)} other operations cannot be used either: {names}{more}"
    return f"{line}; leave out what you do not need with exclude="
