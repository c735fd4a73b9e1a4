import asyncio
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import psutil
import pytest
import pytest_asyncio
from outlast_activities.providers.chat_completions import ChatCompletions
from outlast_workers.local import embedded_model as embedded
from outlast_workers.local.weights import find_weights

from outlast.errors import ModelError, NotReady
from outlast.model_server import Completion, Prompt, ServerOptions
from outlast.turns import (
    CallsTurn,
    PromptCall,
    PromptResult,
    ResultsTurn,
    ToolDefinition,
    Turn,
    UserTurn,
)

ROOT = Path(__file__).parents[3]
COMMAND = [sys.executable, "-m", "outlast_workers.local.embedded_model", "--port"]
TIMEOUT_S = 30.0


def closed(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def call(tool: str, **arguments: Any) -> dict[str, Any]:
    return closed(tool={"const": tool}, arguments=closed(**arguments))


CALLS = {
    "type": "array",
    "minItems": 1,
    "maxItems": 2,
    "items": {
        "anyOf": [
            call("read_metadata", package={"$ref": "#/$defs/Package"}),
            call("count", of={"type": "array", "items": {"type": "integer"}, "maxItems": 3}),
        ]
    },
}
ANSWER = closed(
    licence={"type": "string", "maxLength": 40},
    risk={"$ref": "#/$defs/Risk"},
    note={"anyOf": [{"type": "string", "maxLength": 20}, {"type": "null"}]},
)
DECISION = {
    "anyOf": [closed(tool_calls=CALLS), closed(answer=ANSWER)],
    "$defs": {
        "Package": {"type": "string", "pattern": "^[a-z0-9-]{1,20}$"},
        "Risk": {"enum": ["low", "medium", "high"]},
    },
}
ANSWER_ONLY = {**closed(answer=ANSWER), "$defs": DECISION["$defs"]}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


@pytest.fixture(scope="session")
def url() -> Iterator[str]:
    """A running embedded model server."""
    port = free_port()
    command = [*COMMAND, str(port)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "serving SmolLM2" in process.stdout.readline()
        yield f"http://127.0.0.1:{port}/v1"
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT_S) == 0, "it ends by itself on a signal"


TOOLS = (
    ToolDefinition(
        "read_metadata",
        "Read the metadata of a package.",
        {"type": "object", "properties": {"package": {"type": "string"}}},
    ),
)


@pytest_asyncio.fixture(scope="session")
async def model(url: str) -> AsyncIterator[ChatCompletions]:
    adapter = ChatCompletions(ServerOptions(url, temperature=0))
    await adapter.probe()
    yield adapter
    await adapter.aclose()


async def complete(
    model: ChatCompletions,
    instructions: str,
    *turns: Turn,
    schema: dict[str, Any] = DECISION,
    max_tokens: int = 600,
) -> Completion:
    return await model.complete(
        Prompt(turns, schema, str(id(schema)), max_tokens, instructions, TOOLS)
    )


def error_of(*arguments: str) -> str:
    """Return the error of a command that does not start, which is one line."""
    command = [*COMMAND, *arguments]
    ended = subprocess.run(
        command, cwd=ROOT, capture_output=True, check=False, text=True, timeout=TIMEOUT_S
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.count("\n") == 1
    return ended.stderr


async def test_every_answer_is_an_instance_of_the_decision_schema(model: ChatCompletions) -> None:
    completions = [
        complete(model, "Answer with compact JSON.", UserTurn(f'Review the package "{name}"'))
        for name in ("rich", "flask", "numpy", "pip")
    ]
    for completion in await asyncio.gather(*completions):
        jsonschema.validate(json.loads(completion.text), DECISION)
        assert completion.finish_reason == "stop"
        assert completion.model == embedded.ALIAS
        assert completion.prompt_tokens > 0
        assert completion.completion_tokens > 0


async def test_the_result_of_a_tool_reaches_the_answer(model: ChatCompletions) -> None:
    completion = await complete(
        model,
        "You review Python packages. Call read_metadata first, then answer with the licence and a "
        "note that it returned.",
        UserTurn('Review the package "flask"'),
        CallsTurn((PromptCall("1.1", "read_metadata", {"package": "flask"}),)),
        ResultsTurn(
            (
                PromptResult(
                    "1.1",
                    "read_metadata",
                    '{"name":"flask","licence":"BSD-3-Clause","note":null}',
                ),
            )
        ),
        schema=ANSWER_ONLY,
    )
    assert json.loads(completion.text)["answer"]["licence"] == "BSD-3-Clause"


async def test_an_answer_is_cut_off_at_max_tokens(
    model: ChatCompletions,
) -> None:
    completion = await complete(model, "Review packages.", UserTurn("Review rich."), max_tokens=5)
    assert (completion.finish_reason, completion.completion_tokens) == ("length", 5)


async def test_a_prompt_beyond_the_context_is_a_final_error(model: ChatCompletions) -> None:
    with pytest.raises(ModelError, match="context") as raised:
        await complete(
            model, "Review packages.", UserTurn("rich " * (embedded.CONTEXT_PER_SLOT + 1))
        )
    assert raised.value.non_retryable


def test_a_taken_port_is_an_error_of_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"port {port} is taken" in error_of(str(port))


def test_a_missing_file_is_an_error_of_one_line(tmp_path: Path) -> None:
    message = error_of(str(free_port()), "--model", str(tmp_path / "none.gguf"))
    assert "none.gguf cannot be read: No such file" in message


def test_a_file_that_is_not_a_model_is_an_error_of_one_line(tmp_path: Path) -> None:
    file = tmp_path / "page.gguf"
    file.write_text("<html>")
    assert "page.gguf is not a GGUF model file" in error_of(str(free_port()), "--model", str(file))


def test_an_incomplete_file_is_an_error_of_one_line(tmp_path: Path) -> None:
    file = tmp_path / "half.gguf"
    weights = find_weights()
    assert weights is not None
    with weights.open("rb") as whole:
        file.write_bytes(whole.read(1_000_000))
    assert "is the file complete?" in error_of(str(free_port()), "--model", str(file))


def test_it_ends_with_its_parent_process() -> None:
    port = free_port()
    start = "import subprocess, sys; print(subprocess.Popen(sys.argv[1:]).pid, flush=True)"
    command = [sys.executable, "-c", f"{start}; sys.stdin.read()", *COMMAND, str(port)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        wait_for(lambda: listens(port))
        os.kill(parent.pid, signal.SIGKILL)
        wait_for(lambda: not listens(port) and not running(child))


def running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        (ModuleNotFoundError("No module named 'xllamacpp'"), "pip install 'outlast[workers]'"),
        (
            ImportError("libgomp.so.1: cannot open shared object file: No such file or directory"),
            "install libgomp1 (Debian)",
        ),
        (ImportError("/lib/libm.so.6: version `GLIBC_2.38' not found"), "GLIBC_2.38"),
    ],
)
def test_what_the_embedded_model_lacks_is_named(
    missing: ImportError, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fails(_name: str) -> Any:
        raise missing

    monkeypatch.setattr(importlib, "import_module", fails)
    with pytest.raises(NotReady) as refused:
        embedded._start_server(
            tmp_path, embedded.ServeOptions("127.0.0.1", 1, 1, 512, verbose=False)
        )
    assert said in str(refused.value)
