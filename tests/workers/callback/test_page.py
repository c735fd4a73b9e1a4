"""The decision page: what a person with a link can do, and what nobody can do."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import httpx2
import pytest
from outlast_workers.callback.links import Links
from outlast_workers.callback.page import callback_app
from outlast_workers.settings import Settings
from outlast_workers.settings_sections.people import AudienceSettings
from pydantic import BaseModel
from temporalio.client import Client

from outlast import Agent, Approval, ask_human, tool
from outlast.client.runs import Run
from outlast.contracts.human import PendingRequest
from outlast.signing import SigningKey
from outlast.testing import ScriptedModel, answer, call
from tests.stage import on_stage, pending, staged_settings
from tests.workflows.resets import TIMER, reset

LINKS = Links("a secret of many letters")
paid: list[float] = []


@pytest.fixture(autouse=True)
def _nothing_paid() -> None:
    paid.clear()


@tool(effect="irreversible", approval=Approval(audience="leads"))
def refund(order_id: str, amount_usd: float) -> str:
    """Refund an order."""
    paid.append(amount_usd)
    return "refunded"


class Choice(BaseModel):
    colour: Literal["red", "blue"]


desk = Agent(name="desk", instructions="Refund.", tools=[refund])
painter = Agent(name="painter", instructions="Paint.", tools=[ask_human(Choice)])


@asynccontextmanager
async def waiting(
    temporal: Client,
    agent: Agent = desk,
    first: dict[str, object] | None = None,
    settings: Settings | None = None,
) -> AsyncIterator[tuple[Run, PendingRequest, httpx2.AsyncClient, str]]:
    """Yield a run that waits, its request, a browser, and the link."""
    wish = first or call("refund", order_id="<b>42</b>", amount_usd=80)
    model = ScriptedModel([wish, answer("done")], repeat_last=True)  # type: ignore[list-item]  # JSON
    async with on_stage(temporal, model, [agent], settings=settings) as stage:
        run = await stage.start(agent.name)
        request = await pending(run)
        transport = httpx2.ASGITransport(callback_app(temporal, LINKS))
        run_id = run.first_execution_run_id or ""
        async with httpx2.AsyncClient(transport=transport, base_url="http://page") as browser:
            yield run, request, browser, LINKS.url(run.id, run_id, request)


def form(request: PendingRequest, decision: str, **more: str) -> dict[str, str]:
    return {
        "decision": decision,
        "arguments_hash": request.arguments_hash,
        "by": "ann",
        "comment": "",
        **more,
    }


async def test_the_page_shows_what_is_asked_and_settles_nothing(temporal: Client) -> None:
    async with waiting(temporal) as (run, request, browser, link):
        page = await browser.get(link)
        assert page.status_code == 200
        assert "Approve refund?" in page.text
        assert "&lt;b&gt;42&lt;/b&gt;" in page.text, "what a model wrote is text, not markup"
        assert "<b>42" not in page.text
        assert page.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert (await pending(run)) == request
        await run.deny(request)
        await run.result()


async def test_a_request_that_is_settled_by_signature_shows_how_and_no_buttons(
    temporal: Client,
) -> None:
    ann = SigningKey.generate("ann")
    leads = AudienceSettings(keys={"ann": ann.public})
    settings = staged_settings(cached=1000).model_copy(update={"audiences": {"leads": leads}})
    async with waiting(temporal, settings=settings) as (run, request, browser, link):
        page = await browser.get(link)
        assert (
            f"outlast approve {run.id} 1.1 --hash {request.arguments_hash} --key FILE" in page.text
        )
        assert "<form" not in page.text
        forced = await browser.post(link, data=form(request, "approve"))
        assert (forced.status_code, paid) == (422, [])
        await run.deny(request, signer=ann)
        await run.result()


async def test_an_approval_on_the_page_is_one(temporal: Client) -> None:
    async with waiting(temporal) as (run, request, browser, link):
        page = await browser.post(link, data=form(request, "approve"))
        assert (page.status_code, "Thank you: approved 1.1." in page.text) == (200, True)
        (settled,) = (await run.result()).decisions
        assert settled.by == "ann"
        again = await browser.post(link, data=form(request, "approve"))
        assert (again.status_code, "1.1&#39; is already approved by" in again.text) == (410, True)
        assert (await browser.get(link)).status_code == 410
    assert paid == [80]


async def test_an_edit_that_the_tool_does_not_take_is_said_and_kept(temporal: Client) -> None:
    async with waiting(temporal) as (run, request, browser, link):
        typed = '{"order_id": "42", "amount_usd": "much"}'
        page = await browser.post(link, data=form(request, "edit", arguments=typed))
        assert page.status_code == 422
        assert "amount_usd" in page.text
        assert "&#34;much&#34;" in page.text, "what was typed is still there"
        for odd in (
            "{",
            '{"order_id": "\\ud800", "amount_usd": 5}',
            '{"amount_usd": NaN}',
        ):
            page = await browser.post(link, data=form(request, "edit", arguments=odd))
            assert (page.status_code, "arguments: is not JSON" in page.text) == (422, True)
        right = '{"order_id": "42", "amount_usd": 5}'
        await browser.post(link, data=form(request, "edit", arguments=right))
        await run.result()
    assert paid == [5]


async def test_a_denial_says_why(temporal: Client) -> None:
    async with waiting(temporal) as (run, request, browser, link):
        await browser.post(link, data=form(request, "deny", comment="a fraud"))
        (settled,) = (await run.result()).decisions
    assert (settled.outcome, settled.comment) == ("denied", "a fraud")
    assert paid == []


async def test_a_page_that_shows_other_arguments_than_are_asked_about_settles_nothing(
    temporal: Client,
) -> None:
    async with waiting(temporal) as (run, request, browser, link):
        stale = form(request, "approve", arguments_hash="0" * 16)
        page = await browser.post(link, data=stale)
        assert (page.status_code, "have changed" in page.text) == (422, True)
        await run.deny(request)
        await run.result()
    assert paid == []


async def test_a_question_is_answered_with_its_type(temporal: Client) -> None:
    asking = call("ask_human", question="Which colour?")
    async with waiting(temporal, painter, asking) as (run, request, browser, link):  # type: ignore[arg-type]  # JSON
        assert "Which colour?" in (await browser.get(link)).text
        page = await browser.post(link, data=form(request, "answer", answer='{"colour":"green"}'))
        assert page.status_code == 422
        page = await browser.post(link, data=form(request, "answer", answer='{"colour":"red"}'))
        assert page.status_code == 200
        await run.result()


async def test_links_that_were_not_made_here_are_worth_nothing(temporal: Client) -> None:
    async with waiting(temporal) as (run, request, browser, link):
        forged = Links("another secret, as long").url(run.id, "", request)
        for wrong in (forged, f"{link}x", "/r/nonsense", link.replace("/r/", "/r/x")):
            assert (await browser.get(wrong)).status_code == 404
            posted = await browser.post(wrong, data=form(request, "approve"))
            assert posted.status_code == 404
        large = form(request, "approve", comment="x" * 400_000)
        assert (await browser.post(link, data=large)).status_code == 413
        await run.deny(request)
        await run.result()
    assert paid == []


@pytest.mark.parametrize("end", ["terminated", "reset"])
async def test_a_link_to_a_run_that_was_ended_shows_no_form(temporal: Client, end: str) -> None:
    async with waiting(temporal) as (run, request, browser, link):
        handle = temporal.get_workflow_handle(run.id)
        if end == "reset":
            await reset(temporal, run.id, before=TIMER)
        else:
            await handle.terminate()
        for page in (
            await browser.get(link),
            await browser.post(link, data=form(request, "approve")),
        ):
            assert page.status_code == 410
            assert "its run has ended or was reset" in page.text
            assert "<form" not in page.text
        if end == "reset":
            again = await pending(run)
            assert again.request_id == request.request_id
            assert again.expires_at > request.expires_at
            await handle.terminate()
    assert paid == []
