"""Agent cards: where an agent takes calls. Source: A2A 1.0, sections 4.4 and 8."""

from http import HTTPStatus

from pydantic import JsonValue

from outlast.contracts.a2a_calls import AgentInterface
from outlast.contracts.http_calls import call_failed
from outlast.errors import HttpCallFailed
from outlast.pipelines.errors import CONFIGURATION

PROTOCOL_VERSION = "1.0"
BINDING = "JSONRPC"

MAX_INTERFACES_SHOWN = 5
"""Interfaces of a card in a message."""

MAX_TENANT = 500
"""Characters of the tenant that a card names."""


def interface_of(card: JsonValue, url: str) -> AgentInterface:
    """Return the first interface of a card that workers can call. Raises `HttpCallFailed`."""
    given = card.get("supportedInterfaces") if isinstance(card, dict) else None
    found = [each for each in given if isinstance(each, dict)] if isinstance(given, list) else []
    for each in found:
        address, tenant = each.get("url"), each.get("tenant", "")
        if not isinstance(address, str) or not isinstance(tenant, str) or len(tenant) > MAX_TENANT:
            continue
        if _binding(each) == BINDING and _version(each) == PROTOCOL_VERSION:
            return AgentInterface(url=address, tenant=tenant)
    raise _unusable(card, found, url)


def _unusable(card: JsonValue, interfaces: list[dict[str, JsonValue]], url: str) -> HttpCallFailed:
    if not isinstance(card, dict) or "name" not in card:
        reason = "is not an agent card"
    else:
        shown = [f"{_binding(each)!r} {_version(each)!r}" for each in interfaces]
        has = ", ".join(shown[:MAX_INTERFACES_SHOWN]) or "none in 'supportedInterfaces'"
        reason = f"has no interface {BINDING!r} of version {PROTOCOL_VERSION!r} ({has})"
    return call_failed(f"the agent card {url} {reason}", CONFIGURATION, HTTPStatus.BAD_REQUEST)


def _binding(interface: dict[str, JsonValue]) -> str:
    return str(interface.get("protocolBinding", ""))[:40]


def _version(interface: dict[str, JsonValue]) -> str:
    """Return the major and the minor version, which are all that the protocol compares."""
    return ".".join(str(interface.get("protocolVersion", ""))[:40].split(".")[:2])
