"""Idle exit: shuts workers down after some time without a task, for platforms that bill idle time."""

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

CHECK_INTERVAL_S = 0.5
"""Maximum delay of the shutdown."""

DEFAULT_WORKFLOW_TASKS = 500
"""The SDK's default number of threads for workflow tasks."""

P = ParamSpec("P")
T = TypeVar("T")

log = structlog.get_logger("outlast.worker")


class IdleExit(SimplePlugin):
    """Shuts its workers down when none of them has had a task for `after_s`.

    Running activities and workflow tasks count as tasks. Runs that are only cached, or wait for a timer or
    a person, do not count. Use one instance for all workers of a process.
    """

    def __init__(self, after_s: float) -> None:
        self._after_s = after_s
        self._tasks = _Tasks()
        super().__init__("outlast.IdleExit", interceptors=[_CountedActivities(self._tasks)])

    def configure_worker(self, config: WorkerConfig) -> WorkerConfig:
        """Count the tasks of the worker: each activity, and each workflow task."""
        config = super().configure_worker(config)
        threads = config.get("max_concurrent_workflow_tasks") or DEFAULT_WORKFLOW_TASKS
        config["workflow_task_executor"] = _CountedThreads(self._tasks, threads)
        return config

    async def run_worker(self, worker: Worker, next: Callable[[Worker], Awaitable[None]]) -> None:  # noqa: A002 the SDK's signature
        """Run the worker until it ends, and shut it down when it is idle."""
        self._tasks.record()
        ending = asyncio.create_task(self._end_when_idle(worker))
        try:
            await next(worker)
        finally:
            ending.cancel()
            # The SDK shuts down only an executor that it created itself.
            threads = worker.config(active_config=True).get("workflow_task_executor")
            if threads is not None:
                threads.shutdown(wait=False)

    async def _end_when_idle(self, worker: Worker) -> None:
        while (left_s := self._after_s - self._tasks.idle_s()) > 0:  # noqa: ASYNC110 tasks end in threads
            await asyncio.sleep(min(left_s, CHECK_INTERVAL_S))
        log.info("worker.idle", task_queue=worker.task_queue, idle_s=self._after_s)
        await worker.shutdown()


class _Tasks:
    """The number of running tasks, and the last start or end of one. Workflow tasks end in threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running = 0
        self._changed_at = time.monotonic()

    def record(self, change: int = 0) -> None:
        """Record that a task started (1) or ended (-1)."""
        with self._lock:
            self._running += change
            self._changed_at = time.monotonic()

    def idle_s(self) -> float:
        """Return the seconds without a task, 0 while one is running."""
        with self._lock:
            return 0 if self._running else time.monotonic() - self._changed_at


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
        self._tasks.record(1)
        try:
            return await super().execute_activity(input)
        finally:
            self._tasks.record(-1)


class _CountedThreads(ThreadPoolExecutor):
    """Runs workflow tasks. This is the only place that sees all of them, sandboxed or not."""

    def __init__(self, tasks: _Tasks, max_workers: int) -> None:
        super().__init__(max_workers, thread_name_prefix="workflow")
        self._tasks = tasks

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        self._tasks.record(1)
        future = super().submit(fn, *args, **kwargs)
        future.add_done_callback(lambda _: self._tasks.record(-1))
        return future
