"""The demo and the kept stack, as a person at a terminal runs them: real server, real model."""

import asyncio
import json
import shlex
import signal
import socket
import sys
from pathlib import Path

import pytest
from outlast_workers.local.ports import free_port

from outlast import Client
from tests.acceptance.processes import ROOT

pytestmark = pytest.mark.timeout(150)


async def outlast_command(*arguments: str, log: Path) -> asyncio.subprocess.Process:
    with log.open("wb") as output:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "outlast_workers",
            *arguments,
            cwd=ROOT,
            stdout=output,
            stderr=output,
        )


async def logged(log: Path, words: str, within_s: float = 60) -> str:
    async with asyncio.timeout(within_s):
        while words not in log.read_text():
            await asyncio.sleep(0.1)
    return log.read_text()


async def test_the_demo_runs_two_agents_to_their_typed_answers(tmp_path: Path) -> None:
    log = tmp_path / "demo.log"
    demo = await outlast_command("demo", log=log)
    status = await asyncio.wait_for(demo.wait(), 140)
    output = log.read_text()
    assert status == 0, output
    assert '"licence": "MIT"' in output
    assert "--name decide" in output
    assert output.index("calls refund(") < output.index("--name decide")
    assert output.count("completed after") == 2
    assert "refund → " in output


async def test_runs_outlive_the_stack_that_they_began_on(tmp_path: Path) -> None:
    port, ui_port, model_port = free_port(), free_port(), free_port()
    options = (
        *("dev", "--port", str(port), "--ui-port", str(ui_port)),
        *("--model-port", str(model_port), "--gateway-port", str(free_port())),
        *("--state", str(tmp_path)),
    )
    log = tmp_path / "dev.log"
    dev = await outlast_command(*options, log=log)
    assert f"http://127.0.0.1:{ui_port}" in await logged(log, "Ctrl-C stops everything")
    client = await Client.connect(target_host=f"127.0.0.1:{port}")
    run = await client.start("refund-desk", "My order A-1042 arrived broken.")
    async for _ in run.stream():
        break  # the run has begun
    dev.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(dev.wait(), 60) == 0
    assert "runs continue after the next start" in log.read_text()
    dev = await outlast_command(*options, log=log)
    await logged(log, "Ctrl-C stops everything")
    async with asyncio.timeout(60):
        while not (requests := await run.pending_requests()):
            await asyncio.sleep(0.5)
    await run.approve(requests[0].request_id)
    assert (await run.result()).status == "completed"
    dev.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(dev.wait(), 60) == 0


async def test_a_printed_command_starts_a_run_whose_text_is_streamed(tmp_path: Path) -> None:
    ports = ("--port", "--ui-port", "--model-port", "--gateway-port")
    options = [word for name in ports for word in (name, str(free_port()))]
    log = tmp_path / "dev.log"
    agents = ("--agents", "tests.long.gateway.chat_agents")
    dev = await outlast_command("dev", *options, *agents, "--state", str(tmp_path), log=log)
    printed = await logged(log, "Ctrl-C stops everything")
    (curl,) = (line for line in printed.splitlines() if line.strip().startswith("curl "))
    words = [word.replace("\u2026", "Say hello.") for word in shlex.split(curl)]
    started = json.loads(await output_of(*words))
    url = words[2] + f"/{started['id']}/events"
    events = await output_of("curl", "-sN", url, *words[3:5])
    texts = [json.loads(line[6:]) for line in events.splitlines() if line.startswith("data: ")]
    text = ""
    for event in texts:
        text = "" if event["type"] == "text_reset" else text
        text += event["text"] if event["type"] == "text" else ""
    (answer,) = (event["answer"] for event in texts if event["type"] == "answer")
    assert text == answer
    dev.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(dev.wait(), 60) == 0


async def output_of(*words: str) -> str:
    process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    return output.decode()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "--agents", "no.such.module"), "--agents no.such.module: no module 'no' on"),
        (("run", "--roles", "generate"), "the role 'generate' needs a model server"),
        (("run", "--roles", "chef"), "roles"),
        (("dev", "--port", "{taken}"), "port {taken} is taken (by another Temporal server?)"),
        (("dev", "--port", "{free}", "--model-file", "README.md"), "is not a GGUF model file"),
        (("run", "--config", "no.toml"), "no.toml: cannot be read: No such file"),
    ],
)
async def test_what_cannot_start_says_in_one_line_what_to_do(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    taken = socket.create_server(("127.0.0.1", 0))
    names = {"taken": taken.getsockname()[1], "free": free_port()}
    log = tmp_path / "log"
    words = [word.format(**names) for word in arguments]
    extra = ["--state", str(tmp_path)] if words[0] == "dev" else []
    if words[0] == "dev":
        extra += ["--ui-port", str(free_port()), "--model-port", str(free_port()), "--no-gateway"]
    process = await outlast_command(*words, *extra, log=log)
    assert await asyncio.wait_for(process.wait(), 60) == 1
    taken.close()
    (line,) = [
        line
        for line in log.read_text().splitlines()
        if line.startswith("outlast: ") and "starting" not in line
    ]
    assert message.format(**names) in line
