"""What the READMEs of the serverless targets tell people, tried on a real server where it can be."""

from pathlib import Path

import pytest
from outlast_workers.local.ports import free_port
from outlast_workers.local.servers import TemporalServer

from tests.deploy.placeholders import BUILD_ID
from tests.deploy.readmes import commands, made, ran
from tests.deploy.tools import ROOT

README_OF = {
    target: ROOT / "deploy" / target / "README.md"
    for target in ("azure", "cloudrun", "lambda", "modal")
}
START = "From nothing to a run"

VERSION = ("--deployment-name", "outlast", "--build-id", BUILD_ID)

CONTROLLER = ("workercontroller.enabled=true",)
"""Without it a version is made by a worker that polls it, and by no command."""


def teardown(target: str) -> list[list[str]]:
    return commands(README_OF[target], "temporal", "Teardown")


@pytest.mark.parametrize("target", README_OF)
def test_every_target_is_torn_down_by_the_same_commands(target: str) -> None:
    assert teardown(target) == teardown("azure")


async def test_a_current_version_whose_workers_are_forgotten_is_torn_down(tmp_path: Path) -> None:
    async with TemporalServer(
        log_dir=tmp_path, port=free_port(), dynamic_config=CONTROLLER
    ) as temporal:
        await made(temporal.address, "create", "--name", "outlast")
        # As if its workers had polled, and the server had forgotten them, which takes it 5 minutes.
        await made(temporal.address, "set-current-version", *VERSION, "--allow-no-pollers", "--yes")
        for command in teardown("azure"):
            status, output = await ran(command, temporal.address)
            assert status == 0, output
        status, output = await ran(
            ["temporal", "worker", "deployment", "describe", "--name", "outlast"], temporal.address
        )
    assert status != 0
    assert "no Worker Deployment found" in output or "not found" in output


@pytest.mark.parametrize("target", ["azure", "cloudrun", "modal"])
def test_a_first_run_waits_for_the_queues_of_both_kinds_of_workers(target: str) -> None:
    listed = commands(README_OF[target], "temporal", START)
    assert [command[3] for command in listed] == [
        "describe-version",
        "set-current-version",
        "--type",
    ]


def test_both_kinds_of_workers_are_started_once_where_demand_starts_them() -> None:
    jobs = commands(README_OF["azure"], "az containerapp job start", START)
    assert [job[-1] for job in jobs] == [f"outlast-cpu-{BUILD_ID}", f"outlast-gpu-{BUILD_ID}"]
    functions = commands(README_OF["modal"], "modal run", START)
    named = [word.partition("::")[2] for command in functions for word in command if "::" in word]
    assert named == ["fetch_weights", "worker", "GpuWorker.serve"]
