"""Hubs that refuse, hang, fail or die in the middle of an answer cost no model call and no run."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from outlast_workers.gateway.front import Front
from outlast_workers.local.ports import free_port
from temporalio.client import Client as TemporalClient

from outlast import Agent
from outlast.testing import ScriptedModel, answer
from tests.conditions import WITHIN_S, until
from tests.stage import Flag
from tests.workers.gateway.doors import doors
from tests.workers.gateway.writing import PIECES, STORY, gate_after, writing

desk = Agent(name="desk", instructions="Help people.")

ERROR = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 4\r\n\r\nno!\n"
HELD = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{"held": [1'
"""A reply that ends in the middle."""


class BrokenHub:
    """A hub that accepts pushes, and replies to each of them with some bytes, or never."""

    def __init__(self, reply: bytes | None) -> None:
        self.pushes = 0
        self._reply = reply

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Yield the URL of the hub."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.read(65_536):
                self.pushes += 1
                if self._reply is not None:
                    writer.write(self._reply)
                    return
        except ConnectionError:
            pass
        finally:
            writer.close()


async def test_hubs_that_fail_cost_no_model_call_and_no_run(temporal: TemporalClient) -> None:
    ends = Flag()
    model = ScriptedModel([writing(PIECES, gates=gate_after(len(PIECES), ends)), answer("Yes.")])
    broken = [BrokenHub(reply) for reply in (ERROR, HELD, b"", None)]
    async with AsyncExitStack() as stack:
        hubs = [await stack.enter_async_context(hub.serving()) for hub in broken]
        refused = f"http://127.0.0.1:{free_port()}"
        gateway = await stack.enter_async_context(
            doors(temporal, model, [desk], hubs=[*hubs, refused])
        )
        client = gateway.front.client
        run = await client.start("desk", "Hi", id="acme/desk/dead-hubs")
        await until(lambda: all(hub.pushes for hub in broken))
        # The hub of the gateway has the whole text, whatever the others do.
        await until(_has_text(gateway.front, run.id))
        ends.set()
        async with asyncio.timeout(WITHIN_S):
            result = await run.result()
            second = await (await client.start("desk", "Again")).result()
    assert (result.status, result.output_json) == ("completed", STORY)
    assert second.output_json == "Yes."
    assert len(model.prompts) == 2


def _has_text(front: Front, run_id: str) -> Callable[[], bool]:
    def has() -> bool:
        held = front.hub.get(run_id)
        return held is not None and held.text == STORY

    return has
