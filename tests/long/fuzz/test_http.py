"""The HTTP services: whatever is sent, each answers below 500 and goes on."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from outlast_workers.callback.links import Links
from outlast_workers.callback.page import callback_app
from outlast_workers.demand.demand_query import Reading, Target
from outlast_workers.demand.http_api import http_api
from outlast_workers.demand.reading_cache import ReadingCache
from outlast_workers.demand.temporal_source import ReadingFailed
from outlast_workers.health import Health, serve_health
from temporalio.client import Client

from outlast import Agent, Run, tool
from outlast.testing import ScriptedModel, answer, call
from tests.long.fuzz import strategies as of
from tests.long.fuzz.alarm import alarm, examples
from tests.stage import on_stage, pending

LINKS = Links("a secret of sixteen", "http://page")


@tool(effect="irreversible", approval="leads")
def pay(ref: str) -> str:
    """Pay."""
    return "paid"


class Page:
    """The callback page of a run that waits, renewed once somebody settled its request."""

    def __init__(self, stage: Any, browser: httpx2.AsyncClient) -> None:
        self._stage = stage
        self._run: Run | None = None
        self.browser = browser
        self.path = ""

    async def renew(self) -> None:
        if self._run is not None and await self._run.pending_requests():
            return
        self._run = await self._stage.start("payer")
        request = await pending(self._run)
        run_id = str(self._run.first_execution_run_id)
        self.path = LINKS.url(self._run.id, run_id, request).removeprefix("http://page")

    async def end(self) -> None:
        if self._run is not None:
            await self._run.cancel()
            await self._run.result()


@pytest_asyncio.fixture(scope="module")
async def page(temporal: Client) -> AsyncIterator[Page]:
    payer = Agent(name="payer", instructions="Pay.", tools=[pay])
    model = ScriptedModel([_by_turn], repeat_last=True)
    async with on_stage(temporal, model, [payer]) as stage:
        transport = httpx2.ASGITransport(callback_app(temporal, LINKS))
        async with httpx2.AsyncClient(transport=transport, base_url="http://page") as browser:
            opened = Page(stage, browser)
            yield opened
            await opened.end()


def _by_turn(prompt: Any) -> Any:
    is_first = not any(message["role"] == "assistant" for message in prompt.messages)
    return call("pay", ref="x") if is_first else answer("done")


FORMS = st.dictionaries(
    st.sampled_from(["decision", "arguments", "answer", "hash", "arguments_hash", "by", "comment"]),
    st.one_of(
        st.sampled_from(["approve", "deny", "edit", "answer", '{"ref": "y"}', "[" * 5_000]),
        of.VALUES.map(lambda value: of.encoded(value).decode(errors="replace")),
        of.TEXTS.filter(of.is_encodable),
    ),
    max_size=5,
)


@examples(40)
@given(form=FORMS, body=st.one_of(st.none(), st.binary(max_size=80)))
@pytest.mark.timeout(180)
async def test_the_decision_page_takes_any_form(
    page: Page, form: dict[str, str], body: bytes | None
) -> None:
    await page.renew()
    headers = {"content-type": "application/x-www-form-urlencoded"}
    async with asyncio.timeout(10):
        if body is None:
            answered = await page.browser.post(page.path, data=form)
        else:
            answered = await page.browser.post(page.path, content=body, headers=headers)
    assert answered.status_code < 500, answered.text


@examples(60)
@given(token=of.TEXTS.filter(of.is_encodable), method=st.sampled_from(["GET", "POST", "PUT"]))
async def test_a_link_of_a_stranger_is_not_found(page: Page, token: str, method: str) -> None:
    answered = await page.browser.request(method, f"/r/{quote(token, safe='')}")
    assert 300 <= answered.status_code < 500


HEADS = st.one_of(
    st.binary(max_size=60),
    st.builds(
        lambda method, path, rest: b"%s %s HTTP/1.1\r\n%s\r\n\r\n" % (method, path, rest),
        st.sampled_from([b"GET", b"HEAD", b"POST", b"\xff"]),
        st.one_of(st.sampled_from([b"/livez", b"/healthz?x", b"/%00"]), st.binary(max_size=20)),
        st.binary(max_size=40),
    ),
)


@examples(100)
@given(head=HEADS)
async def test_the_health_endpoint_answers_after_any_bytes(health: int, head: bytes) -> None:
    with contextlib.suppress(ConnectionError):
        reader, writer = await asyncio.open_connection("127.0.0.1", health)
        writer.write(head)
        writer.write_eof()
        async with asyncio.timeout(5):
            await reader.read()
        writer.close()
    async with asyncio.timeout(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", health)
        writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
        writer.close()


@pytest_asyncio.fixture(scope="module")
async def health() -> AsyncIterator[int]:
    state = Health(roles=("workflows",), queues={}, temporal_reachable=True)
    async with serve_health(lambda: state, port=0) as port:
        yield port


class Nothing:
    """A server that knows no task queue."""

    async def read(self, target: Target) -> Reading:
        raise ReadingFailed(f"{target.task_queue} is not known")


@examples(200)
@given(
    path=of.TEXTS.filter(of.is_encodable),
    query=st.dictionaries(
        st.sampled_from(["types", "slots", "deployment", "build_id", "odd"]),
        of.TEXTS.filter(of.is_encodable),
        max_size=3,
    ),
)
async def test_the_demand_service_answers_any_question(
    demand: httpx2.AsyncClient, path: str, query: dict[str, str]
) -> None:
    with alarm():
        answered = await demand.get(f"/demand/{quote(path, safe='')}", params=query)
        metrics = await demand.get("/metrics")
    assert answered.status_code in {200, 400, 404, 503, 307}
    assert metrics.status_code == 200


@pytest_asyncio.fixture(scope="module")
async def demand() -> AsyncIterator[httpx2.AsyncClient]:
    cache = ReadingCache(Nothing(), poll_s=60, keep_s=60)
    transport = httpx2.ASGITransport(http_api(cache, lambda _: 1))
    async with httpx2.AsyncClient(transport=transport, base_url="http://demand") as browser:
        yield browser
