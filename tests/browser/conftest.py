"""The callback page as people have it: its own process, a worker, a server, and headless Chromium.

`make pictures` renews the pictures of the documentation: it names their folder in `SCREENSHOTS`.
"""

import asyncio
import json
import os
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
import pytest_asyncio
from outlast_workers.callback.links import Links
from outlast_workers.local.ports import free_port
from outlast_workers.local.servers import TemporalServer
from playwright.async_api import Browser, Page, ViewportSize

from bench.scripted_model_server import Request, ScriptedModelServer, Step
from outlast import Client, Run
from outlast.contracts.human import PendingRequest
from tests.acceptance.processes import ROOT, WorkerUnderTest
from tests.chromium import browser
from tests.stage import pending

__all__ = ["browser"]

PHONE: ViewportSize = {"width": 390, "height": 844}
SECRET = "a secret of many letters"  # noqa: S105 of this test
LOOKS_WITHIN_MS = 15_000
"""A page waits for a worker's answer, on a machine that runs other tests beside."""


@dataclass
class PendingCase:
    """A request that waits in a run, and the link to its page."""

    run: Run
    request: PendingRequest
    link: str


class Site:
    """Starts runs that wait for people."""

    def __init__(self, client: Client, base_url: str, ui_url: str) -> None:
        self.base_url = base_url
        self.ui_url = ui_url
        self.client = client
        self.links = Links(SECRET, base_url)

    async def refund(self, order_id: str = "A-1042") -> PendingCase:
        """Start a run of the refund example that waits for an approval."""
        text = f"My order {order_id} arrived broken. I want my money back."
        return await self._asked("refund-desk", text)

    async def question(self) -> PendingCase:
        """Start a run that waits for an answer."""
        return await self._asked("painter", "Paint the door.")

    async def _asked(self, agent: str, value: str) -> PendingCase:
        run = await self.client.start(agent, value, id=f"{agent}-{uuid.uuid4().hex[:6]}")
        request = await pending(run)
        execution = run.first_execution_run_id or ""
        return PendingCase(run, request, self.links.url(run.id, execution, request))


def _decided(request: Request) -> Step:
    """Answer for both agents: look up and refund, or ask; then end."""
    turn = request.assistant_messages
    if "Paint the door." in str(request.messages):
        question = "The customer left the colour open. Which one shall the door have?"
        decisions = [_call("ask_human", question=question), {"answer": "painted"}]
    else:
        decisions = [
            _call("order_status", order_id="A-1042"),
            _call("refund", order_id="A-1042", amount_usd=39.9),
            {"answer": {"refunded": True, "message": "We are sorry."}},
        ]
    return Step(json.dumps(decisions[turn]))


def _call(tool: str, **arguments: object) -> dict[str, object]:
    return {"tool_calls": [{"tool": tool, "arguments": arguments}]}


@pytest_asyncio.fixture(scope="session")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """A server, a worker and the callback page, each a process of its own."""
    logs = tmp_path_factory.mktemp("site")
    temporal = TemporalServer(log_dir=logs, port=free_port(), ui_port=free_port())
    async with temporal, ScriptedModelServer(_decided) as model:
        worker = WorkerUnderTest(
            address=temporal.address,
            model_url=model.url,
            agents="outlast_examples.refund_desk,tests.browser.agents",
            log=logs / "worker.log",
            drain_s=2,
        )
        await worker.start()
        try:
            ui_url = temporal.ui_url or ""
            variables = {"TEMPORAL_ADDRESS": temporal.address, "OUTLAST_UI_URL": ui_url}
            async with _callback(variables, logs / "callback.log") as base_url:
                client = await Client.connect(target_host=temporal.address)
                yield Site(client, base_url, ui_url)
        finally:
            await worker.terminate()


@asynccontextmanager
async def _callback(variables: dict[str, str], log: Path) -> AsyncIterator[str]:
    """Run `outlast worker callback`, and yield its base URL."""
    port = free_port()
    variables |= {
        "OUTLAST_CALLBACK__SECRET": SECRET,
        "OUTLAST_CALLBACK__PORT": str(port),
    }
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "outlast_workers", "callback"),
            env={**os.environ, **variables},
            cwd=ROOT,
            stdout=output,
            stderr=output,
        )
    try:
        base_url = f"http://127.0.0.1:{port}"
        async with asyncio.timeout(30), httpx2.AsyncClient(trust_env=False) as client:
            while not await _is_up(client, base_url):
                assert process.returncode is None, log.read_text()
                await asyncio.sleep(0.05)
        yield base_url
    finally:
        process.terminate()
        async with asyncio.timeout(20):
            await process.wait()


async def _is_up(client: httpx2.AsyncClient, base_url: str) -> bool:
    try:
        return (await client.get(f"{base_url}/healthz")).status_code == 200
    except httpx2.TransportError:
        return False


@pytest_asyncio.fixture
async def phone(browser: Browser) -> AsyncIterator[Page]:
    """A page of the size of a phone, that runs no script."""
    context = await browser.new_context(
        viewport=PHONE,
        device_scale_factor=2,
        is_mobile=True,
        has_touch=True,
        java_script_enabled=False,
    )
    context.set_default_timeout(LOOKS_WITHIN_MS)
    yield await context.new_page()
    await context.close()


@pytest.fixture
def picture() -> "Callable[[Page, str], object]":
    """Take a picture for the documentation, if `SCREENSHOTS` names a folder."""
    folder = os.environ.get("SCREENSHOTS")

    async def take(page: Page, name: str) -> None:
        if folder:
            await page.locator("body").screenshot(path=Path(folder) / f"{name}.png")

    return take
