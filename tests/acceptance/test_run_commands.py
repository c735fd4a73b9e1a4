"""`outlast run`, `watch`, `cancel` and `chat` on a real server, run as a person would run them."""

import asyncio
import json
import os
import pty
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

import pytest
import pytest_asyncio
from outlast_workers.settings_sections.media import MediaSettings
from temporalio.client import Client as TemporalClient

import outlast
from outlast import Agent, ask_human, tool
from outlast.terminal.cli import run_command
from outlast.testing import ScriptedModel, answer, call
from tests.acceptance.command_server import CommandServer, Output
from tests.acceptance.terminal import WITHIN_S, Terminal, until_shown
from tests.stage import Stage, on_stage, pending, staged_settings


@tool(effect="read")
def look(place: str) -> str:
    """Look at a place."""
    if place == "hell":
        raise RuntimeError("too hot")
    return f"{place} is quiet\x1b[2J"


@tool(effect="irreversible", approval="pilots")
def land(place: str) -> str:
    """Land."""
    return f"landed on {place}"


colour = ask_human(Literal["red", "blue"], audience="designers")

AGENT = Agent(name="scout", instructions="Look.", tools=[look, land, colour])

LOOK, LAND = call("look", place="Mars"), call("land", place="Mars")


class Shell(Terminal):
    """A terminal whose commands start runs on the task queue of a stage."""

    def __init__(self, stage: Stage, model: ScriptedModel, commands: CommandServer) -> None:
        super().__init__(stage.client.temporal, commands)
        self.stage = stage
        self.model = model

    async def scout(self, *words: str, command: str = "run") -> Output:
        return await self.run(command, *words, "--task-queue", self.stage.task_queue)


@pytest.fixture
def steps() -> list[Any]:
    return [LOOK, answer("quiet")]


@pytest_asyncio.fixture
async def shell(
    temporal: TemporalClient, steps: list[Any], commands: CommandServer
) -> AsyncIterator[Shell]:
    model = ScriptedModel(steps)
    async with on_stage(temporal, model, [AGENT]) as stage:
        yield Shell(stage, model, commands)


async def test_a_run_shows_its_progress_and_prints_its_answer(shell: Shell) -> None:
    output = await shell.scout("scout", "Is Mars quiet?", "--id", f"r-{shell.stage.task_queue}")
    assert (output.out, output.status) == ("quiet\n", 0)
    run_id = f"r-{shell.stage.task_queue}"
    assert output.err.splitlines() == [
        f"run       {run_id}",
        "input     Is Mars quiet?",
        "turn 1    calls look(place=Mars)",
        '          look -> "Mars is quiet\\u001b[2J"',
        "turn 2    answers quiet",
        output.err.splitlines()[-1],
    ]
    assert output.err.splitlines()[-1].startswith("completed after 2 turns, 1 tool call, ")
    watched = await shell.run("watch", run_id, "--json")
    assert watched.err.splitlines() == output.err.splitlines()[1:]
    result = json.loads(watched.out)
    assert (result["run"], result["output"], watched.status) == (run_id, "quiet", 0)


@pytest.mark.parametrize("steps", [[LAND, answer("landed")]])
async def test_who_is_waited_for_is_shown_with_the_commands(shell: Shell) -> None:
    run_id = f"w-{shell.stage.task_queue}"
    process = await shell.start(
        *("run", "scout", "Land.", "--id", run_id, "--task-queue", shell.stage.task_queue)
    )
    shown = await until_shown(process, f"outlast deny {run_id} 1.1\n")
    request = await pending(shell.stage.client.get(run_id))
    await shell.stage.client.get(run_id).approve(request)
    out, _ = await asyncio.wait_for(process.communicate(), WITHIN_S)
    lines = shown.splitlines()
    at = next(index for index, line in enumerate(lines) if line.startswith("waits"))
    assert lines[at] == "waits     pilots must approve land(place=Mars), expires in 23 h 59 min:"
    assert lines[at + 1] == f"          outlast approve {run_id} 1.1"
    assert lines[at + 2] == f"          outlast deny {run_id} 1.1"
    assert (out, process.returncode) == (b"landed\n", 0)


