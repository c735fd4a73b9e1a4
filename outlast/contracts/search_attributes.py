"""Search attributes: the keys by which a Temporal namespace finds runs, and their types."""

from collections.abc import Mapping
from typing import Any

from temporalio.common import SearchAttributeIndexedValueType, SearchAttributeKey

from outlast.errors import BadRequest

AGENT_NAME = SearchAttributeKey.for_keyword("AgentName")
AGENT_TENANT = SearchAttributeKey.for_keyword("AgentTenant")
AGENT_STATUS = SearchAttributeKey.for_keyword("AgentStatus")
AGENT_AUDIENCE = SearchAttributeKey.for_keyword_list("AgentAudience")
AGENT_WAITING_SINCE = SearchAttributeKey.for_datetime("AgentWaitingSince")
AGENT_TURNS = SearchAttributeKey.for_int("AgentTurns")
AGENT_COST_USD = SearchAttributeKey.for_float("AgentCostUsd")

_KEYS: tuple[SearchAttributeKey[Any], ...] = (
    *(AGENT_NAME, AGENT_TENANT, AGENT_STATUS, AGENT_TURNS, AGENT_COST_USD, AGENT_AUDIENCE),
    AGENT_WAITING_SINCE,
)
SEARCH_ATTRIBUTES: Mapping[str, SearchAttributeIndexedValueType] = {
    key.name: key.indexed_value_type for key in _KEYS
}
"""All search attributes: their names, and the types that the namespace must give them."""


UNSEARCHABLE = frozenset('\\"')
"""Characters that no query can search for: servers read them differently."""


def query_literal(value: str, what: str) -> str:
    r"""Return a string literal of a visibility query; raises `BadRequest` for `\` and `"`.

    Servers read these two characters differently: with SQLite, the query finds nothing or fails.
    """
    if set(value) & UNSEARCHABLE:
        raise BadRequest(f'{what}: {value!r} cannot be searched for: it contains \\ or "')
    return "'" + value.replace("'", "''") + "'"
