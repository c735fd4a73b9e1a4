"""`fork`: branches at the same time. With `compete`, the first that completes wins."""

import asyncio

from pydantic import JsonValue
from temporalio import workflow

from outlast.pipelines.tasks import ForkBody, TaskList
from outlast_workflows.pipelines.evaluation import TaskData
from outlast_workflows.pipelines.loops import end_all
from outlast_workflows.pipelines.scopes import Scopes
from outlast_workflows.pipelines.state import Cursor
from outlast_workflows.pipelines.strands import begin_strands, in_strand
from outlast_workflows.pipelines.task_errors import TaskError


async def run_fork(scopes: Scopes, data: TaskData, body: ForkBody, address: str) -> JsonValue:
    """Return the outputs of all branches in their order, or the output of the branch that wins.

    If a branch fails, the others are cancelled, and its error is raised. With `compete`, a branch that
    fails loses, and the error is raised if all fail.
    """
    key = f"{address}.fork"
    cursor = scopes.state.cursors.get(key)
    if cursor is None:
        cursor = scopes.state.cursors[key] = Cursor(strands=begin_strands(scopes.state))
    branches = [
        asyncio.ensure_future(_branch(scopes, data, body, f"{address}.{number}", number, cursor))
        for number in range(len(body.branches.tasks))
    ]
    try:
        if body.compete:
            return await _first(branches, cursor)
        await asyncio.gather(*branches)
        return [cursor.outputs[number] for number in range(len(branches))]
    finally:
        await end_all(branches)
        scopes.forget(key)


async def _branch(
    scopes: Scopes, data: TaskData, body: ForkBody, address: str, number: int, cursor: Cursor
) -> None:
    if number not in cursor.outputs:
        branch = TaskList((body.branches.tasks[number],))
        with in_strand(scopes.state, address, cursor.strands and f"{cursor.strands}{number}"):
            output = await scopes.tasks(branch, data.input, data.variables, address)
        cursor.outputs[number] = output


async def _first(branches: list["asyncio.Task[None]"], cursor: Cursor) -> JsonValue:
    left = list(branches)
    failure: BaseException | None = None
    while left:
        done, _ = await workflow.wait(left, return_when=asyncio.FIRST_COMPLETED)
        for number, branch in enumerate(branches):
            if branch not in done:
                continue
            error = branch.exception()
            if error is None:
                return cursor.outputs[number]
            if not isinstance(error, TaskError):
                raise error
            failure = error
        left = [branch for branch in left if branch not in done]
    raise failure or TaskError("no branch completed")
