"""The refund desk under each profile of deploy/routes/: nothing differs but the settings file.

Real server, real worker processes, each polling the queues of one target; the model is scripted. The
queue that served each step is printed: `make test-long ARGS="-k profile -s"`.
"""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from difflib import unified_diff
from itertools import pairwise
from pathlib import Path

import pytest
import pytest_asyncio
from outlast_workers.local.ports import free_port
from outlast_workers.local.servers import TemporalServer
from outlast_workers.settings import load_settings
from pydantic import JsonValue
from temporalio.api.enums.v1 import EventType

from bench.scripted_model_server import Request, ScriptedModelServer, Step
from outlast import Client
from outlast.client.runs import Run
from outlast.testing import answer, call
from tests.acceptance.processes import ROOT, WorkerUnderTest
from tests.stage import pending

ROUTES = ROOT / "deploy" / "routes"

TARGETS = {
    "kubernetes": {"OUTLAST_QUEUES__GENERATE": "generate-gpu", "OUTLAST_QUEUES__TOOLS": "tools"},
    "serverless": {
        "OUTLAST_QUEUES__GENERATE": "generate-serverless",
        "OUTLAST_QUEUES__TOOLS": "tools-serverless",
    },
}
"""What the workers of a target poll."""

PROFILES = {
    "serverless": ["serverless"],
    "kubernetes": ["kubernetes"],
    "hybrid": ["kubernetes", "serverless"],
}
"""The targets that have workers under each profile."""

RESOLUTION: dict[str, JsonValue] = {
    "refunded": True,
    "message": "We refunded 39.90 USD for your order A-1042.",
}

TURNS = (
    call("order_status", order_id="A-1042"),
    call("refund", order_id="A-1042", amount_usd=39.90),
    answer(RESOLUTION),
)


def desk(request: Request) -> Step:
    """Say what a good model says at each turn of the refund desk."""
    return Step(json.dumps(TURNS[request.assistant_messages]))


@pytest_asyncio.fixture(scope="module")
async def site(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[tuple[TemporalServer, ScriptedModelServer]]:
    temporal = TemporalServer(log_dir=tmp_path_factory.mktemp("site"), port=free_port())
    async with temporal, ScriptedModelServer(desk) as model:
        yield temporal, model


@asynccontextmanager
async def served(
    profile: str,
    targets: list[str],
    site: tuple[TemporalServer, ScriptedModelServer],
    log_dir: Path,
) -> AsyncIterator[Client]:
    """Start the workers of a profile, each in a process of its own."""
    temporal, model = site
    workers = {"workflows": {"OUTLAST_ROLES": "workflows"}}
    workers |= {name: {"OUTLAST_ROLES": "generate,tools", **TARGETS[name]} for name in targets}
    async with AsyncExitStack() as running:
        for name, settings in workers.items():
            worker = WorkerUnderTest(
                address=temporal.address,
                model_url=model.url,
                agents="outlast_examples.refund_desk",
                log=log_dir / f"{name}.log",
                settings={"OUTLAST_CONFIG": str(ROUTES / f"{profile}.toml"), **settings},
            )
            await worker.start()
            running.push_async_callback(worker.terminate)
        yield await Client.connect(target_host=temporal.address)


async def steps(run: Run, client: Client) -> list[tuple[str, str]]:
    """Return each step of a run with the queue that served it, in the order of their ends."""
    scheduled, served_by = {}, []
    history = await client.temporal.get_workflow_handle(run.id).fetch_history()
    for event in history.events:
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
            scheduled[event.event_id] = event.activity_task_scheduled_event_attributes
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
            done = event.activity_task_completed_event_attributes
            step = scheduled[done.scheduled_event_id]
            served_by.append((step.activity_type.name, step.task_queue.name))
    return served_by


@pytest.mark.timeout(90)
@pytest.mark.parametrize("profile", PROFILES)
async def test_the_refund_desk_runs_under_every_profile_with_nothing_changed_but_the_settings(
    profile: str, site: tuple[TemporalServer, ScriptedModelServer], tmp_path: Path
) -> None:
    first = TARGETS[PROFILES[profile][0]]
    generate, tools = first["OUTLAST_QUEUES__GENERATE"], first["OUTLAST_QUEUES__TOOLS"]
    async with served(profile, PROFILES[profile], site, tmp_path) as client:
        run = await client.start("refund-desk", "My order A-1042 arrived broken.")
        await run.approve(await pending(run))
        result = await run.result()
        taken = [step for step in await steps(run, client) if step[0] != "resolve_agent"]
    for what, task_queue in taken:
        print(f"{profile:12} {what:14} {task_queue}")
    assert (result.status, result.output) == ("completed", RESOLUTION)
    assert [step for step in taken if step[0] != "notify"] == [
        ("generate", generate),
        ("order_status", tools),
        ("generate", generate),
        ("refund", tools),
        ("generate", generate),
    ]


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_says_nothing_but_routes_and_names_queues_of_the_targets(profile: str) -> None:
    settings = load_settings(ROUTES / f"{profile}.toml")
    assert settings.model_fields_set == {"routes"}
    for role, variable in (
        ("generate", "OUTLAST_QUEUES__GENERATE"),
        ("tools", "OUTLAST_QUEUES__TOOLS"),
    ):
        route = getattr(settings.routes, role)
        polled = [TARGETS[target][variable] for target in PROFILES[profile]]
        assert [leg.task_queue for leg in route.legs] == polled


def moves() -> str:
    """Return what changes from profile to profile, as docs/compute.md shows it."""
    shown = []
    for old, new in pairwise(PROFILES):
        before, after = (ROUTES / f"{name}.toml" for name in (old, new))
        lines = unified_diff(
            before.read_text().splitlines(),
            after.read_text().splitlines(),
            f"deploy/routes/{old}.toml",
            f"deploy/routes/{new}.toml",
            lineterm="",
        )
        shown.append("\n".join(("```diff", *lines, "```")))
    return "\n\n".join(shown)


def test_the_moves_in_the_docs_are_those_between_the_files() -> None:
    page = (ROOT / "docs" / "compute.md").read_text()
    shown = page.partition("<!-- moves:begin -->")[2].partition("<!-- moves:end -->")[0]
    assert shown.strip() == moves()
