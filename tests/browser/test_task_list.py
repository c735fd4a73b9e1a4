"""The task list of examples/mcp-client, a client of the MCP SDK. `make pictures` keeps a picture of it."""

import asyncio
import html
import os
import sys
from pathlib import Path

import pytest
from playwright.async_api import Browser
from temporalio.client import Client as TemporalClient

from outlast import Agent, Approval, tool
from outlast.model_server import Prompt
from outlast.testing import ScriptedModel, Step, answer, call
from tests.acceptance.processes import ROOT
from tests.stage import Flag
from tests.workers.gateway.doors import TOKENS, Doors, doors

PROGRAM = ROOT / "examples" / "mcp-client" / "tasks.py"
WITHIN_S = 60

TERMINAL = """<style>
  body {{ margin: 0; background: #1e1e1e; color: #d4d4d4; }}
  pre {{ margin: 0; padding: 1rem; font: 14px/1.5 monospace; white-space: pre-wrap; }}
</style><pre>{}</pre>"""


@tool(effect="irreversible", approval=Approval(audience="leads"))
def refund(order_id: str, amount_usd: float) -> str:
    """Refund an order."""
    return f"refunded {amount_usd:.2f} USD for {order_id}"


support = Agent("support-desk", "Help customers.", tools=[refund])
reviewer = Agent("reviewer", "Review dependencies.")


class Terminal:
    """Runs the program as a person does, each time as a process of its own, in one folder."""

    def __init__(self, gateway: Doors, folder: Path) -> None:
        self._url = f"{gateway.url}/mcp"
        self._folder = folder

    async def run(self, *arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(PROGRAM), self._url, *arguments),
            cwd=self._folder,
            env={**os.environ, "GATEWAY_TOKEN": TOKENS["ann"]["token"]},
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
        assert process.returncode == 0
        return output.decode()

    async def start(self, agent: str, text: str) -> str:
        """Start an agent, and return the id of the task."""
        return (await self.run("start", agent, text)).strip()


async def reach(gateway: Doors, task: str, status: str) -> None:
    """Wait until the run of a task has a status."""
    async with asyncio.timeout(WITHIN_S), gateway.client() as http:
        while (await http.get(f"/runs/{task}")).json().get("status") != status:
            await asyncio.sleep(0.05)


@pytest.mark.timeout(240)  # eight processes, on a machine that runs other tests beside
async def test_a_client_lists_and_answers_its_tasks(
    temporal: TemporalClient, browser: Browser, tmp_path: Path
) -> None:
    more = Flag()

    async def slow(_: Prompt) -> object:
        await more.wait()
        return answer("Both licences are fine.")

    steps: list[Step] = [
        answer("left-pad 1.3.0 has no known weakness."),
        call("refund", order_id="A-1042", amount_usd=39.9),
        slow,
        answer("We are sorry. The money is on its way."),
    ]
    async with doors(temporal, ScriptedModel(steps), [support, reviewer]) as gateway:
        terminal = Terminal(gateway, tmp_path)
        safe = await terminal.start("reviewer", "Is left-pad 1.3.0 safe?")
        await reach(gateway, safe, "completed")
        broken = await terminal.start("support-desk", "A-1042 arrived broken.")
        await reach(gateway, broken, "waiting_for_human")
        other = await terminal.start("reviewer", "May we use react and preact?")
        output = await terminal.run("list")
        assert marks(output) == ["✓", "?", "…"]
        assert "refund(order_id=A-1042, amount_usd=39.9)" in output
        await keep(browser, f"$ python tasks.py {gateway.url}/mcp list\n{output}", "mcp-tasks")

        await terminal.run("cancel", other)
        await reach(gateway, other, "stopped")
        more.set()
        await terminal.run("answer", broken, "decision=approve")
        await reach(gateway, broken, "completed")
        output = await terminal.run("list")
        assert marks(output) == ["✓", "✓", "-"]
        assert "completed: We are sorry. The money is on its way." in output
        assert "no run" in await terminal.run("cancel", "acme/support-desk/unknown")


def marks(output: str) -> list[str]:
    """Return the marks of the tasks in a list."""
    return [line[0] for line in output.splitlines() if line and not line.startswith(" ")]


async def keep(browser: Browser, text: str, name: str) -> None:
    """Keep a picture for the documentation, if `SCREENSHOTS` names a folder."""
    folder = os.environ.get("SCREENSHOTS")
    if folder:
        page = await browser.new_page(viewport={"width": 860, "height": 100})
        await page.set_content(TERMINAL.format(html.escape(text)))
        await page.locator("pre").screenshot(path=Path(folder) / f"{name}.png")
        await page.close()
