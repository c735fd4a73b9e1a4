"""A process that cannot start says why in one line: whatever a person typed or wrote."""

import asyncio
import os
import socket
import sys
from pathlib import Path

import httpx2
import pytest
from outlast_workers.__main__ import main
from outlast_workers.catalog import load_catalog
from outlast_workers.connection import connect
from outlast_workers.local import dev
from outlast_workers.local.ports import free_port
from outlast_workers.settings import Settings, load_settings
from outlast_workers.worker_process import run_process

from outlast.errors import NotReady

pytestmark = pytest.mark.usefixtures("isolated")


@pytest.mark.parametrize(
    "options",
    [
        ["run", "--idle-exit", "inf"],
        ["run", "--idle-exit", "nan"],
        ["run", "--health-port", "99999"],
        ["run", "--model-url", "http://127.0.0.1:99999/v1"],
        ["run", "--model-url", "not a url"],
        ["run", "--roles", "chef"],
        ["run", "--roles", "tools,tools"],
        ["run", "--config", "/nowhere/outlast.toml"],
        ["run", "--config", "/"],
    ],
)
def test_an_option_that_cannot_be_used_is_one_line(
    options: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asyncio, "run", lambda _: pytest.fail("the worker starts"))
    assert main(options) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("outlast: ")


@pytest.mark.parametrize(
    "options",
    [
        ["run", "--model-url", "not a url"],
        ["run", "--agents", "a.py"],
        ["run", "--agents", "a-b"],
        ["dev", "--state", "/proc/nothing/here"],
        ["dev", "--state", "file"],
        ["dev", "--state", "file/below"],
    ],
)
async def test_a_start_that_cannot_succeed_is_one_line(options: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    if options[0] == "dev":
        ports = ("--port", str(free_port()), "--ui-port", str(free_port()), "--no-gateway")
        options = [*options, *ports, "--model-url", "http://127.0.0.1:1/v1"]
    assert "outlast: " in await one_line(*options)


@pytest.mark.parametrize("address", ["127.0.0.1:99999", "a b:1", "[::1", "127.0.0.1:x", ":7233"])
async def test_an_address_without_sense_is_refused(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", address)
    with pytest.raises(NotReady, match="TEMPORAL_ADDRESS") as refused:
        await connect()
    assert "could be reached" not in str(refused.value)


@pytest.mark.parametrize("address", ["not an address", "\u202e:1"])
async def test_a_worker_with_an_address_without_sense_ends_at_once(address: str) -> None:
    line = await one_line("run", "--roles", "workflows", TEMPORAL_ADDRESS=address)
    assert "TEMPORAL_ADDRESS" in line
    assert "could be reached" not in line


async def one_line(*options: str, **variables: str) -> str:
    """Run a worker that cannot start, and return the only line that is not a log line."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "outlast_workers", *options),
        env={**os.environ, "OUTLAST_LOG_FORMAT": "json", **variables},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await asyncio.wait_for(process.communicate(), 90)
    lines = [line for line in errors.decode().splitlines() if not line.startswith("{")]
    assert len(lines) == 1, lines
    assert process.returncode == 1
    return lines[0]


MODULES = {
    "raises": ("1 / 0", r"importing it fails \(raises.py, line 1\): ZeroDivisionError"),
    "exits": ("import sys\nsys.exit(3)", r"importing it fails \(exits.py, line 2\): SystemExit: 3"),
    "syntax": ("def (", r"importing it fails \(syntax.py, line 1\): SyntaxError"),
    "nul": ("x = '\\ud800'\nraise ValueError(x)", "importing it fails"),
    "lines": ("raise ValueError('a\\nb')", "ValueError: a b"),
    "needs": ("import no_such_package", r"it imports 'no_such_package'.*\(needs.py, line 1\)"),
    "names": ("from outlast import nothing", "ImportError"),
    "empty": ("", "defines no Agent"),
    "assertion": ("assert False", "AssertionError"),
    "recursion": ("def f(): f()\nf()", "RecursionError"),
    "long": ("raise ValueError('x' * 100_000)", "ValueError"),
    "interrupts": ("raise StopIteration", "StopIteration"),
}


WRONG_ARGUMENTS = {
    "positional": (
        "Approval('leads', 2)",
        "Approval takes keyword arguments only: Approval(audience='leads', quorum=2)",
    ),
    "unknown": (
        "AgentRequest(agnt='desk')",
        "AgentRequest: unknown field 'agnt'; did you mean 'agent'?",
    ),
    "required": ("Approval()", "ValidationError: Approval: audience: is required"),
    "types": (
        "Limits(max_turns='many')",
        "ValidationError: Limits: max_turns: 'many': input should be a valid integer",
    ),
    "agent": (
        "Agent('a', instruction='x')",
        " argument 'instruction'; did you mean 'instructions'?",
    ),
    "function": ("handoff(None, nme='x')", " argument 'nme'; did you mean 'name'?"),
    "dataclass": ("McpServer('issues')", "MCP server 'issues': "),
    "option": ("tool(efect='write')", "@tool: unknown option 'efect'; did you mean 'effect'?"),
}


@pytest.mark.parametrize("name", WRONG_ARGUMENTS)
def test_a_wrong_argument_is_one_line_with_its_place(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, reason = WRONG_ARGUMENTS[name]
    module = f"wrong_{name}"
    (tmp_path / f"{module}.py").write_text(f"from outlast import *\n\n{source}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(NotReady) as refused:
        load_catalog([module])
    assert reason in str(refused.value)
    assert f"({module}.py, line 3)" in str(refused.value)
    assert "\n" not in str(refused.value)
    sys.modules.pop(module, None)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_that_cannot_be_imported_is_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, reason = MODULES[name]
    (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(NotReady, match=reason) as refused:
        load_catalog([name])
    assert str(refused.value).startswith(f"--agents {name}: ")
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 600
    sys.modules.pop(name, None)


@pytest.mark.parametrize("name", ["no_such_module", "no.such.module", "outlast.nothing"])
def test_a_module_that_does_not_exist_says_where_it_was_looked_for(
    name: str, tmp_path: Path
) -> None:
    with pytest.raises(NotReady, match="looked in the current folder") as refused:
        load_catalog([name])
    assert str(tmp_path) in str(refused.value)


@pytest.mark.parametrize("name", ["calendar", "json", "outlast"])
def test_a_module_that_hides_ones_own_is_shown_with_its_file(name: str) -> None:
    with pytest.raises(NotReady, match=r"defines no Agent and no @tool \(.*\.py\)"):
        load_catalog([name])


async def test_a_worker_needs_the_build_of_its_deployment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_DEPLOYMENT_NAME", "shop")
    settings = load_settings()  # `outlast worker builds` needs no more
    assert settings.versioning.deployment_name == "shop"
    with pytest.raises(NotReady, match="workers of the deployment 'shop' need a build id too"):
        await run_process(settings, stop=asyncio.Event())


async def test_dev_serves_its_gateway_while_the_model_server_is_down(tmp_path: Path) -> None:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "outlast_workers", "dev", "--state", str(tmp_path)),
        *("--port", str(free_port()), "--ui-port", str(free_port()), "--gateway-port", str(port)),
        *("--model-url", "http://127.0.0.1:1/v1"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    async with asyncio.timeout(90):
        shown = (await process.stdout.readuntil(b"outlast: waits for the model")).decode()
    file = tmp_path / "gateway-token"
    assert file.stat().st_mode & 0o777 == 0o600
    bearer = {"authorization": f"Bearer {file.read_text().strip()}"}
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        listed = await client.get("/agents", headers=bearer)
        rejected = await client.get("/agents")
    process.terminate()
    await process.communicate()
    assert "Web UI     http://127.0.0.1:" in shown
    assert f"Gateway    http://127.0.0.1:{port}" in shown
    assert "Stop       Ctrl-C" in shown
    assert "refund-desk" in {each["agent"] for each in listed.json()["agents"]}
    assert rejected.status_code == 401
    assert process.returncode == 0


async def test_dev_names_the_options_for_a_gateway_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = await one_line("dev", "--state", str(tmp_path), "--gateway-port", str(port))
    assert f"port {port} is taken (by another gateway?)" in line
    assert "--no-gateway" in line


async def test_dev_that_cannot_start_beside_its_gateway_is_one_line(tmp_path: Path) -> None:
    ports = ("--port", "--ui-port", "--gateway-port")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        line = await one_line(
            *("dev", "--state", str(tmp_path), "--model-url", "http://127.0.0.1:1/v1"),
            *(word for port in ports for word in (port, str(free_port()))),
            *("--health-port", str(taken.getsockname()[1])),
        )
    assert "set health.port" in line


async def test_dev_says_that_it_waits_for_the_model_server(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dev, "WAIT_NOTICE_S", 0.01)
    settings = Settings.model_validate({"model": {"url": "http://127.0.0.1:1/v1"}})
    ready = asyncio.Event()
    waiting = asyncio.create_task(dev.print_wait(settings, ready, "addresses\n"))
    async with asyncio.timeout(30):
        while "waits for the model server at http://127.0.0.1:1/v1" not in capsys.readouterr().out:
            await asyncio.sleep(0.01)
    ready.set()
    await asyncio.wait_for(waiting, 30)
