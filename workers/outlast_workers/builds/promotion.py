"""The promotion of a build: wait for its workers, run the gates, ramp, make it current, drain the old one.

The state of a promotion is at the server: the routing of the deployment, and the gate runs. So a command
that was killed goes on when it is repeated, and a step that was held in part is held for the rest.
"""

import asyncio
import shlex
import time
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum

from temporalio.common import WorkerDeploymentVersion
from temporalio.service import RPCError, RPCStatusCode

from outlast.errors import OutlastError
from outlast_workers.builds.deployment import BuildStatus, Deployment, Routing, TaskQueue
from outlast_workers.builds.gate_runs import run_gate
from outlast_workers.builds.plan import ALL_PERCENT, Plan
from outlast_workers.builds.run_counts import RunCounts, count_open, count_runs

CHANGE_TIMEOUT_S = 30.0
"""Seconds in which the server accepts a change. It knows new task queues some seconds late."""

CHANGE_INTERVAL_S = 1.0

_REJECTIONS = {
    RPCStatusCode.FAILED_PRECONDITION,
    RPCStatusCode.INVALID_ARGUMENT,
    RPCStatusCode.NOT_FOUND,
    RPCStatusCode.ABORTED,
}

_DENIALS = {RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNAUTHENTICATED}

UNREADABLE_S = 120.0
"""Seconds that a step of a ramp goes on while Temporal does not answer: longer than a restart."""

Report = Callable[[str], None]


class StopCause(StrEnum):
    """Why a promotion stopped."""

    POLLERS = "pollers"
    GATE = "gate"
    FAILURE_RATE = "failure_rate"
    TOO_FEW_RUNS = "too_few_runs"
    CONFLICT = "conflict"
    """Somebody else changes the deployment."""
    REJECTED = "rejected"
    """The server rejects a change, for example because a task queue is missing."""


class PromotionStopped(OutlastError):
    """Raised when a build must not get more runs. The message says why."""

    def __init__(self, cause: StopCause, message: str) -> None:
        super().__init__(message)
        self.cause = cause


