"""The connection of a process to Temporal, and the search attributes of runs."""

import asyncio
import shlex
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import structlog
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import (
    AddSearchAttributesRequest,
    ListSearchAttributesRequest,
)
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client, Plugin
from temporalio.common import SearchAttributeIndexedValueType
from temporalio.runtime import Runtime
from temporalio.service import RPCError, RPCStatusCode

from outlast.contracts.search_attributes import SEARCH_ATTRIBUTES
from outlast.errors import NotReady
from outlast.temporal.connection import (
    DEFAULT_ADDRESS,
    MAX_REASON_BYTES,
    checked_address,
    connection_failure,
    load_profile,
)
from outlast.text.texts import cut

CONNECT_WAIT_S = 30.0
"""Long enough for a server that starts at the same time as the worker, as with Compose."""

ATTEMPT_TIMEOUT_S = 5.0
"""A bound for one attempt, so that a lost packet does not use the whole wait."""

RETRY_INTERVAL_S = 0.1

LISTING_TIMEOUT_S = 15.0
"""Servers reload their namespaces at least every 10 s. A longer wait is an error."""

CALL_TIMEOUT = timedelta(seconds=10)

Types = Mapping[str, SearchAttributeIndexedValueType]

_REJECTIONS = ("Unauthenticated", "PermissionDenied")

log = structlog.get_logger(__name__)


async def connect(
    *,
    address: str | None = None,
    namespace: str | None = None,
    plugins: Sequence[Plugin] = (),
    runtime: Runtime | None = None,
    wait_s: float = CONNECT_WAIT_S,
    use_profile: bool = True,
) -> Client:
    """Return a connected client whose namespace exists.

    Reads address, namespace, TLS and keys with `temporalio.envconfig` (its TOML file and `TEMPORAL_*`).
    `address` and `namespace` override them. Without `use_profile`, only these two count, as for a server
    that this process started itself. Raises `NotReady` if the server does not answer within `wait_s`, or
    at once if it rejects the credentials.
    """
    options = _options(address, namespace, use_profile=use_profile)
    target = checked_address(options.pop("target_host"))
    deadline = time.monotonic() + wait_s
    is_logged = False
    while True:  # bounded by wait_s
        left_s = deadline - time.monotonic()
        try:
            async with asyncio.timeout(max(min(ATTEMPT_TIMEOUT_S, left_s), RETRY_INTERVAL_S)):
                client = await Client.connect(target, plugins=plugins, runtime=runtime, **options)
                await _find_namespace(client)
                return client
        except ValueError as error:
            raise NotReady(
                f"{target!r} is not the address of a Temporal server ({cut(str(error), MAX_REASON_BYTES)}):"
                " give HOST:PORT in TEMPORAL_ADDRESS"
            ) from None
        except (RuntimeError, TimeoutError, RPCError) as error:
            reason = _reason(error, target)
            if "invalid target" in reason.lower() or "InvalidUri" in reason:
                left_s = 0.0
        if reason.startswith(_REJECTIONS):
            raise NotReady(f"Temporal at {target} rejects this process: {reason}")
        if left_s <= RETRY_INTERVAL_S:
            raise NotReady(_unreachable(target, reason, wait_s))
        if not is_logged:
            log.info("temporal.awaited", address=target, reason=reason, wait_s=wait_s)
            is_logged = True
        await asyncio.sleep(RETRY_INTERVAL_S)


def _options(address: str | None, namespace: str | None, *, use_profile: bool) -> dict[str, Any]:
    overrides = {"target_host": address, "namespace": namespace}
    return {
        "target_host": DEFAULT_ADDRESS,
        **(load_profile() if use_profile else {}),
        **{name: value for name, value in overrides.items() if value},
    }


async def _find_namespace(client: Client) -> None:
    request = DescribeNamespaceRequest(namespace=client.namespace)
    try:
        await client.workflow_service.describe_namespace(request, timeout=CALL_TIMEOUT)
    except RPCError as error:
        # Some API keys may use a namespace but not describe it.
        if error.status is not RPCStatusCode.PERMISSION_DENIED:
            raise


def _reason(error: RuntimeError | TimeoutError | RPCError, address: str) -> str:
    if isinstance(error, TimeoutError):
        return "no answer"
    if isinstance(error, RPCError):
        return error.message
    return connection_failure(error, address)


def _unreachable(target: str, reason: str, wait_s: float) -> str:
    return (
        f"no Temporal namespace could be reached at {target} in {wait_s:g} s ({reason}): start a"
        " server (`temporal server start-dev`), or set TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE"
    )


async def ensure_search_attributes(client: Client) -> bool:
    """Create the missing search attributes, and return whether the server now has all of them.

    Waits until the server lists them, because a run that upserts an unknown attribute is blocked. If the
    server rejects the creation, as Temporal Cloud does, or an attribute has another type, this logs the
    command for an operator and returns False. Runs then work without the attributes. Idempotent.
    """
    absent = dict(SEARCH_ATTRIBUTES)
    try:
        listed = await _listed(client)
        absent = {name: kind for name, kind in absent.items() if name not in listed}
        if absent:
            await _create(client, absent)
            listed = await _wait_until_listed(client, absent)
    except RPCError as error:
        _warn(client, absent, f"the server rejected their creation: {error.message}")
        return False
    wrong = {name: kind for name, kind in SEARCH_ATTRIBUTES.items() if listed.get(name) != kind}
    if wrong:
        _warn(client, wrong, "not listed, or of another type: then remove them first")
    return not wrong


async def _listed(client: Client) -> dict[str, int]:
    request = ListSearchAttributesRequest(namespace=client.namespace)
    listed = await client.operator_service.list_search_attributes(
        request, retry=True, timeout=CALL_TIMEOUT
    )
    return {name: int(kind) for name, kind in listed.custom_attributes.items()}


async def _create(client: Client, absent: Types) -> None:
    types = {name: IndexedValueType.ValueType(int(kind)) for name, kind in absent.items()}
    request = AddSearchAttributesRequest(namespace=client.namespace, search_attributes=types)
    try:
        await client.operator_service.add_search_attributes(request, timeout=CALL_TIMEOUT)
    except RPCError as error:
        # Another worker created them at the same time.
        if error.status is not RPCStatusCode.ALREADY_EXISTS:
            raise


async def _wait_until_listed(client: Client, awaited: Types) -> dict[str, int]:
    deadline = time.monotonic() + LISTING_TIMEOUT_S
    while True:
        listed = await _listed(client)
        if awaited.keys() <= listed.keys() or time.monotonic() > deadline:
            return listed
        await asyncio.sleep(RETRY_INTERVAL_S)


def _warn(client: Client, missing: Types, reason: str) -> None:
    log.warning(
        "search_attributes.unusable",
        reason=reason,
        missing=sorted(missing),
        command=create_command(client.namespace, missing),
    )


def create_command(namespace: str, missing: Types) -> str:
    """Return the `temporal` command that creates search attributes, with one call for each type."""
    calls: list[str] = []
    for kind in dict.fromkeys(missing.values()):
        names = " ".join(f"--name {name}" for name, other in missing.items() if other == kind)
        type_name = kind.name.title().replace("_", "")
        options = f"--namespace {shlex.quote(namespace)} {names} --type {type_name}"
        calls.append(f"temporal operator search-attribute create {options}")
    return " && ".join(calls)
