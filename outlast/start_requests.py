"""Requests that start a run: built for clients, and parsed by the workflow."""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import JsonValue
from temporalio.common import Priority

from outlast.contracts.limits import Limits
from outlast.contracts.names import run_id_problem
from outlast.contracts.requests import MAX_INPUT_BYTES, AgentRequest
from outlast.errors import BadRequest
from outlast.jsonschema.schema_checks import check_schema
from outlast.text.texts import cut
from outlast.transcripts import user_message
from outlast.validation import parse

MAX_QUOTED_ID_BYTES = 80
"""A workflow id in an error message."""


def parse_request(data: bytes) -> AgentRequest:
    """Parse the input of `AgentWorkflow`, or raise `BadRequest`."""
    if len(data) > MAX_INPUT_BYTES:
        raise BadRequest(
            f"input: {len(data):,} bytes are too many; at most {MAX_INPUT_BYTES:,} are allowed: "
            "pass a reference, such as a path or a URL, that a tool can read"
        )
    request = parse(AgentRequest, data, what="the input of AgentWorkflow")
    if request.spec is not None:
        try:
            check_schema(request.spec.output, "spec.output")
        except ValueError as error:
            raise BadRequest(str(error)) from None
        user_message(request.input, request.spec.prompt)
    return request


def request_json(
    *,
    agent: str | None,
    input: JsonValue,  # noqa: A002 the contract's word
    spec: Mapping[str, Any] | None = None,
    tenant: str = "default",
    limits: Limits | Mapping[str, Any] | None = None,
    mode: str = "task",
) -> dict[str, JsonValue]:
    """Return a request as plain JSON. Raises `BadRequest` if the workflow would reject it."""
    fields: dict[str, Any] = {"tenant": tenant, "mode": mode}
    if input is None and mode == "task":
        raise BadRequest("input: is required, except in a conversation")
    fields |= {} if input is None else {"input": input}
    fields |= {"agent": agent} if agent is not None else {}
    fields |= {"spec": dict(spec)} if spec is not None else {}
    if limits is not None:
        fields["limits"] = limits.model_dump(mode="json") if isinstance(limits, Limits) else limits
    try:
        encoded = json.dumps(fields).encode()
    except (TypeError, ValueError) as error:
        raise BadRequest(f"input: cannot be written as JSON: {error}") from None
    request: AgentRequest = parse_request(encoded)
    return {
        name: value
        for name, value in request.model_dump(mode="json", exclude_unset=True).items()
        if value is not None
    }


def checked_run_id(run_id: str) -> str:
    """Return a workflow id, or raise `BadRequest` if it cannot be the id of a run."""
    problem = run_id_problem(run_id)
    if problem is not None:
        raise BadRequest(f"id: {cut(repr(run_id), MAX_QUOTED_ID_BYTES)} {problem}")
    return run_id


def tenant_priority(tenant: str) -> Priority:
    """Return the priority of the steps of a tenant: the tenant is their fairness key."""
    return Priority.default if tenant == "default" else Priority(fairness_key=tenant)
