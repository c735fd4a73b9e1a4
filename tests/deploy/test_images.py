"""The images of `deploy/`: their files, and the result of the same steps on this machine."""

import asyncio
import importlib.metadata
import os
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from outlast_workers.local.ports import free_port
from outlast_workers.local.servers import TemporalServer
from outlast_workers.serverless import vllm_container
from temporalio.client import Client as TemporalClient

from bench.scripted_model_server import ScriptedModelServer, Steps
from outlast import Client
from outlast.contracts.search_attributes import SEARCH_ATTRIBUTES
from outlast.temporal.plugin import OutlastPlugin
from tests.conftest import binary
from tests.deploy import tools
from tests.deploy.dockerfiles import Rehearsal, copied, stages
from tests.deploy.vllm import page_engine, starts_as_the_page_says

ROOT = tools.ROOT
IMAGES = ROOT / "deploy" / "images"
WORKER = IMAGES / "worker.Dockerfile"
DOCKERFILES = sorted({*(ROOT / "deploy").rglob("*Dockerfile")})
SCRIPTS = sorted((ROOT / "deploy").rglob("*.sh"))

pytestmark = pytest.mark.timeout(300)  # the image is made within one of the tests

BUILD_ID = "b1"
USER = 10001
STARTS_WITHIN_S = 60.0
ENDS_WITHIN_S = 60.0

FINAL = [(WORKER, "worker"), (WORKER, "embedded"), (IMAGES / "vllm.Dockerfile", "")]


def ids(file: Path) -> str:
    return str(file.relative_to(ROOT))


@pytest.mark.parametrize("file", DOCKERFILES, ids=ids)
def test_hadolint_finds_nothing(file: Path) -> None:
    done = tools.run("hadolint", file)
    assert done.returncode == 0, done.stdout
    assert done.stdout == ""


@pytest.mark.parametrize("file", SCRIPTS, ids=ids)
def test_shellcheck_finds_nothing(file: Path) -> None:
    done = tools.run("shellcheck", file)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("file", [WORKER, IMAGES / "vllm.Dockerfile"], ids=ids)
def test_base_images_are_pinned_to_a_whole_version(file: Path) -> None:
    named = {stage.name for stage in stages(file)}
    bases = {stage.base for stage in stages(file)} - named
    assert bases
    for base in bases:
        assert re.search(r":v?\d+\.\d+\.\d+", base), base


@pytest.mark.parametrize(("file", "name"), FINAL, ids=["worker", "embedded", "vllm"])
def test_an_image_runs_without_root_and_has_a_health_check(file: Path, name: str) -> None:
    every = {stage.name: stage for stage in stages(file)}
    chain = [every[name]]
    while chain[0].base in every:
        chain.insert(0, every[chain[0].base])
    instructions = [instruction for stage in chain for instruction in stage.instructions]
    users = [rest for word, rest in instructions if word == "USER"]
    entries = [rest for word, rest in instructions if word == "ENTRYPOINT"]
    assert users[-1] == "10001:10001"
    assert entries[-1].startswith("[")  # else a shell has process id 1, and swallows SIGTERM
    assert any(word == "HEALTHCHECK" for word, _ in instructions)
    assert any(rest == "TEMPORAL_WORKER_BUILD_ID=$BUILD_ID" for _, rest in instructions)


@pytest.mark.parametrize("file", [WORKER, IMAGES / "vllm.Dockerfile"], ids=ids)
def test_the_files_that_an_image_copies_exist_and_are_in_the_context(file: Path) -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    let_in = [line[1:] for line in lines if line.startswith("!")]
    for stage in stages(file):
        for sources, _ in copied(stage):
            for source in sources:
                assert (ROOT / source).exists(), source
                assert any(source == kept or source.startswith(f"{kept}/") for kept in let_in), (
                    source
                )


SYSTEM_LIBRARIES = {
    *("libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1"),
    *("libgcc_s.so.1", "libstdc++.so.6", "libz.so.1"),
}
"""What a minimal Debian 13 with Python has (`ldconfig -p`), of the libraries that wheels use."""

LIBRARY_OF = {"libgomp1": "libgomp.so.1"}
"""The libraries of the packages that a Dockerfile installs."""


@pytest.mark.skipif(sys.platform != "linux", reason="the wheels of Linux")
@pytest.mark.parametrize(("name", "lock"), [("worker", "runtime"), ("embedded", "embedded")])
def test_an_image_has_the_libraries_that_its_packages_load(name: str, lock: str) -> None:
    every = {stage.name: stage for stage in stages(WORKER)}
    installed = set(re.findall(r"lib\w+\d\b", " ".join(every[name].all("RUN"))))
    has = SYSTEM_LIBRARIES | {LIBRARY_OF[package] for package in installed}
    packages = re.findall(
        r"^([\w.-]+)==", (ROOT / "requirements" / f"{lock}.txt").read_text(), re.MULTILINE
    )
    needs = {library for package in packages for library in loaded_by(package)}
    assert needs
    assert needs - has == set()


