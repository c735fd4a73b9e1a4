"""Idle exit: ends workers that have had nothing to do for a while, where waiting is paid for."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

import structlog
from temporalio.plugin import SimplePlugin
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    Interceptor,
    Worker,
    WorkerConfig,
)

LOOK_EVERY_S = 0.5
"""How late the end may be noticed."""

DEFAULT_WORKFLOW_TASKS = 500
"""As many threads as the SDK allows where nobody says."""

P = ParamSpec("P")
T = TypeVar("T")

log = structlog.get_logger("outlast.worker")


class IdleExit(SimplePlugin):
    """Ends the workers that it is given to when none of them has had a task for `after_s`.

    Activities in flight and workflow tasks are tasks; runs that are merely cached, or wait for a timer or
    a person, are not. One instance serves all workers of a process.
    """

    def __init__(self, after_s: float) -> None:
        self._after_s = after_s
        self._tasks = _Tasks()
        super().__init__("outlast.IdleExit", interceptors=[_CountedActivities(self._tasks)])

    def configure_worker(self, config: WorkerConfig) -> WorkerConfig:
        """Count what the worker runs: each activity, and each task of a workflow."""
        config = super().configure_worker(config)
        threads = config.get("max_concurrent_workflow_tasks") or DEFAULT_WORKFLOW_TASKS
        config["workflow_task_executor"] = _CountedThreads(self._tasks, threads)
        return config

    async def run_worker(self, worker: Worker, next: Callable[[Worker], Awaitable[None]]) -> None:  # noqa: A002 the SDK's signature
        """Run the worker until it ends, or shut it down when it is idle."""
        self._tasks.touch()
        ending = asyncio.create_task(self._end_when_idle(worker))
        try:
            await next(worker)
        finally:
            ending.cancel()
            # The SDK shuts down only the threads that it made itself.
            threads = worker.config(active_config=True).get("workflow_task_executor")
            if threads is not None:
                threads.shutdown(wait=False)

    async def _end_when_idle(self, worker: Worker) -> None:
        while (left_s := self._after_s - self._tasks.idle_s()) > 0:  # noqa: ASYNC110 tasks end in threads
            await asyncio.sleep(min(left_s, LOOK_EVERY_S))
        log.info("worker.idle", task_queue=worker.task_queue, idle_s=self._after_s)
        await worker.shutdown()


class _Tasks:
    """The tasks in flight, and when the last one began or ended; tasks of workflows end in threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running = 0
        self._touched = time.monotonic()

    def touch(self, change: int = 0) -> None:
        """Note that a task began (1) or ended (-1)."""
        with self._lock:
            self._running += change
            self._touched = time.monotonic()

    def idle_s(self) -> float:
        """Return for how long there has been none."""
        with self._lock:
            return 0 if self._running else time.monotonic() - self._touched


class _CountedActivities(Interceptor):
    def __init__(self, tasks: _Tasks) -> None:
        self._tasks = tasks

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        return _CountedActivity(next, self._tasks)


class _CountedActivity(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, tasks: _Tasks) -> None:  # noqa: A002
        super().__init__(next)
        self._tasks = tasks

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
        self._tasks.touch(1)
        try:
            return await super().execute_activity(input)
        finally:
            self._tasks.touch(-1)


class _CountedThreads(ThreadPoolExecutor):
    """Runs the tasks of workflows: the one place that sees each of them, sandboxed or not."""

    def __init__(self, tasks: _Tasks, max_workers: int) -> None:
        super().__init__(max_workers, thread_name_prefix="workflow")
        self._tasks = tasks

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        self._tasks.touch(1)
        future = super().submit(fn, *args, **kwargs)
        future.add_done_callback(lambda _: self._tasks.touch(-1))
        return future
