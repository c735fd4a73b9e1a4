"""`for`: its items one after the other, or several at the same time with partial results."""

import asyncio
from typing import Any

from pydantic import JsonValue
from temporalio import workflow

from outlast.pipelines.bounds import MAX_ITEMS
from outlast.pipelines.errors import EXPRESSION
from outlast.pipelines.jq.values import type_of
from outlast.pipelines.tasks import ForBody, MapOptions
from outlast_workflows.pipelines.evaluation import TaskData
from outlast_workflows.pipelines.scopes import Scopes
from outlast_workflows.pipelines.state import Cursor
from outlast_workflows.pipelines.strands import begin_strands, in_strand
from outlast_workflows.pipelines.task_errors import TaskError


async def run_for(scopes: Scopes, data: TaskData, body: ForBody, address: str) -> JsonValue:
    """Return the output of a `for`."""
    key = f"{address}.for"
    cursor = scopes.state.cursors.get(key)
    if cursor is None:
        cursor = scopes.state.cursors[key] = Cursor(
            data=data.input, items=_items(scopes, data, body)
        )
        if body.map is not None:
            cursor.strands = begin_strands(scopes.state)
    try:
        if body.map is not None:
            return await _Map(scopes, data, body, body.map, address, cursor).run()
        return await _in_turn(scopes, data, body, address, cursor)
    finally:
        scopes.forget(key)


def _items(scopes: Scopes, data: TaskData, body: ForBody) -> list[JsonValue]:
    items = scopes.evaluator.value(data, body.items)
    if not isinstance(items, list):
        raise TaskError(f"'for.in' is {type_of(items)}, not an array", type=EXPRESSION, status=400)
    if len(items) > MAX_ITEMS:
        raise TaskError(
            f"'for.in' has {len(items):,} items; at most {MAX_ITEMS:,} are allowed",
            type=EXPRESSION,
            status=400,
        )
    return items


async def _in_turn(
    scopes: Scopes, data: TaskData, body: ForBody, address: str, cursor: Cursor
) -> JsonValue:
    """Run the items one after the other: each gets the output of the one before."""
    while cursor.place < len(cursor.items):
        loop: dict[str, JsonValue] = {body.each: cursor.items[cursor.place], body.at: cursor.place}
        item_address = f"{address}.{cursor.place}"
        if body.condition is not None and item_address not in scopes.state.cursors:
            current = TaskData(
                data.task, {**data.variables, **loop}, data.raw_input, cursor.data, data.started_at
            )
            if not scopes.evaluator.is_true(current, body.condition):
                break
        output = await scopes.tasks(
            body.tasks, cursor.data, {**data.variables, **loop}, item_address
        )
        cursor.data = output
        cursor.place += 1
    return cursor.data


class _Map:
    """The items of one `for` that run at the same time."""

    def __init__(
        self,
        scopes: Scopes,
        data: TaskData,
        body: ForBody,
        options: MapOptions,
        address: str,
        cursor: Cursor,
    ) -> None:
        self._scopes = scopes
        self._data = data
        self._body = body
        self._options = options
        self._address = address
        self._cursor = cursor
        self._next = 0
        self._failure: BaseException | None = None

    async def run(self) -> JsonValue:
        """Return the outputs and errors of all items.

        Raises the first error of an item if none is tolerated, after the others have ended.
        """
        workers = [
            asyncio.ensure_future(self._work())
            for _ in range(min(self._options.concurrency, len(self._cursor.items)))
        ]
        try:
            await asyncio.gather(*workers)
        finally:
            await end_all(workers)
        return self._result()

    async def _work(self) -> None:
        """Run one item after the other, until none is left."""
        while self._next < len(self._cursor.items) and not self._has_stopped():
            index = self._next
            self._next += 1
            if index in self._cursor.outputs or index in self._cursor.errors:
                continue
            await self._item(index)

    def _has_stopped(self) -> bool:
        limit = self._options.stop_after
        return limit is not None and len(self._cursor.errors) >= limit

    async def _item(self, index: int) -> None:
        loop: dict[str, JsonValue] = {
            self._body.each: self._cursor.items[index],
            self._body.at: index,
        }
        variables = {**self._data.variables, **loop}
        address, strands = f"{self._address}.{index}", self._cursor.strands
        try:
            with in_strand(self._scopes.state, address, strands and f"{strands}{index}"):
                output = await self._scopes.tasks(
                    self._body.tasks, self._data.input, variables, address
                )
        except TaskError as error:
            if not self._options.is_tolerant:
                raise
            self._cursor.errors[index] = error.as_json()
        else:
            self._cursor.outputs[index] = output

    def _result(self) -> JsonValue:
        cursor = self._cursor
        outputs: list[JsonValue] = [cursor.outputs.get(n) for n in range(len(cursor.items))]
        errors: list[JsonValue] = [
            {"index": index, "error": cursor.errors[index]} for index in sorted(cursor.errors)
        ]
        return {
            "outputs": outputs,
            "errors": errors,
            "completed": len(cursor.outputs),
            "failed": len(cursor.errors),
            "skipped": len(cursor.items) - len(cursor.outputs) - len(cursor.errors),
        }


async def end_all(tasks: list["asyncio.Task[Any]"]) -> None:
    """Cancel the tasks that run, and wait until all have ended: no child is left behind."""
    for task in tasks:
        task.cancel()
    if tasks:
        await workflow.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # mark it as seen