@pytest.mark.parametrize("steps", [[LAND] * 3])
async def test_ctrl_c_leaves_the_run_and_says_how_to_go_on(shell: Shell) -> None:
    run_id = f"c-{shell.stage.task_queue}"
    process = await shell.start(
        *("run", "scout", "Land.", "--id", run_id, "--task-queue", shell.stage.task_queue),
        *("--address", shell.address),
    )
    await until_shown(process, "outlast deny ")
    process.send_signal(signal.SIGINT)
    _, err = await asyncio.wait_for(process.communicate(), WITHIN_S)
    assert process.returncode == 130
    shown = err.decode()
    assert "The run goes on" in shown
    assert f"  outlast watch {run_id} --address {shell.address}\n" in shown
    assert f"  outlast cancel {run_id} --address {shell.address}\n" in shown
    assert "Traceback" not in shown
    assert (await shell.run("cancel", run_id)).status == 0
    watched = await shell.run("watch", run_id)
    assert (watched.out, watched.status) == ("", 3)
    assert watched.err.splitlines()[-1].startswith("stopped (cancelled) after 1 turn")
    ended = await shell.run("cancel", run_id)
    assert ended == ("", f"outlast: the run {run_id!r} has ended already\n", 1)
    unknown = await shell.run("cancel", "nothing")
    assert unknown == ("", "outlast: the run 'nothing' has ended, or does not exist\n", 1)
    unknown = await shell.run("watch", "nothing")
    line = "outlast: there is no run 'nothing'; check the id and the namespace\n"
    assert unknown == ("", line, 1)


@pytest.mark.parametrize(
    ("steps", "words", "status", "line"),
    [
        ([], ["nobody", "x"], 1, "failed: agent: 'nobody' is not registered with this worker"),
        ([call("look", place="hell")], ["scout", "x"], 1, "too hot"),
        ([], ["scout", "x", "--limits", "max_turn=1"], 1, "did you mean 'max_turns'?"),
        ([], ["scout", "x", "--limits", '{"max_turns":-1}'], 1, "limits.max_turns"),
        ([], ["scout", "x", "--limits", "max_turns=3,max_turns=4"], 2, "max_turns is given twice"),
        ([], ["scout", "x", "--limits", "max_turns=nan"], 2, "max_turns: 'nan' is not JSON"),
        ([], ["scout", "x", "--tenant", "t" * 65], 1, "tenant: "),
        ([], ["scout", "x", "--id", "i" * 2_000], 1, "outlast: "),
        ([], ["scout", "--input", "{}", "--tenant", ""], 1, "tenant"),
        ([], ["--spec", "no.json", "x"], 1, "--spec: no.json cannot be read: No such file"),
        ([], ["--spec", "README.md", "x"], 1, "--spec: README.md is not JSON"),
    ],
)
async def test_what_goes_wrong_is_one_line(
    shell: Shell, words: list[str], status: int, line: str
) -> None:
    output = await shell.scout(*words)
    assert (output.out, output.status) == ("", status)
    assert line in output.err.splitlines()[-1], output.err
    assert "Traceback" not in output.err


@pytest.mark.parametrize("steps", [[LOOK] * 3 + [answer("quiet")]])
async def test_a_limit_is_an_exit_status_of_its_own(shell: Shell) -> None:
    output = await shell.scout("scout", "x", "--limits", "max_tokens=1", "--json")
    result = json.loads(output.out)
    assert (result["status"], result["stop_reason"], output.status) == ("stopped", "tokens", 3)


async def test_a_limit_on_dollars_without_a_price_is_a_warning(shell: Shell) -> None:
    output = await shell.scout("scout", "x", "--limits", "max_cost_usd=0.5")
    assert (output.out, output.status) == ("quiet\n", 0)
    warning = "outlast: warning: limits.max_cost_usd had no effect: the workers have no price"
    assert output.err.splitlines()[-2].startswith(warning)


async def test_a_spec_and_a_json_input(shell: Shell, tmp_path: Path) -> None:
    spec = tmp_path / "spec.json"
    output_schema = {"type": "string", "maxLenght": 9}
    agent = {"instructions": "Look.", "tools": ["look"], "output": output_schema}
    spec.write_text(json.dumps(agent))
    output = await shell.scout("--spec", str(spec), "--input", '{"place": "Mars"}')
    assert (output.out, output.status) == ("quiet\n", 0)
    assert 'input     {"place":"Mars"}' in output.err
    assert output.err.startswith("outlast: warning: spec.output: unknown keyword 'maxLenght'")


PNG = b"\x89PNG\r\n\x1a\nmap"


async def test_images_and_files_go_with_the_text(
    temporal: TemporalClient, commands: CommandServer, tmp_path: Path
) -> None:
    (tmp_path / "map.png").write_bytes(PNG)
    (tmp_path / "notes.csv").write_text("a,b")
    store = (tmp_path / "media").as_uri()
    settings = staged_settings(cached=1000).model_copy(
        update={"media": MediaSettings(store=store, url_hosts=("maps.example",))}
    )
    model = ScriptedModel([answer("quiet")])
    url = "https://maps.example/mars.png"
    words = ["run", "scout", "Is it quiet?", "--image", f"{tmp_path}/map.png"]
    words += ["--file", f"{tmp_path}/notes.csv", "--image", url]
    async with on_stage(temporal, model, [AGENT], settings=settings) as stage:
        shell = Shell(stage, model, commands)
        words += ["--tenant", "acme", "--task-queue", stage.task_queue]
        output = await shell.run(*words, OUTLAST_MEDIA__STORE=store)
    assert (output.out, output.status) == ("quiet\n", 0), output.err
    assert "[image 11 B image/png map.png]" in output.err
    parts = [(part.data, part.url) for part in model.prompts[0].media.values()]
    assert parts == [(PNG, ""), (b"", url), (b"a,b", "")]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--image", "no.png"], "--image: 'no.png' cannot be read: No such file or directory"),
        (["--image", "README.md"], "--image: "),
        (["--file", "http://x.example/a.pdf"], "--file: File: 'http://x.example/a.pdf' must be an"),
        (["--file", "README.md"], "images and files need a media store"),
    ],
)
async def test_an_image_that_cannot_be_sent_is_one_line(
    shell: Shell, words: list[str], line: str
) -> None:
    output = await shell.scout("scout", "What is it?", *words)
    assert (output.out, output.status) == ("", 1)
    assert line in output.err.splitlines()[-1], output.err
    assert "Traceback" not in output.err