def loaded_by(package: str) -> set[str]:
    """Return the libraries of the system that the wheel of a package loads."""
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError:  # of another platform
        return set()
    modules = [str(file.locate()) for file in files if ".so" in file.name]
    if not modules:
        return set()
    done = subprocess.run(["ldd", *modules], stdout=subprocess.PIPE, text=True, check=True)
    found = re.findall(r"^\s+(\S+) => (\S+)", done.stdout, re.MULTILINE)
    return {library for library, place in found if not place.startswith(sys.prefix)}


def test_the_context_excludes_files_by_default() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert next(line for line in lines if not line.startswith("#")) == "*"
    assert "**/.env" in lines


def reachable(python: Path) -> bool:
    """Whether any user may start a program."""
    every = [python.resolve(), *python.resolve().parents]
    return all(part.stat().st_mode & stat.S_IXOTH for part in every)


def interpreter() -> Path:
    """Return a Python that user 10001 may start, where there is one."""
    usual = Path(sys.executable).resolve()
    found = [usual, Path("/usr/bin/python3")]
    return next((python for python in found if python.exists() and reachable(python)), usual)


@pytest.fixture(scope="module")
def image() -> Iterator[Rehearsal]:
    """The stages of the worker image, carried out in a folder that everybody may read."""
    with tempfile.TemporaryDirectory(prefix="outlast-image-") as folder:
        Path(folder).chmod(0o755)
        rehearsal = Rehearsal(
            Path(folder) / "root", python=interpreter(), arguments={"BUILD_ID": BUILD_ID}
        )
        every = {stage.name: stage for stage in stages(WORKER)}
        for name in ("build", "application", "worker"):
            rehearsal.carry_out(every[name])
        yield rehearsal


def as_user(python: Path) -> list[str]:
    """Return what makes a command run as the user of the image, where this machine can."""
    if os.geteuid() != 0 or not reachable(python) or shutil.which("setpriv") is None:
        return []
    return ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--no-new-privs"]


