"""Requests that start a run: built for clients, and parsed by the workflow."""

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
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
from outlast.validation import check_json, parse

MAX_QUOTED_BYTES = 80
"""A workflow id, or another value, in an error message."""


@dataclass(frozen=True)
class CheckedRequest:
    """A valid request, with warnings about probable mistakes in the schema of its `spec`."""

    request: AgentRequest
    warnings: tuple[str, ...] = ()


def parse_request(data: bytes) -> CheckedRequest:
    """Parse the input of `AgentWorkflow`, or raise `BadRequest`."""
    if len(data) > MAX_INPUT_BYTES:
        raise BadRequest(
            f"input: {len(data):,} bytes are too many; at most {MAX_INPUT_BYTES:,} are allowed: "
            "pass a reference, such as a path or a URL, that a tool can read"
        )
    request: AgentRequest = parse(AgentRequest, data, what="the input of AgentWorkflow")
    if request.spec is None:
        return CheckedRequest(request)
    try:
        remarks = check_schema(request.spec.output, "spec.output")
    except ValueError as error:
        raise BadRequest(str(error)) from None
    user_message(request.input, request.spec.prompt)
    return CheckedRequest(request, remarks)


def request_json(
    *,
    agent: str | None,
    input: JsonValue,  # noqa: A002 the contract's word
    spec: Mapping[str, Any] | None = None,
    tenant: str = "default",
    limits: Limits | Mapping[str, Any] | None = None,
    mode: str = "task",
) -> dict[str, JsonValue]:
    """Return a request as plain JSON. Raises `BadRequest` if the workflow would reject it.

    A probable mistake in the schema of a `spec` is a `UserWarning`.
    """
    fields: dict[str, Any] = {"tenant": tenant, "mode": mode}
    if input is None and mode == "task":
        raise BadRequest("input: is required, except in a conversation")
    fields |= {} if input is None else {"input": input}
    fields |= {"agent": agent} if agent is not None else {}
    if spec is not None and not isinstance(spec, Mapping):
        raise BadRequest(
            f"spec: {cut(repr(spec), MAX_QUOTED_BYTES)} is not a JSON object; give one"
        )
    fields |= {"spec": dict(spec)} if spec is not None else {}
    if limits is not None:
        fields["limits"] = limits.model_dump(mode="json") if isinstance(limits, Limits) else limits
    for name, value in fields.items():
        check_json(name, value)
    checked = parse_request(json.dumps(fields).encode())
    for warning in checked.warnings:
        warnings.warn(warning, UserWarning, stacklevel=3)
    return {
        name: value
        for name, value in checked.request.model_dump(mode="json", exclude_unset=True).items()
        if value is not None
    }


def checked_run_id(run_id: object) -> str:
    """Return a workflow id, or raise `BadRequest` if it cannot be the id of a run."""
    problem = run_id_problem(run_id)
    if problem is not None or not isinstance(run_id, str):
        raise BadRequest(f"id: {cut(repr(run_id), MAX_QUOTED_BYTES)} {problem}")
    return run_id


def tenant_priority(tenant: str) -> Priority:
    """Return the priority of the steps of a tenant: the tenant is their fairness key."""
    return Priority.default if tenant == "default" else Priority(fairness_key=tenant)
