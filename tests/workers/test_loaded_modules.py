"""What each program imports, and what it leaves alone. The modules are compared, because times differ."""

import asyncio
import os
import sys
from pathlib import Path

import pytest
from temporalio.client import Client

from bench.scripted_model_server import ScriptedModelServer, turns

ROOT = Path(__file__).parent.parent.parent

WORKER_LIBRARIES = frozenset(
    {
        "httpx2",
        "jinja2",
        "jsonschema",
        "opentelemetry",
        "outlines",
        "pydantic_settings",
        "starlette",
    }
    | {"structlog", "uvicorn", "uvloop", "joserfc", "cryptography", "openai"}
)

CLIENT_PROGRAMS = [
    # (arguments of Python, what it does not load besides the libraries of workers)
    (
        ("-c", "import outlast"),
        {"temporalio", "pydantic", "outlast.agents", "outlast.client"},
    ),
    (
        ("-c", "from outlast import Agent, ToolError, tool"),
        {
            "temporalio.client",
            "temporalio.worker",
            "outlast.client",
            "outlast.temporal.plugin",
        },
    ),
    (
        ("-c", "from outlast import Client"),
        {"outlast.agents", "outlast.terminal"},
    ),
    (("-m", "outlast.terminal.cli", "--help"), {"temporalio.client", "outlast.client"}),
    (
        ("-m", "outlast.terminal.cli", "run", "--help"),
        {"temporalio.client", "outlast.client"},
    ),
]

SIGNATURES = {"joserfc", "cryptography"}
WEB_SERVER = {"starlette", "uvicorn"}
OUTLINES = {"outlines", "jsonschema", "jinja2"}
MODELS = {"outlast_activities.providers.chat_completions"}
PIPELINES = {"outlast_workflows.pipelines.execution", "outlast.pipelines.tasks"}
HTTP_APIS = {"outlast.agents.openapi.openapi_tools"}
GATEWAYS = {"outlast_workers.answer_publisher"}
UNUSED = {"openai", "grpc", *SIGNATURES, *WEB_SERVER, *PIPELINES, *HTTP_APIS, *GATEWAYS}
UNUSED |= {"outlast_workers.plan.workload"}
"""No worker needs these before its first pipeline, without audiences with keys, health endpoint, tools of
HTTP APIs and gateways."""

FLOWS, TOOLS = {"outlast_workflows.agent"}, {"outlast_activities.tool_activity"}
NO_FLOWS = {"outlast_workflows"}
WORKERS = [
    # (roles, API of the model server, what the worker loads, what it does not load)
    ("workflows", None, FLOWS, MODELS | OUTLINES | UNUSED),
    ("tools", None, TOOLS, NO_FLOWS | MODELS | OUTLINES | UNUSED),
    ("generate", "openai-chat", MODELS, NO_FLOWS | OUTLINES | UNUSED),
    ("generate", "vllm", MODELS | OUTLINES, NO_FLOWS | UNUSED),
    ("workflows,generate,tools", "openai-chat", FLOWS | MODELS, OUTLINES | UNUSED),
]

REPORT = "import sys; print('loaded', *sorted(sys.modules))"
AT_EXIT = f"import atexit; atexit.register(lambda: exec({REPORT!r}))"
WORKER = "from outlast.terminal.cli import run_command; run_command(['worker', *sys.argv[1:]])"


async def loaded_by(*arguments: str, **environment: str) -> set[str]:
    """Return the modules of a Python program when it ends."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *arguments),
        env={**os.environ, **environment},
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        output, log = await process.communicate()
    last = output.decode().splitlines()[-1:]
    assert last, log.decode()
    assert last[0].startswith("loaded "), output.decode() + log.decode()
    return set(last[0].split()[1:])


@pytest.mark.parametrize(
    ("arguments", "unneeded"), CLIENT_PROGRAMS, ids=[" ".join(row[0]) for row in CLIENT_PROGRAMS]
)
async def test_a_client_loads_what_it_uses(arguments: tuple[str, ...], unneeded: set[str]) -> None:
    option, program, *words = arguments
    code = (
        program
        if option == "-c"
        else f"import runpy; runpy.run_module({program!r}, None, '__main__')"
    )
    loaded = await loaded_by("-c", f"{AT_EXIT}; {code}", *words)

    assert not loaded & (WORKER_LIBRARIES | unneeded)


@pytest.mark.parametrize(
    ("roles", "api", "needed", "unneeded"), WORKERS, ids=[f"{row[0]}-{row[1]}" for row in WORKERS]
)
async def test_a_worker_loads_what_its_roles_use(
    temporal: Client, roles: str, api: str | None, needed: set[str], unneeded: set[str]
) -> None:
    if api == "vllm":
        pytest.importorskip("outlines", reason="it has no release for this Python")
    options = ["--roles", roles, "--agents", "tests.acceptance.agents", "--idle-exit", "0.1"]
    async with ScriptedModelServer(turns(1)) as model:
        if api is not None:
            options += ["--model-url", model.url, "--api", api]
        loaded = await loaded_by(
            *("-c", f"import sys; {WORKER}; {REPORT}", "run", *options),
            TEMPORAL_ADDRESS=temporal.service_client.config.target_host,
        )

    assert needed | {"uvloop"} <= loaded
    assert not loaded & unneeded