class Chat:
    """`outlast chat` in a pseudo-terminal."""

    def __init__(self, shell: Shell, chat_id: str) -> None:
        self._words = ("chat", "scout", "--id", chat_id, "--task-queue", shell.stage.task_queue)
        self._address = shell.address

    async def open(self) -> None:
        self._terminal, stdin = pty.openpty()
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "outlast.terminal.cli", *self._words),
            env={**os.environ, "TEMPORAL_ADDRESS": self._address, "LOGNAME": "ann"},
            stdin=stdin,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        os.close(stdin)

    async def until(self, words: str) -> str:
        assert self.process.stdout is not None
        async with asyncio.timeout(WITHIN_S):
            return (await self.process.stdout.readuntil(words.encode())).decode()

    def type(self, keys: str) -> None:
        os.write(self._terminal, keys.encode())

    async def close(self) -> str:
        out, _ = await asyncio.wait_for(self.process.communicate(), WITHIN_S)
        os.close(self._terminal)
        return out.decode()


@pytest.mark.parametrize(
    "steps",
    [
        [
            *(answer("hello"), LAND, answer("landed")),
            *(call("ask_human", question="Which?"), answer("painted"), LAND, answer("stayed")),
        ]
    ],
)
async def test_a_conversation_in_a_terminal(shell: Shell) -> None:
    chat_id = f"chat-{shell.stage.task_queue}"
    chat = Chat(shell, chat_id)
    await chat.open()
    opened = await chat.until("\n> ")
    assert "/finish ends the conversation" in opened
    assert f"To continue it later: outlast chat scout --id {chat_id}" in opened
    chat.type("/quit\n")
    assert "unknown command /quit; /finish ends the conversation" in await chat.until("\n> ")
    chat.type("hi\n")
    assert "hello\n" in await chat.until("\n> ")
    chat.type("land\n")
    assert 'place: "Mars"' in await chat.until("others] ")
    chat.type("y\n")
    assert "approved 2.1" in await chat.until("landed\n> ")
    chat.type("\x04")
    left = await chat.close()
    assert f"To continue it: outlast chat scout --id {chat_id}" in left
    assert chat.process.returncode == 0

    resumed = Chat(shell, chat_id)
    await resumed.open()
    assert "answers landed" in await resumed.until("\n> ")
    resumed.type("paint\n")
    assert "Which?" in await resumed.until("to others): ")
    resumed.type("green\n")
    assert "'green' is not one of" in await resumed.until("to others): ")
    resumed.type("blue\n")
    assert "painted\n" in await resumed.until("\n> ")
    resumed.type("land again\n")
    await resumed.until("others] ")
    resumed.type("\n")
    assert f"outlast approve {chat_id} " in await resumed.until("deny")
    run = shell.stage.started(chat_id)
    (request,) = await run.pending_requests()
    await run.deny(request, by="bo")
    assert "stayed\n" in await resumed.until("\n> ")
    resumed.type("/finish\n")
    assert "ends after this turn" in await resumed.close()
    result = await run.result()
    assert [settled.by for settled in result.decisions] == ["ann", "ann", "bo"]


async def test_a_chat_reads_lines_from_a_pipe(shell: Shell) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "outlast.terminal.cli", "chat", "scout"),
        *("--task-queue", shell.stage.task_queue),
        env={**os.environ, "TEMPORAL_ADDRESS": shell.address, "LOGNAME": "ann"},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await asyncio.wait_for(process.communicate(b"look\n/finish\n"), WITHIN_S)
    assert (out, process.returncode) == (b"quiet\n", 0)


async def test_a_chat_without_a_message_begins_nothing(shell: Shell) -> None:
    output = await shell.scout("scout", command="chat")
    assert (output.out, output.status) == ("", 0)
    assert "stays open" not in output.err


def test_a_limit_that_is_no_number_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_command(["run", "scout", "x", "--limits", "max_turns=2,max_cost_usd=much"])
    assert "--limits: max_cost_usd: 'much' is not JSON" in capsys.readouterr().err


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run_command(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"outlast {outlast.__version__}\n")