class Promotion:
    """One promotion of a build of a deployment."""

    def __init__(self, deployment: Deployment, plan: Plan, report: Report) -> None:
        self._deployment = deployment
        self._plan = plan
        self._report = report
        self.counts = RunCounts()
        """The runs on the build at the last reading, since its ramp began."""
        self._previous: str | None = None

    async def run(self) -> bool:
        """Promote the build, and return whether no older build drains any more.

        Raises `PromotionStopped`; then no new runs start on the build.
        """
        build_id = self._plan.build_id
        routing = await self._deployment.routing()
        if routing is not None and routing.current == build_id:
            self._report(f"{build_id} is current already")
            return await self._drain()
        self._previous = routing.current if routing is not None else ""
        try:
            await self._wait_for_pollers()
            await self._run_gates()
            await self._ramp()
            await self._send_share(ALL_PERCENT)
        except PromotionStopped as stop:
            raise PromotionStopped(stop.cause, f"{stop}. {await self._end_ramp()}") from None
        self._report(f"{build_id} is current: all new runs start on it")
        return await self._drain()

    async def _routing(self) -> Routing:
        routing = await self._deployment.routing()
        if routing is None:
            raise PromotionStopped(
                StopCause.POLLERS,
                f"the server knows no deployment {self._deployment.name!r}",
            )
        ramping = routing.ramping
        if ramping and ramping != self._plan.build_id:
            raise PromotionStopped(
                StopCause.CONFLICT,
                f"build {ramping!r} is ramping at {routing.percent:g} %: promote that one, or end its ramp"
                f" first: {_end_ramp_command(self._deployment, ramping)}",
            )
        if routing.current not in (self._previous, self._plan.build_id):
            raise PromotionStopped(
                StopCause.CONFLICT, f"somebody made build {routing.current!r} current meanwhile"
            )
        return routing

    async def _wait_for_pollers(self) -> None:
        deadline = time.monotonic() + self._plan.poller_timeout_s
        waits_for = ""
        while True:  # bounded by poller_timeout_s
            missing, polled = await self._missing_pollers()
            if not missing:
                self._report(f"workers poll {', '.join(map(str, sorted(polled)))}")
                return
            if time.monotonic() >= deadline:
                raise PromotionStopped(
                    StopCause.POLLERS,
                    f"after {self._plan.poller_timeout_s:g} s no worker of build {self._plan.build_id!r}"
                    f" polls {missing}: start its workers, or give --drop-queue for a queue"
                    " that the build no longer serves",
                )
            if missing != waits_for:
                self._report(f"waiting for a worker of {self._plan.build_id} that polls {missing}")
                waits_for = missing
            await asyncio.sleep(self._plan.interval_s)

    async def _missing_pollers(self) -> tuple[str, frozenset[TaskQueue]]:
        """Return the names of the queues without a worker of the build, and the queues with one."""
        polled = await self._deployment.polled_queues(self._plan.build_id)
        if not any(queue.kind == "workflow" for queue in polled):
            return "a queue of workflows", polled
        routing = await self._routing()
        needed = await self._deployment.queues(routing.current) if routing.current else frozenset()
        missing = {
            str(queue) for queue in needed - polled if queue.name not in self._plan.dropped_queues
        }
        missing |= self._plan.added_queues - {queue.name for queue in polled}
        return ", ".join(sorted(missing)), polled

    async def _run_gates(self) -> None:
        version = WorkerDeploymentVersion(self._deployment.name, self._plan.build_id)
        for gate in self._plan.gates:
            run_id = gate.run_id(version.deployment_name, version.build_id)
            self._report(f"gate {gate.agent}: run {run_id}")
            problem = await run_gate(
                self._deployment.client,
                gate,
                version,
                task_queue=self._plan.workflow_queue,
                timeout_s=self._plan.gate_timeout_s,
                report=self._report,
            )
            if problem is not None:
                raise PromotionStopped(StopCause.GATE, f"gate {gate.agent!r}: {problem}")
            self._report(f"gate {gate.agent}: completed")

    async def _ramp(self) -> None:
        for percent in self._plan.ramp:
            routing = await self._routing()
            if routing.current == self._plan.build_id:
                return
            if not routing.current:
                self._report("no build is current yet, so there is no ramp")
                return
            is_ramping = routing.ramping == self._plan.build_id
            if is_ramping and routing.percent > percent:
                continue  # an earlier command has held this step
            await self._send_share(percent)
            await self._hold(percent)

    async def _hold(self, percent: float) -> None:
        plan, routing = self._plan, await self._routing()
        before_s = (datetime.now(UTC) - routing.percent_since).total_seconds()
        began = time.monotonic() - min(max(before_s, 0.0), plan.hold_s)
        self._report(f"{percent:g} % of new runs start on {plan.build_id}")
        read = time.monotonic()
        while True:  # bounded by step_timeout_s, and by UNREADABLE_S
            held_s = time.monotonic() - began
            try:
                if await self._is_held(percent, held_s):
                    break
                read = time.monotonic()
            except RPCError:
                if time.monotonic() - read > UNREADABLE_S:
                    raise
            await asyncio.sleep(plan.interval_s)
        missing, _ = await self._missing_pollers()
        if missing:
            raise PromotionStopped(
                StopCause.POLLERS, f"no worker of {plan.build_id} polls {missing} any more"
            )
        self._report(f"{percent:g} %, {self.counts}")

    async def _is_held(self, percent: float, held_s: float) -> bool:
        """Read the state of a step, and return whether it is over."""
        plan, routing = self._plan, await self._routing()
        if routing.current == plan.build_id:
            return True  # a person made it current
        if routing.ramping != plan.build_id:
            raise PromotionStopped(StopCause.CONFLICT, "somebody ended the ramp of the build")
        await self._count(routing)
        has_enough = self.counts.ended >= plan.min_runs
        if held_s >= plan.step_timeout_s and not has_enough:
            raise PromotionStopped(
                StopCause.TOO_FEW_RUNS,
                f"{self.counts.ended} of {plan.min_runs} runs ended on {plan.build_id} within"
                f" {plan.step_timeout_s:g} s at {percent:g} %: lower --min-runs or raise --step-timeout",
            )
        return held_s >= plan.hold_s and has_enough

    async def _count(self, routing: Routing) -> None:
        """Count the runs on the build since its ramp began, and stop if too many failed."""
        deployment, plan = self._deployment, self._plan
        self.counts = await count_runs(
            deployment.client, deployment.name, plan.build_id, since=routing.ramping_since
        )
        if self.counts.exceeds(plan.max_failure_rate, plan.min_runs):
            raise PromotionStopped(
                StopCause.FAILURE_RATE,
                f"too many runs fail on {plan.build_id} ({self.counts}; the rate may be"
                f" {plan.max_failure_rate:g})",
            )

    async def _send_share(self, percent: float) -> None:
        """Send a share of new runs to the build; 100 percent makes it current.

        A change that failed is repeated: the server knows new task queues some seconds late, a change of
        somebody else makes ours outdated, and a change may have happened although its reply was lost.
        """
        deadline = time.monotonic() + CHANGE_TIMEOUT_S
        while True:  # bounded by CHANGE_TIMEOUT_S
            try:
                if await self._changed(await self._routing(), percent):
                    return
            except RPCError as error:
                if time.monotonic() >= deadline or error.status in _DENIALS:
                    if error.status not in _REJECTIONS:
                        raise
                    raise PromotionStopped(
                        StopCause.REJECTED, f"the server rejects {percent:g} %: {error.message}"
                    ) from None
            await asyncio.sleep(min(self._plan.interval_s, CHANGE_INTERVAL_S))

    async def _changed(self, routing: Routing, percent: float) -> bool:
        """Change the routing, or return whether it is as it should be."""
        build_id, deployment = self._plan.build_id, self._deployment
        token, ignore = routing.conflict_token, bool(self._plan.dropped_queues)
        if percent >= ALL_PERCENT:
            if routing.current != build_id:
                await deployment.make_current(build_id, token=token, ignore_missing=ignore)
            return routing.current == build_id
        is_set = routing.ramping == build_id and routing.percent == percent
        if not is_set:
            await deployment.ramp(build_id, percent, token=token, ignore_missing=ignore)
        return is_set

    async def _end_ramp(self) -> str:
        """End the ramp of the build, if there is one, and return a sentence that says so."""
        build_id, deadline = self._plan.build_id, time.monotonic() + CHANGE_TIMEOUT_S
        has_ended = False
        while True:  # bounded by CHANGE_TIMEOUT_S
            try:
                routing = await self._deployment.routing()
                if routing is None or routing.ramping != build_id:
                    share = (
                        "Its ramp is 0 % now: new runs start on"
                        if has_ended
                        else "New runs start on"
                    )
                    return f"{share} {(routing and routing.current) or 'no build'}"
                await self._deployment.ramp("", 0, token=routing.conflict_token)
                has_ended = True
            except RPCError as error:
                if time.monotonic() >= deadline or error.status in _DENIALS:
                    command = _end_ramp_command(self._deployment, build_id)
                    return f"Its ramp could not be ended ({error.message}): {command}"
                await asyncio.sleep(min(self._plan.interval_s, CHANGE_INTERVAL_S))

    async def _drain(self) -> bool:
        deadline = time.monotonic() + self._plan.drain_timeout_s
        while True:  # bounded by drain_timeout_s
            routing = await self._deployment.routing()
            builds = routing.builds if routing is not None else ()
            draining = [each.id for each in builds if each.status is BuildStatus.DRAINING]
            if not draining or time.monotonic() >= deadline:
                break
            await asyncio.sleep(self._plan.interval_s)
        for build_id in draining:
            count = await count_open(self._deployment.client, self._deployment.name, build_id)
            self._report(f"{build_id} is draining (open runs: {count}): keep its workers")
        return not draining


def _end_ramp_command(deployment: Deployment, build_id: str) -> str:
    return (
        f"temporal worker deployment set-ramping-version --deployment-name {shlex.quote(deployment.name)}"
        f" --build-id {shlex.quote(build_id)} --delete --yes"
    )
