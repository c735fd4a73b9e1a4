"""A payload codec encrypts what Temporal stores, and a wrong one stops a process."""

import asyncio
import base64
import os
import re
import sys
from pathlib import Path

import pytest
from outlast_workers.local.ports import free_port
from outlast_workers.local.servers import TemporalServer
from outlast_workers.settings import Settings
from outlast_workers.settings_sections.model_servers import ModelSettings
from outlast_workers.settings_sections.payloads import PayloadsSettings
from outlast_workers.worker_process import run_process
from pydantic import ValidationError
from temporalio.converter import DataConverter

from bench.scripted_model.scripts import Step
from bench.scripted_model_server import ScriptedModelServer, Steps
from outlast import Client
from outlast.contracts.names import AGENTS_QUEUE
from outlast.errors import NotReady
from outlast.temporal.payload_codec import CODEC_VARIABLE, load_codec
from tests.workflows.pipelines.staging import document

PAGE = Path(__file__).parents[2] / "docs" / "encryption.md"
CODEC = "codecs_of_shop:Encryption"


@pytest.fixture
def _codec_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert code is not None
    (tmp_path / "codecs_of_shop.py").write_text(code[1])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("SHOP_KEY", base64.b64encode(os.urandom(32)).decode())
    sys.modules.pop("codecs_of_shop", None)


async def _canaries(folder: Path, settings: PayloadsSettings) -> set[str]:
    """Make a run with a secret in everything that a run records; return those in Temporal's database."""
    folder.mkdir()
    database = folder / "temporal.db"
    steps = Steps(
        Step('{"tool_calls":[{"tool":"pay","arguments":{"note":"CANARY-ARGUMENT"}}]}'),
        Step('{"answer":"CANARY-ANSWER"}'),
        Step('{"answer":"CANARY-REPLY"}'),
    )
    async with (
        TemporalServer(log_dir=folder, port=free_port(), db=database) as temporal,
        ScriptedModelServer(steps) as model,
    ):
        worker = Settings(
            agents=("tests.workers.encrypted_agents",),
            model=ModelSettings(url=model.url),
            payloads=settings,
            log_level="error",
        )
        ready, stop = asyncio.Event(), asyncio.Event()
        process = asyncio.create_task(
            run_process(worker, stop=stop, address=temporal.address, ready=ready.set)
        )
        await ready.wait()
        client = await Client.connect(target_host=temporal.address)
        async with asyncio.timeout(60):
            first = await client.chat("pays", "CANARY-INPUT", agent="payer")
            second = await client.chat("pays", "CANARY-MESSAGE", agent="payer")
        assert (first, second) == ("CANARY-ANSWER", "CANARY-REPLY")
        if settings.codec is not None:
            await _reads_nothing_without_the_codec(temporal.address)
            await _shows_no_pipeline_without_the_codec(client, temporal.address)
            await _reads_nothing_with_another_key(temporal.address)
        stop.set()
        await process
    stored = b"".join(path.read_bytes() for path in folder.glob("temporal.db*"))
    return {found.decode() for found in re.findall(rb"CANARY-[A-Z]+", stored)}


async def _reads_nothing_without_the_codec(address: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(CODEC_VARIABLE)
        run = (await Client.connect(target_host=address)).get("pays")
    for read in (run.progress, run.transcript, run.pending_requests, run.finish, run.result):
        with pytest.raises(NotReady, match=f"binary/encrypted.*{CODEC_VARIABLE}"):
            await read()


async def _shows_no_pipeline_without_the_codec(client: Client, address: str) -> None:
    pipeline = document({"done": {"set": {"n": 1}}})
    handle = await client.temporal.start_workflow(
        "PipelineWorkflow", {"pipeline": pipeline}, id="sets", task_queue=AGENTS_QUEUE
    )
    await handle.result()
    watching = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "outlast.terminal.cli", "--address", address, "watch", "sets"),
        stderr=asyncio.subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if name != CODEC_VARIABLE},
    )
    _, said = await watching.communicate()
    assert watching.returncode == 1
    (line,) = said.decode().splitlines()
    assert line.startswith("outlast: result: this client cannot read the run 'sets'")


async def _reads_nothing_with_another_key(address: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHOP_KEY", base64.b64encode(os.urandom(32)).decode())
        run = (await Client.connect(target_host=address)).get("pays")
    for read in (run.progress, run.pending_requests, run.result):
        with pytest.raises(NotReady, match=f"{CODEC}' cannot decrypt a payload .InvalidTag"):
            await read()


@pytest.mark.usefixtures("_codec_of_the_page")
async def test_temporal_stores_no_readable_payload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readable = await _canaries(tmp_path / "readable", PayloadsSettings())
    monkeypatch.setenv(CODEC_VARIABLE, CODEC)
    encrypted = await _canaries(tmp_path / "encrypted", PayloadsSettings(codec=CODEC))
    assert len(readable) == 8, readable
    assert encrypted == set()


@pytest.mark.usefixtures("_codec_of_the_page")
def test_a_codec_is_an_object_a_class_or_a_function() -> None:
    assert type(load_codec(CODEC)).__name__ == "Encryption"


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("nothing", "must be MODULE:NAME"),
        ("module:", "must be MODULE:NAME"),
        ("no_such_module:codec", "cannot be loaded: ModuleNotFoundError"),
        ("temporalio.converter:nothing", "cannot be loaded: AttributeError"),
        ("temporalio.converter:DataConverter", "is of the type DataConverter"),
        ("temporalio.converter:PayloadCodec", "cannot be loaded: TypeError"),
        (f"{__name__}:PAGE", "is of the type PosixPath"),
        ("sys:exit", "cannot be loaded: SystemExit"),
    ],
)
def test_a_wrong_codec_is_one_line(reference: str, reason: str) -> None:
    with pytest.raises(NotReady) as raised:
        load_codec(reference)
    assert reason in str(raised.value)
    assert "\n" not in str(raised.value)
    with pytest.raises(ValidationError) as invalid:
        PayloadsSettings(codec=reference)
    assert reason in str(invalid.value)


async def test_a_client_with_a_wrong_codec_does_not_connect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(CODEC_VARIABLE, "no_such_module:codec")
    with pytest.raises(NotReady, match="no_such_module"):
        await Client.connect(data_converter=DataConverter.default)
