"""`try`: catches errors, retries with a delay, and runs the handler."""

from datetime import timedelta

from pydantic import JsonValue
from temporalio import workflow

from outlast.pipelines.errors import TIMEOUT
from outlast.pipelines.tasks import Catch, RetryPolicy, TryBody
from outlast_workflows.pipelines.evaluation import TaskData
from outlast_workflows.pipelines.scopes import Scopes
from outlast_workflows.pipelines.state import Cursor
from outlast_workflows.pipelines.task_errors import TaskError
from outlast_workflows.time_limits import time_limit

MAX_DELAY = timedelta(days=30)
"""The longest delay before a retry."""


async def run_try(scopes: Scopes, data: TaskData, body: TryBody, address: str) -> JsonValue:
    """Return the output of the tasks, or of the handler after an error that it catches."""
    key = f"{address}.try"
    cursor = scopes.state.cursors.setdefault(key, Cursor(began_at=workflow.now()))
    try:
        return await _Try(scopes, data, body, address, cursor).run()
    finally:
        scopes.forget(key)


class _Try:
    """One `try` under way. `cursor.place` counts its retries."""

    def __init__(
        self, scopes: Scopes, data: TaskData, body: TryBody, address: str, cursor: Cursor
    ) -> None:
        self._scopes = scopes
        self._data = data
        self._body = body
        self._address = address
        self._cursor = cursor

    async def run(self) -> JsonValue:
        """Try until the tasks complete, or no retry is left."""
        catch = self._body.catch
        while self._cursor.error is None:  # bounded by the limit of the retry policy
            try:
                return await self._attempt()
            except TaskError as error:
                found = error.as_json()
                if not self._is_caught(catch, found):
                    raise
                delay = self._delay(found)
                if delay is None:
                    if catch.tasks is None and catch.retry is not None:
                        raise
                    self._cursor.error = found
                    break
            self._cursor.place += 1
            if delay > timedelta(0):
                await self._scopes.wait(
                    delay, f"retries {self._data.task.name}", f"{self._address}.delay"
                )
        if catch.tasks is None:
            return self._data.input
        variables = {**self._data.variables, catch.name: self._cursor.error}
        return await self._scopes.tasks(
            catch.tasks, self._data.input, variables, f"{self._address}.catch"
        )

    async def _attempt(self) -> JsonValue:
        retry = self._body.catch.retry
        limit = retry.attempt_limit if retry else None
        tasks = self._scopes.tasks(
            self._body.tasks, self._data.input, self._data.variables, f"{self._address}.attempt"
        )
        if limit is None:
            return await tasks
        within = self._scopes.evaluator.duration(self._data, limit).total_seconds()
        try:
            async with time_limit(within, f"timeout of an attempt of {self._data.task.name}"):
                return await tasks
        except TimeoutError:
            raise TaskError(
                f"an attempt took longer than {within:g} s", type=TIMEOUT, status=408
            ).at(self._data.task.place) from None

    def _is_caught(self, catch: Catch, error: dict[str, JsonValue]) -> bool:
        if any(error.get(name) != value for name, value in catch.filter.items()):
            return False
        return self._applies(catch, error)

    def _applies(self, rule: Catch | RetryPolicy, error: dict[str, JsonValue]) -> bool:
        evaluate, named = self._scopes.evaluator, {self._body.catch.name: error}
        if rule.when is not None and not evaluate.is_true(self._data, rule.when, **named):
            return False
        return rule.except_when is None or not evaluate.is_true(
            self._data, rule.except_when, **named
        )

    def _delay(self, error: dict[str, JsonValue]) -> timedelta | None:
        """Return the delay before the next attempt, or None if there is none."""
        retry, evaluate = self._body.catch.retry, self._scopes.evaluator
        if retry is None or not self._applies(retry, error) or self._cursor.place >= retry.count:
            return None
        named = {self._body.catch.name: error}
        delay = evaluate.duration(self._data, retry.delay, **named)
        delay = backed_off(delay, retry.backoff, self._cursor.place)
        if retry.jitter is not None:
            least, most = (evaluate.duration(self._data, each, **named) for each in retry.jitter)
            delay += least + (most - least) * workflow.random().random()
        delay = min(delay, MAX_DELAY)
        if retry.limit is not None and self._cursor.began_at is not None:
            passed = workflow.now() - self._cursor.began_at
            if passed + delay > evaluate.duration(self._data, retry.limit, **named):
                return None
        return delay


def backed_off(delay: timedelta, backoff: str, retries: int) -> timedelta:
    """Return the delay after some retries, at most `MAX_DELAY`."""
    factors = {"linear": retries + 1, "exponential": 2.0**retries}
    # In seconds: the doublings of a day are soon more than a `timedelta` can be.
    seconds = delay.total_seconds() * factors.get(backoff, 1)
    return timedelta(seconds=min(seconds, MAX_DELAY.total_seconds()))
