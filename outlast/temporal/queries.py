"""Queries of a run, which are sent again if they reach a worker just before the next task of the run."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from temporalio.client import WorkflowHandle, WorkflowQueryFailedError
from temporalio.common import QueryRejectCondition

EARLY_EVENTS = "the run is about to go on: repeat the query"
"""Why a query fails that brought events of a workflow task that has not started: see `query_guard`."""

EARLY_QUERY_TRIES = 20
EARLY_QUERY_RETRY_S = 0.2
"""Such a query is sent again for about four seconds. A free worker starts the task in milliseconds."""


async def query(
    handle: WorkflowHandle[Any, Any],
    name: str,
    arguments: Sequence[Any] = (),
    *,
    rpc_timeout: timedelta,
    result_type: Any = None,
    reject_condition: QueryRejectCondition | None = None,
) -> Any:
    """Return the result of a query. Raises the errors of the SDK."""
    attempt = 1
    while True:  # bounded by EARLY_QUERY_TRIES
        try:
            return await handle.query(
                name,
                args=arguments,
                result_type=result_type,
                rpc_timeout=rpc_timeout,
                reject_condition=reject_condition,
            )
        except WorkflowQueryFailedError as error:
            if error.message != EARLY_EVENTS or attempt >= EARLY_QUERY_TRIES:
                raise
        attempt += 1
        await asyncio.sleep(EARLY_QUERY_RETRY_S)
