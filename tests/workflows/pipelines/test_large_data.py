"""Large data of pipelines in a payload store: histories hold references, and clients read the values."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client
from temporalio.converter import StorageDriverClaim, StorageDriverRetrieveContext

from outlast import Agent, tool
from outlast.client.client import Client as OutlastClient
from outlast.errors import NotReady, Unavailable
from outlast.temporal.payload_store import payload_storage
from outlast.testing import ScriptedModel, answer, call
from tests.stage import Stage, local_settings, on_stage
from tests.workflows.pipelines.staging import document, result_of, start

SIZE = 200_000
MAX_GROWTH = 20_000
TEXT = "0123456789" * (SIZE // 10)


@tool(effect="read", timeout=timedelta(seconds=5))
def report() -> str:
    """Return much text."""
    return TEXT


@tool(effect="read")
def revised(text: str) -> str:
    """Return the text again."""
    assert text == TEXT
    return text


def tool_call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"call": "tool", "with": {"tool": name, "arguments": arguments}}


REVISE = tool_call("revised", text="${ . }")
PIPELINE = document(
    {"one": tool_call("report")}, {"two": REVISE}, {"three": REVISE}, {"four": REVISE}
)


def with_store(client: Client, folder: Path) -> Client:
    config = client.config()
    config["data_converter"] = client.data_converter.__class__(
        payload_converter_class=client.data_converter.payload_converter_class,
        failure_converter_class=client.data_converter.failure_converter_class,
        external_storage=payload_storage(folder.as_uri()),
    )
    return Client(**config)


async def growth_of(stage: Stage) -> int:
    return sum(event.ByteSize() for event in (await stage.last()).events)


async def test_large_data_passes_through_steps_by_reference(
    temporal: Client, tmp_path: Path
) -> None:
    client = with_store(temporal, tmp_path)
    async with on_stage(client, ScriptedModel([]), tools=[report, revised], cached=0) as stage:
        run = await start(stage, PIPELINE)
        assert (await result_of(stage, run))["output"] == TEXT
        assert await growth_of(stage) < MAX_GROWTH
        with pytest.raises(NotReady, match="OUTLAST_PAYLOADS__STORE"):
            await OutlastClient(temporal).get(run.id).result()
    assert len(list(tmp_path.glob(f"default/{run.id}/*"))) >= 4


async def test_results_of_local_tools_are_stored_too(temporal: Client, tmp_path: Path) -> None:
    model = ScriptedModel([call("report"), answer("done")])
    reader = Agent(name="reader", instructions="Read.", tools=[report], output=str)
    client = with_store(temporal, tmp_path)
    async with on_stage(client, model, [reader], settings=local_settings(cached=0)) as stage:
        assert (await stage.run(reader)).output == "done"
        assert "report" in await stage.local()
        assert await growth_of(stage) < MAX_GROWTH
    assert TEXT in str(model.prompts[-1].messages)


async def test_a_reference_cannot_leave_the_store(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    storage = payload_storage((tmp_path / "store").as_uri())
    driver = storage.drivers[0]
    for key in ("../secret", "a/../../secret", "/etc/passwd", "", "default/run/../../secret"):
        claim = StorageDriverClaim({"key": key, "sha256": ""})
        with pytest.raises(Unavailable, match="is not valid"):
            await driver.retrieve(StorageDriverRetrieveContext(), [claim])
