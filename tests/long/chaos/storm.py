"""A storm from its beginning to its end: processes, runs, the monkey, and what is known afterwards."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from sys import executable

from outlast_workers.local.ports import free_port
from outlast_workflows.agent import AgentWorkflow
from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause
from temporalio.client import Client as TemporalClient
from temporalio.client import WorkflowExecutionStatus, WorkflowHistory
from temporalio.worker import Replayer

from bench.tables import Table
from outlast import Client, OutlastPlugin, RunFailed
from outlast.errors import RunNotFound
from outlast.temporal.server_errors import QueryRejected
from tests.long.chaos.driver import Driver, insist
from tests.long.chaos.invariants import (
    KINDS,
    Outcome,
    Storm,
    Violation,
    repeats_with_one_key,
    violations,
)
from tests.long.chaos.ledger import PORT_VARIABLE, ledger, read_arrivals
from tests.long.chaos.mix import PlannedRun
from tests.long.chaos.monkey import Fault, Monkey
from tests.long.chaos.processes import MortalTemporal, Supervised, worker
from tests.long.chaos.proxy import Proxy
from tests.long.chaos.robot import Robot

WORKERS = 3
EVENTS_A_RUN = 90
"""Events after which the server suggests to continue as new."""

STILL_S = 60.0
"""A run hangs if neither it nor any other run has a new event for so long after the last fault. The product
waits for nothing longer: 10 s for a heartbeat, 30 s for a model that asks for a pause."""

CALM_S = 600.0
"""How long after the last fault every run must have ended, however slow this machine is."""

LOOK_S = 3.0
READ_WITHIN_S = 60.0
AT_ONCE = 8

BAD_CAUSES = (
    WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_NON_DETERMINISTIC_ERROR,
    WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_WORKFLOW_WORKER_UNHANDLED_FAILURE,
)
"""Causes that no fault of the monkey explains."""

_TOKEN = re.compile(r"say-[0-9]+-[0-9]+")


@dataclass
class Report:
    """What a storm did and found."""

    storm: Storm
    violations: list[Violation]
    faults: Counter[str]
    statuses: Counter[str] = field(default_factory=Counter)
    executions: int = 0
    exit_statuses: Counter[int] = field(default_factory=Counter)

    def tables(self) -> list[Table]:
        kinds = Counter(one.kind for one in self.violations)
        effects = [one for one in self.storm.arrivals if one.kind == "effect"]
        undone = [one for one in self.storm.arrivals if one.kind == "undo"]
        votes = [vote for some in self.storm.votes.values() for vote in some]
        facts = {
            "runs": len(self.storm.driven),
            "workflows": len(self.storm.outcomes),
            "executions": self.executions,
            **{f"{status} workflows": count for status, count in sorted(self.statuses.items())},
            "effects": len(effects),
            "compensations": len(undone),
            "repeats with one key": repeats_with_one_key(self.storm.arrivals),
            "decisions": len(votes),
            "messages accepted": sum(
                len(one.answers) + len(set(one.accepted)) for one in self.storm.driven
            ),
        }
        return [
            Table("Faults", ["fault", "times"], [[*each] for each in sorted(self.faults.items())]),
            Table("What happened", ["", "count"], [[*each] for each in facts.items()]),
            Table("Invariants", ["violation", "count"], [[kind, kinds[kind]] for kind in KINDS]),
        ]


class StormSite:
    """The processes of a storm."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = AsyncExitStack()
        self.ledger_port = free_port()
        self.ledger_file = folder / "ledger.jsonl"
        self.workers: list[Supervised] = []
        self.proxies: list[Proxy] = []

    async def open(self, *, seed: int) -> None:
        """Start everything, workers last."""
        enter = self._stack.enter_async_context
        await enter(ledger(self.ledger_file, self.ledger_port))
        self.temporal = MortalTemporal(log_dir=self._folder, port=free_port(), events=EVENTS_A_RUN)
        await enter(self.temporal.running())
        model_port = free_port()
        command = [executable, "-m", "tests.long.chaos.model", "--port", str(model_port)]
        self.model = Supervised("model", [*command, "--seed", str(seed)], {}, self._folder)
        await enter(self.model)
        temporal_port = int(self.temporal.address.rpartition(":")[2])
        for target in (temporal_port, model_port):
            self.proxies.append(await enter(Proxy(port=free_port(), target=target)))
        for number in range(WORKERS):
            self.workers.append(await enter(self._worker(number)))
        self.temporal_client = await TemporalClient.connect(
            self.temporal.address, plugins=[OutlastPlugin()]
        )
        self.client = Client(self.temporal_client)

    def _worker(self, number: int) -> Supervised:
        return worker(
            f"worker-{number}",
            temporal=self.proxies[0].port,
            model=self.proxies[1].port,
            log_dir=self._folder,
            agents="tests.long.chaos.agents",
            environment={PORT_VARIABLE: str(self.ledger_port)},
        )

    async def close(self) -> None:
        await self._stack.aclose()

    def monkey(self) -> Monkey:
        return Monkey(self.workers, self.model, self.temporal, self.proxies)


async def blow(
    folder: Path, runs: Sequence[PlannedRun], faults: Sequence[Fault], *, seed: int
) -> Report:
    """Blow a storm over runs, wait for its end and return what is known of it."""
    site = StormSite(folder)
    try:
        await site.open(seed=seed)
        driver, robot, monkey = (
            Driver(site.client),
            Robot(site.client, site.ledger_port),
            site.monkey(),
        )
        async with robot.at_work():
            driving = [asyncio.create_task(driver.drive(planned)) for planned in runs]
            await monkey.strike(faults)
            outcomes = await _outcomes(site.client, driving, runs)
            report = await _report(site, driver, robot, outcomes)
        report.faults = monkey.done
    finally:
        await site.close()
    for one in site.workers:
        report.exit_statuses.update(one.statuses)
    return report


