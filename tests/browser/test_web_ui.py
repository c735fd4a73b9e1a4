"""What the Temporal Web UI shows of runs. `make pictures` keeps the pictures for the documentation."""

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest_asyncio
from playwright.async_api import Browser, Page, ViewportSize, expect

from tests.browser.conftest import LOOKS_WITHIN_MS, PendingCase, Site

DESKTOP: ViewportSize = {"width": 1180, "height": 1000}
TALL: ViewportSize = {"width": 1180, "height": 1680}

expect.set_options(timeout=LOOKS_WITHIN_MS)


@pytest_asyncio.fixture
async def desktop(browser: Browser) -> AsyncIterator[Page]:
    """A page of the size of a laptop's window, with scripts."""
    context = await browser.new_context(viewport=DESKTOP, color_scheme="light")
    context.set_default_timeout(LOOKS_WITHIN_MS)
    yield await context.new_page()
    await context.close()


async def keep(page: Page, name: str, size: ViewportSize = DESKTOP) -> None:
    """Keep a picture for the documentation, if `SCREENSHOTS` names a folder."""
    folder = os.environ.get("SCREENSHOTS")
    if folder:
        await page.set_viewport_size(size)
        await page.wait_for_timeout(1_500)  # the page draws itself anew
        await page.screenshot(path=Path(folder) / f"{name}.png")
        await page.set_viewport_size(DESKTOP)


async def open_tab(page: Page, site: Site, case: PendingCase, tab: str) -> None:
    execution = case.run.first_execution_run_id
    await page.goto(f"{site.ui_url}/namespaces/default/workflows/{case.run.id}/{execution}/{tab}")


async def test_a_waiting_run_shows_the_question_and_a_finished_one_the_answer(
    site: Site, desktop: Page
) -> None:
    case = await site.refund()
    await open_tab(desktop, site, case, "timeline")
    question = "support-leads: refund(order_id=A-1042, amount_usd=39.9)? expires"
    await expect(desktop.get_by_text(question).first).to_be_visible()
    await keep(desktop, "waiting")

    await open_tab(desktop, site, case, "user-metadata")
    await expect(desktop.get_by_text("User Metadata").first).to_be_visible()
    frame = desktop.frame_locator("iframe").last
    await expect(frame.get_by_text(f"outlast approve {case.run.id}").first).to_be_visible()
    await keep(desktop, "details", TALL)

    await case.run.approve(case.request, by="ann")
    await case.run.result()
    await open_tab(desktop, site, case, "timeline")
    await expect(
        desktop.get_by_text("refund(order_id=A-1042, amount_usd=39.9)").first
    ).to_be_visible()
    await keep(desktop, "run", TALL)
    await open_tab(desktop, site, case, "user-metadata")
    await expect(desktop.frame_locator("iframe").last.get_by_text("We are sorry.")).to_be_visible()


COLUMNS = (
    "Status",
    "Workflow ID",
    "AgentName",
    "AgentStatus",
    "AgentAudience",
    "AgentCostUsd",
    "Start",
)


async def test_the_list_of_runs_has_the_columns_that_the_documentation_names(
    site: Site, desktop: Page
) -> None:
    first, second = await site.refund("A-1043"), await site.question()
    columns = json.dumps({"default": [{"label": label} for label in COLUMNS]})
    key = "namespace-workflow-table-columns"  # where the Web UI keeps what a person configured
    await desktop.add_init_script(f"localStorage.setItem({key!r}, {columns!r})")
    query = quote("AgentStatus='waiting_for_human' AND ExecutionStatus='Running'")
    await desktop.goto(f"{site.ui_url}/namespaces/default/workflows?query={query}")
    for case, audience in ((first, "support-leads"), (second, "designers")):
        row = desktop.get_by_role("row").filter(has_text=case.run.id)
        await expect(row).to_contain_text("waiting_for_human")
        await expect(row).to_contain_text(audience)
    await keep(desktop, "list", {"width": 1500, "height": 520})
    await first.run.cancel()
    await second.run.cancel()
