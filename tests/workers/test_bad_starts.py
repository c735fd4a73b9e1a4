"""A process that cannot start says why in one line: whatever a person typed, set or wrote."""

import asyncio
import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import httpx2
import pytest
from outlast_workers.__main__ import main
from outlast_workers.catalog import load_catalog
from outlast_workers.connection import connect
from outlast_workers.local import dev
from outlast_workers.local.ports import free_port
from outlast_workers.settings import Settings, load_settings
from outlast_workers.settings_sections.workers import RoutesSettings, SpecsSettings
from outlast_workers.start_warnings import unused_routes, warn_at_start
from pydantic import BaseModel
from structlog.testing import capture_logs

from outlast import Agent, Approval, Escalation, Leg, Route, tool
from outlast.errors import NotReady
from tests.stage import catalog_of


@pytest.fixture(autouse=True)
def isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Remove the variables and the working directory of the person who runs the tests."""
    for name in list(os.environ):
        if name.startswith(("OUTLAST_", "TEMPORAL_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def leaves(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, set[Any]]]:
    """Yield the path of each setting that is not a table, and the types in its annotation."""
    for name, field in model.model_fields.items():
        types = set(_types(field.annotation))
        sections = [
            kind for kind in types if isinstance(kind, type) and issubclass(kind, BaseModel)
        ]
        for section in sections:
            if get_origin(field.annotation) not in (dict, tuple):
                yield from leaves(section, f"{prefix}{name}__")
        if not sections and get_origin(field.annotation) not in (dict, tuple):
            yield f"{prefix}{name}".upper(), types


def _types(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    yield annotation
    for argument in get_args(annotation):
        yield from _types(argument)


LEAVES = dict(leaves(Settings))
NUMBERS = [name for name, types in LEAVES.items() if types & {int, float}]
URLS = [name for name in LEAVES if name.endswith("URL")]
HOSTS = [name for name in LEAVES if name.endswith("HOST")]

NEEDED = {
    "GATEWAY__OIDC": {"issuer": "https://login.example.com", "audience": "agents", "jwks_file": "x"}
}
"""Settings without which a table is rejected as a whole."""


def needed_beside(name: str) -> dict[str, str]:
    """Return what the table of a setting needs besides it."""
    section, _, key = name.rpartition("__")
    taken = {"jwks_file"} if key == "JWKS_URL" else set()
    return {other: value for other, value in NEEDED.get(section, {}).items() if other not in taken}


def test_the_settings_are_found() -> None:
    assert {"DRAIN_S", "MODEL__TIMEOUT_S", "HEALTH__PORT", "CONCURRENCY__TOOLS"} <= set(NUMBERS)
    assert {"MODEL__URL", "UI_URL", "CALLBACK__URL"} <= set(URLS)
    assert {"HEALTH__HOST", "CALLBACK__HOST", "DEMAND__HOST"} <= set(HOSTS)


@pytest.mark.parametrize(
    "value", ["inf", "-inf", "nan", "1e308", "1" + "0" * 30, "-1", "ten", "0x10", "1,5", "{}"]
)
@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_without_sense_is_refused_by_name(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for other, given in needed_beside(name).items():
        monkeypatch.setenv(f"OUTLAST_{name.rpartition('__')[0]}__{other.upper()}", given)
    monkeypatch.setenv(f"OUTLAST_{name}", value)
    with pytest.raises(NotReady, match=f"OUTLAST_{name}") as refused:
        load_settings()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "value",
    [
        *("http://127.0.0.1:99999/v1", "http://127.0.0.1:-1", "http://127.0.0.1:x", "http://:80"),
        *("http://[::1", "http://a b", "http://a\nb", "ftp://a", "http://", "http://user:pw@a/"),
        *("http://a:0", "http://\x00", "http:/a", "127.0.0.1:80", "http://a?b@c"),
    ],
)
@pytest.mark.parametrize("name", URLS)
def test_a_url_without_sense_is_refused_by_name(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    section, _, key = name.lower().rpartition("__")
    settings = {**needed_beside(name), key: value}
    lines = "\n".join(f"{each} = {json.dumps(given)}" for each, given in settings.items())
    table = f"[{section.replace('__', '.')}]\n" if section else ""
    (tmp_path / "outlast.toml").write_text(table + lines)
    with pytest.raises(NotReady, match="must ") as refused:
        load_settings()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("value", ["a b", "http://a", "a/b", "[::1", "a@b", "x" * 300, "..", "a?b"])
@pytest.mark.parametrize("name", HOSTS)
def test_a_host_without_sense_is_refused_by_name(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"OUTLAST_{name}", value)
    with pytest.raises(NotReady, match=f"OUTLAST_{name}: must be a host name"):
        load_settings()


@pytest.mark.parametrize("value", ["127.0.0.1", "10.0.0.1", "::1", "localhost", "a.example", "a_b"])
def test_a_host_is_accepted(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTLAST_HEALTH__HOST", value)
    assert load_settings().health.host == value


@pytest.mark.parametrize(
    "port", ["99999", "0", "-1", "x", "1.5", "65536", "1" * 5_000, "", "\u0661"]
)
@pytest.mark.parametrize("option", ["--port", "--ui-port", "--model-port", "--gateway-port"])
def test_a_port_without_sense_is_refused(
    option: str, port: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["dev", f"{option}={port}"])
    assert ended.value.code == 2
    assert "is not a port from 1 to 65535" in capsys.readouterr().err


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


@tool(effect="read", tool_class="gpu")
def find_hotel(city: str) -> str:
    """Find a hotel."""
    return city


CATALOG = catalog_of([Agent(name="trip", instructions="Plan.", tools=[find_hotel], model="small")])
ROUTE = Route(legs=(Leg(task_queue="q"),))


def test_a_route_that_nothing_uses_is_named() -> None:
    routes = RoutesSettings(
        tool={"find_hotl": ROUTE, "find_hotel": ROUTE},
        tool_class={"gpus": ROUTE, "gpu": ROUTE},
        model={"smal": ROUTE, "small": ROUTE},
    )
    assert list(unused_routes(Settings(routes=routes), CATALOG)) == [
        ("routes.tool.find_hotl", "did you mean 'find_hotel'?"),
        ("routes.tool_class.gpus", "did you mean 'gpu'?"),
        ("routes.model.smal", "did you mean 'small'?"),
    ]
    assert list(unused_routes(Settings(routes=routes, roles=("tools",)), CATALOG)) == []


@tool(
    effect="write",
    approval=Approval(audience="leads", escalate=(Escalation(audience="finance", after_s=9),)),
)
def refund(order_id: str) -> str:
    """Refund."""
    return order_id


def test_a_name_of_specs_that_matches_nothing_is_a_warning() -> None:
    catalog = catalog_of([Agent(name="desk", instructions="x", tools=[refund, find_hotel])])
    specs = SpecsSettings(
        tools=("refund", "find_hotl"), models=("any",), audiences=("leads", "finanse", "finance")
    )
    with capture_logs() as lines:
        warn_at_start(Settings(specs=specs), catalog)
    assert [(line["event"], line["setting"], line["name"], line["reason"]) for line in lines] == [
        (
            "specs.unknown_name",
            "specs.tools",
            "find_hotl",
            "is unknown here; did you mean 'find_hotel'?",
        ),
        (
            "specs.unknown_name",
            "specs.audiences",
            "finanse",
            "is unknown here; did you mean 'finance'?",
        ),
    ]
    disabled = specs.model_copy(update={"enabled": False})
    for quiet in (Settings(specs=disabled), Settings(specs=specs, roles=("tools",)), Settings()):
        with capture_logs() as lines:
            warn_at_start(quiet, catalog)
        assert lines == []


def test_a_worker_without_agents_warns() -> None:
    for roles, is_warned in ((("workflows",), True), (("generate",), False)):
        with capture_logs() as lines:
            warn_at_start(Settings.model_validate({"roles": roles}), catalog_of([]))
        assert [line["event"] for line in lines] == ["agents.missing"] * is_warned


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