@asynccontextmanager
async def running(
    image: Rehearsal, log: Path, **environment: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the image's entry point and command, as its user, who owns nothing of the tree."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *as_user(interpreter()),
            *image.command("outlast", "worker", "run"),
            cwd=image.root / "app",
            env={**image.environment, "HOME": "/nonexistent", **environment},
            stdout=output,
            stderr=output,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def healthy(image: Rehearsal, environment: dict[str, str]) -> bool:
    """Run the image's health check."""
    process = await asyncio.create_subprocess_exec(
        *image.command("python", "-m", "outlast_workers.healthcheck"),
        cwd=image.root / "app",
        env={**image.environment, **environment},
        stderr=asyncio.subprocess.DEVNULL,
    )
    return await process.wait() == 0


def set_up(address: str) -> str:
    """Run the script that compose runs beside a new server, with its own command line."""
    done = subprocess.run(
        ["/bin/sh", ROOT / "deploy" / "compose" / "temporal-setup.sh"],
        env={
            "PATH": f"{Path(binary('temporal')).parent}:/usr/bin:/bin",
            "TEMPORAL_ADDRESS": address,
            "BUILD_ID": BUILD_ID,
        },
        timeout=60,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


async def test_the_steps_of_the_image_make_a_worker_that_serves_a_run(
    image: Rehearsal, tmp_path: Path
) -> None:
    answers = Steps(
        '{"tool_calls":[{"tool":"read_licence","arguments":{"package":"pydantic"}}]}',
        '{"tool_calls":[{"tool":"read_metadata","arguments":{"package":"pydantic"}}]}',
        '{"answer":{"licence":"MIT","purpose":"Validation.","risk":"low","recommendation":"adopt"}}',
    )
    temporal = TemporalServer(log_dir=tmp_path, port=free_port())
    async with temporal, ScriptedModelServer(answers) as model:
        await asyncio.to_thread(set_up, temporal.address)
        variables = {
            "TEMPORAL_ADDRESS": temporal.address,
            "OUTLAST_AGENTS": "outlast_examples.dependency_review",
            "OUTLAST_MODEL__URL": model.url,
            "OUTLAST_HEALTH__PORT": str(free_port()),
        }
        log = tmp_path / "worker.log"
        async with running(image, log, **variables) as process:
            async with asyncio.timeout(STARTS_WITHIN_S):
                while not await healthy(image, variables):
                    assert process.returncode is None, log.read_text()
                    await asyncio.sleep(0.2)
            client = await TemporalClient.connect(temporal.address, plugins=[OutlastPlugin()])
            run = await Client(client).start("dependency-review", "pydantic")
            async with asyncio.timeout(STARTS_WITHIN_S):
                result = await run.result()
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(ENDS_WITHIN_S):
                assert await process.wait() == 0, log.read_text()
            assert not await healthy(image, variables)
        described = await client.get_workflow_handle(run.id).describe()
    assert result.status == "completed"
    info = described.raw_description.workflow_execution_info
    assert info.worker_deployment_name == "outlast"
    assert BUILD_ID in info.versioning_info.deployment_version.build_id


async def test_the_set_up_of_a_server_may_be_repeated(tmp_path: Path) -> None:
    temporal = TemporalServer(log_dir=tmp_path, port=free_port())
    async with temporal:
        await asyncio.to_thread(set_up, temporal.address)
        await asyncio.to_thread(set_up, temporal.address)


def test_the_set_up_creates_the_search_attributes_of_the_workers() -> None:
    script = (ROOT / "deploy" / "compose" / "temporal-setup.sh").read_text().replace("\\\n", " ")
    created: dict[str, str] = {}
    for line in re.findall(r"search-attribute create (.*)", script):
        kind = re.search(r"--type (\w+)", line)
        assert kind
        created |= dict.fromkeys(re.findall(r"--name (\w+)", line), kind[1].upper())
    expected = {name: kind.name.replace("_", "") for name, kind in SEARCH_ATTRIBUTES.items()}
    assert created == expected


FAKE_VLLM = """#!{python}
import pathlib, signal, sys, time
log = pathlib.Path("{log}")
def stop(*_):
    with log.open("a") as out: out.write("vllm stopped\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
with log.open("a") as out: out.write("vllm " + " ".join(sys.argv[1:]) + "\\n")
time.sleep({lives_s})
sys.exit(7)
"""

FAKE_WORKER = """
import pathlib, signal, sys, time
log = pathlib.Path("{log}")
def stop(*_):
    with log.open("a") as out: out.write("worker stopping\\n")
    time.sleep(0.3)
    with log.open("a") as out: out.write("worker ended\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
with log.open("a") as out: out.write("worker " + " ".join(sys.argv[1:]) + "\\n")
time.sleep({lives_s})
sys.exit({status})
"""


class VllmContainer:
    """The entry point of the vLLM image, with a fake vLLM and a fake worker that log what happens."""

    def __init__(self, folder: Path, *, vllm_s: float = 60, worker_s: float = 60, status: int = 0):
        self.log = folder / "log"
        shutil.copy(vllm_container.__file__, folder)
        vllm = folder / "vllm"
        vllm.write_text(FAKE_VLLM.format(python=sys.executable, log=self.log, lives_s=vllm_s))
        vllm.chmod(0o755)
        (folder / "outlast_workers").mkdir()
        (folder / "outlast_workers" / "__init__.py").touch()
        worker = FAKE_WORKER.format(log=self.log, lives_s=worker_s, status=status)
        (folder / "outlast_workers" / "__main__.py").write_text(worker)
        self._process = subprocess.Popen(
            [sys.executable, folder / "vllm_container.py", "a-model", "--max-model-len", "4096"],
            cwd=folder,  # where the worker finds the fake
            env={"PATH": f"{folder}:/usr/bin:/bin"},
        )

    async def terminate(self) -> None:
        """Send SIGTERM when both run."""
        async with asyncio.timeout(20):
            while not self.log.exists() or len(self.lines()) < 2:
                await asyncio.sleep(0.05)
        self._process.terminate()

    async def status(self) -> int:
        return await asyncio.to_thread(self._process.wait, 20)

    def lines(self) -> list[str]:
        return self.log.read_text().splitlines()


async def test_the_worker_drains_before_vllm_is_stopped(tmp_path: Path) -> None:
    container = VllmContainer(tmp_path)
    await container.terminate()
    assert await container.status() == 0
    assert sorted(container.lines()[:2]) == [
        "vllm serve a-model --max-model-len 4096 --host 127.0.0.1 --port 8000",
        "worker run",
    ]
    assert container.lines()[2:] == ["worker stopping", "worker ended", "vllm stopped"]


async def test_the_end_of_vllm_ends_the_worker_and_the_container(tmp_path: Path) -> None:
    container = VllmContainer(tmp_path, vllm_s=1)
    assert await container.status() == 1
    assert container.lines()[2:] == ["worker stopping", "worker ended"]


@pytest.mark.parametrize("status", [0, 3])
async def test_the_end_of_the_worker_ends_vllm(tmp_path: Path, status: int) -> None:
    container = VllmContainer(tmp_path, worker_s=1, status=status)
    assert await container.status() == status
    assert container.lines()[2:] == ["vllm stopped"]


def test_the_example_of_the_page_starts_vllm_as_the_page_of_generation_says() -> None:
    page = (ROOT / "deploy" / "images" / "README.md").read_text()
    (command,) = re.findall(r"^docker run --gpus .+?(?=\n```)", page, re.DOTALL | re.MULTILINE)
    words = shlex.split(command.replace("\\\n", " "))
    assert starts_as_the_page_says(words)
    assert f"OUTLAST_MODEL__ENGINE={page_engine()}" in words