async def _outcomes(
    client: Client, driving: list[asyncio.Task[None]], runs: Sequence[PlannedRun]
) -> dict[str, Outcome]:
    """Wait until all runs have ended, or hang; then cancel what still drives them."""
    await _calm(client.temporal, driving)
    until = asyncio.get_running_loop().time() + READ_WITHIN_S
    for task in driving:
        task.cancel()
    errors = [one for one in await asyncio.gather(*driving, return_exceptions=True) if one]
    for error in errors:
        if not isinstance(error, asyncio.CancelledError):
            raise error
    ids = [planned.id for planned in runs]
    ended = await asyncio.gather(*(_outcome(client, run_id, until) for run_id in ids))
    return dict(zip(ids, ended, strict=True))


async def _calm(client: TemporalClient, driving: list[asyncio.Task[None]]) -> None:
    """Wait until no run is open, or until none has had a new event for `STILL_S`."""
    seen: dict[str, int] = {}
    still_since = began = asyncio.get_running_loop().time()
    while True:
        await asyncio.sleep(LOOK_S)
        now = asyncio.get_running_loop().time()
        lengths = await _open_lengths(client)
        if lengths != seen:
            seen, still_since = lengths, now
        is_over = not lengths and all(task.done() for task in driving)
        if is_over or now - still_since > STILL_S or now - began > CALM_S:
            return


async def _open_lengths(client: TemporalClient) -> dict[str, int]:
    """Return the lengths of the histories of all open runs, by execution."""
    lengths = {}
    async for execution in client.list_workflows("ExecutionStatus = 'Running'"):
        handle = client.get_workflow_handle(execution.id, run_id=execution.run_id)
        lengths[execution.run_id] = (await handle.describe()).history_length
    return lengths


async def _outcome(client: Client, run_id: str, until: float) -> Outcome:
    left = max(5.0, until - asyncio.get_running_loop().time())
    try:
        async with asyncio.timeout(left):
            result = await insist(client.get(run_id).result, try_s=left)
    except RunFailed as error:
        return Outcome(run_id, "failed", failure_type=error.cause_type, message=error.message)
    except TimeoutError:
        return Outcome(run_id, "hung", message=await _pending(client, run_id))
    except RunNotFound:
        return Outcome(run_id, "lost")
    return Outcome(run_id, result.status, result)


async def _pending(client: Client, run_id: str) -> str:
    """Return what a run that does not end waits for."""
    described = await client.temporal.get_workflow_handle(run_id).describe()
    raw = described.raw_description
    activities = [
        f"{one.activity_id} {one.activity_type.name} attempt {one.attempt}: {one.last_failure.message}"
        for one in raw.pending_activities
    ]
    attempt = raw.pending_workflow_task.attempt
    return f"workflow task attempt {attempt}, activities {activities}"


async def _report(
    site: StormSite, driver: Driver, robot: Robot, outcomes: dict[str, Outcome]
) -> Report:
    ends = {ended.id for ended in [one async for one in site.temporal_client.list_workflows()]}
    children = sorted(ends - set(outcomes))
    until = asyncio.get_running_loop().time() + READ_WITHIN_S
    for child in children:
        outcomes[child] = await _outcome(site.client, child, until)
    messages = {
        one.planned.id: await _tokens(site.client, one.planned.id)
        for one in driver.driven
        if one.planned.says and one.started
    }
    storm = Storm(
        driver.driven, outcomes, read_arrivals(site.ledger_file), dict(robot.votes), messages
    )
    histories = [one async for one in _histories(site.temporal_client)]
    found = [*violations(storm), *_bad_tasks(histories), *await _replayed(histories)]
    statuses = Counter(str(outcome.status) for outcome in outcomes.values())
    return Report(storm, found, Counter(), statuses, executions=len(histories))


async def _tokens(client: Client, run_id: str) -> list[str]:
    """Return the tokens of the messages in a conversation's transcript, in order."""

    async def look() -> list[str]:
        entries = await client.get(run_id).transcript()
        return [
            token
            for entry in entries
            if entry.role == "user" and entry.content
            for token in _TOKEN.findall(entry.content)
        ]

    for _ in range(5):
        try:
            return await insist(look)
        except QueryRejected:
            await asyncio.sleep(1)
    return []


async def _histories(client: TemporalClient) -> AsyncIterator[WorkflowHistory]:
    async for execution in client.list_workflows():
        if execution.status is WorkflowExecutionStatus.RUNNING:
            continue
        handle = client.get_workflow_handle(execution.id, run_id=execution.run_id)
        yield await handle.fetch_history()


def _bad_tasks(histories: Sequence[WorkflowHistory]) -> list[Violation]:
    found = []
    for history in histories:
        for event in history.events:
            failed = event.workflow_task_failed_event_attributes
            is_failed = event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
            if is_failed and failed.cause in BAD_CAUSES:
                detail = failed.failure.message[:200]
                found.append(Violation("failed workflow task", history.workflow_id, detail))
    return found


async def _replayed(histories: Sequence[WorkflowHistory]) -> list[Violation]:
    replayer = Replayer(workflows=[AgentWorkflow], plugins=[OutlastPlugin()])
    found = []
    for history in histories:
        result = await replayer.replay_workflow(history, raise_on_replay_failure=False)
        if result.replay_failure is not None:
            detail = str(result.replay_failure)[:200]
            found.append(Violation("history does not replay", history.workflow_id, detail))
    return found
