"""`outlast worker callback`: a page on which a person settles a request, from a signed link.

It keeps no state: what is asked is read from the run, and what is decided is told to it.
"""

import asyncio
import json
from collections.abc import Mapping
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

import structlog
from jinja2 import Environment, FileSystemLoader, select_autoescape
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route
from temporalio.client import (
    Client,
    WorkflowContinuedAsNewError,
    WorkflowFailureError,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from outlast.contracts.human import PendingRequest, what_became
from outlast.contracts.results import AgentResult
from outlast.decide_commands import decide_command, decisions_on
from outlast.errors import NotReady
from outlast.plugin import OutlastPlugin
from outlast.terminal.decisions import UNSEEN
from outlast_workers.callback.links import Link, Links
from outlast_workers.connection import connect
from outlast_workers.settings import Settings
from outlast_workers.telemetry import start_telemetry
from outlast_workers.web import listening, serve

ANSWERS_WITHIN = timedelta(seconds=10)
"""A run answers a query or an update in less, unless it has no worker."""

MAX_FORM_BYTES = 300_000
"""More than a tool's arguments are allowed to be."""

HEADERS = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "content-security-policy": (
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'"
    ),
}

GONE = "This request is settled already, or its run has ended."
UNKNOWN = "This link is not valid."
AWAY = "The run cannot be asked right now. Try again in a moment."

UNSURE = "The run did not answer in time; your decision may have counted. Look again in a moment."

log = structlog.get_logger("outlast.callback")


class CallbackPage:
    """The page of one link, as a Starlette application serves it."""

    def __init__(self, client: Client, links: Links) -> None:
        self._client = client
        self._links = links
        pages = Environment(
            loader=FileSystemLoader(Path(__file__).parent / "pages"),
            autoescape=select_autoescape(),
        )
        self._template = pages.get_template("decide.html")

    async def show(self, request: Request) -> Response:
        """Show what is asked; nothing is settled by looking, for mail programs look too."""
        link = self._links.read(request.path_params["token"])
        if link is None:
            return self._page(HTTPStatus.NOT_FOUND, UNKNOWN)
        return await self._shown(link)

    async def settle(self, request: Request) -> Response:
        """Settle the request as the form says."""
        link = self._links.read(request.path_params["token"])
        if link is None:
            return self._page(HTTPStatus.NOT_FOUND, UNKNOWN)
        if int(request.headers.get("content-length") or MAX_FORM_BYTES + 1) > MAX_FORM_BYTES:
            return self._page(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "That is too much text.")
        async with request.form() as form:
            texts = {name: value for name, value in form.items() if isinstance(value, str)}
        typed = {name: text.replace("\r\n", "\n") for name, text in texts.items()}
        return await self._settled(link, typed)

    async def _settled(self, link: Link, typed: Mapping[str, str]) -> Response:
        try:
            asked = await self._pending(link)
            if asked is None:
                return await self._gone(link)
            said = await self._decided(link, asked, typed)
        except ValueError as error:
            return await self._shown(link, wrong=str(error), typed=typed)
        except RPCError as error:
            return self._away(error)
        except WorkflowUpdateRPCTimeoutOrCancelledError:
            return self._page(HTTPStatus.SERVICE_UNAVAILABLE, UNSURE)
        log.info("request.decided", workflow_id=link.workflow_id, request_id=link.request_id)
        return self._page(
            HTTPStatus.OK, f"Thank you: {said}.", wrong=False, title=_title(asked), link=link
        )

    async def _decided(self, link: Link, asked: PendingRequest, typed: Mapping[str, str]) -> str:
        """Tell the run; raises `ValueError` with what is wrong with the decision."""
        return await self._told(link, _payload(link, asked, typed))

    async def _told(self, link: Link, payload: Mapping[str, Any]) -> str:
        handle = self._client.get_workflow_handle(link.workflow_id, run_id=link.run_id)
        try:
            return str(await handle.execute_update("decide", payload, rpc_timeout=ANSWERS_WITHIN))
        except WorkflowUpdateFailedError as error:
            cause = error.cause
            message = cause.message if isinstance(cause, ApplicationError) else str(cause)
            raise ValueError(message) from None

    async def _shown(
        self, link: Link, *, wrong: str = "", typed: Mapping[str, str] | None = None
    ) -> Response:
        try:
            asked = await self._pending(link)
            if asked is None:
                return await self._gone(link)
        except RPCError as error:
            return self._away(error)
        status = HTTPStatus.UNPROCESSABLE_ENTITY if wrong else HTTPStatus.OK
        return self._page(status, wrong, asked=asked, link=link, typed=typed)

    async def _pending(self, link: Link) -> PendingRequest | None:
        handle = self._client.get_workflow_handle(link.workflow_id, run_id=link.run_id)
        try:
            requests: list[PendingRequest] = await handle.query(
                "pending_requests", result_type=list[PendingRequest], rpc_timeout=ANSWERS_WITHIN
            )
        except WorkflowQueryFailedError:
            return None
        return next((one for one in requests if one.request_id == link.request_id), None)

    async def _gone(self, link: Link) -> Response:
        """Say what became of a request that does not wait, where its run can tell."""
        handle = self._client.get_workflow_handle(link.workflow_id, run_id=link.run_id)
        described = await handle.describe(rpc_timeout=ANSWERS_WITHIN)
        over = described.close_time is not None
        said = await (self._remembered(link) if over else self._asked_after(link))
        return self._page(HTTPStatus.GONE, f"{said[:1].upper()}{said[1:]}", link=link)

    async def _asked_after(self, link: Link) -> str:
        """Return what a run says of a request that it knows as settled, by refusing one more decision."""
        decision = {"request_id": link.request_id, "decision": "deny", "arguments_hash": UNSEEN}
        try:
            await self._told(link, decision)
        except ValueError as refusal:
            return f"{refusal}."
        except WorkflowUpdateRPCTimeoutOrCancelledError:
            pass
        return GONE

    async def _remembered(self, link: Link) -> str:
        """Return what the result of an ended run says of a request."""
        handle = self._client.get_workflow_handle(
            link.workflow_id, run_id=link.run_id, result_type=AgentResult
        )
        try:
            result = await handle.result(follow_runs=False, rpc_timeout=ANSWERS_WITHIN)
        except (WorkflowFailureError, WorkflowContinuedAsNewError):
            return GONE
        asked = (one for one in result.decisions if one.request_id == link.request_id)
        return next((f"{what_became(one)}." for one in asked), GONE)

    def _away(self, error: RPCError) -> Response:
        if error.status is RPCStatusCode.NOT_FOUND:
            return self._page(HTTPStatus.GONE, GONE)
        log.warning("run.not_asked", reason=error.message)
        return self._page(HTTPStatus.SERVICE_UNAVAILABLE, AWAY)

    def _page(
        self,
        status: HTTPStatus,
        said: str,
        *,
        wrong: bool = True,
        title: str = "A decision",
        asked: PendingRequest | None = None,
        link: Link | None = None,
        typed: Mapping[str, str] | None = None,
    ) -> Response:
        text = self._template.render(
            title=title if asked is None else _title(asked),
            said=said,
            wrong=wrong,
            request=asked,
            link=link,
            arguments=_pretty(asked.arguments) if asked else "",
            answer_schema=_pretty(asked.answer_schema) if asked else "",
            is_text=_is_text(asked),
            commands=_commands(link, asked),
            typed=_kept(typed or {}, asked),
        )
        return HTMLResponse(text, status, headers=HEADERS)


def _commands(link: Link | None, asked: PendingRequest | None) -> list[str]:
    """Return what has to be typed instead, where a request is settled by signature."""
    if link is None or asked is None or not asked.signers:
        return []
    return [decide_command(link.workflow_id, asked, one) for one in decisions_on(asked)]


def _kept(typed: Mapping[str, str], asked: PendingRequest | None) -> dict[str, str]:
    """Return what a person typed, without an edit of arguments that are others by now."""
    blank = {"by": "", "comment": "", "answer": "", "arguments": ""}
    kept = {**blank, **typed}
    if asked is not None and typed.get("arguments_hash") != asked.arguments_hash:
        kept["arguments"] = ""
    return kept


def _title(asked: PendingRequest) -> str:
    return "A question for you" if asked.kind == "question" else f"Approve {asked.tool}?"


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _is_text(asked: PendingRequest | None) -> bool:
    schema = asked.answer_schema if asked else None
    return isinstance(schema, dict) and schema.get("type") == "string"


def _payload(link: Link, asked: PendingRequest, typed: Mapping[str, str]) -> dict[str, Any]:
    """Return a form as the payload of `decide`; raises `ValueError` for JSON that is none."""
    decision = typed.get("decision", "")
    payload: dict[str, Any] = {
        "request_id": link.request_id,
        "decision": decision,
        "arguments_hash": typed.get("arguments_hash", ""),
        "by": typed.get("by", ""),
        "comment": typed.get("comment", ""),
    }
    if decision == "approve" and "arguments" in typed:
        _refuse_edit(typed["arguments"], asked)
    if decision == "edit":
        payload["arguments"] = _read_json(typed.get("arguments", ""), "arguments")
    if decision == "answer":
        text = typed.get("answer", "")
        payload["answer"] = text if _is_text(asked) else _read_json(text, "answer")
    return payload


def _refuse_edit(text: str, asked: PendingRequest) -> None:
    """Raise `ValueError` for arguments that were changed and would not be what is approved."""
    try:
        is_changed = _read_json(text, "arguments") != asked.arguments
    except ValueError:
        is_changed = True
    if is_changed:
        raise ValueError("arguments: you changed them: press 'Approve as edited', or undo it")


def _read_json(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{what}: is not JSON: {error}") from None


def callback_app(client: Client, links: Links) -> Starlette:
    """Return the application: `/r/TOKEN`, and `/healthz`."""
    page = CallbackPage(client, links)

    async def health(_: Request) -> Response:
        return PlainTextResponse("ok")

    return Starlette(
        routes=[
            Route("/r/{token}", page.show, methods=["GET"]),
            Route("/r/{token}", page.settle, methods=["POST"]),
            Route("/healthz", health),
        ]
    )


async def run_callback(settings: Settings, *, stop: asyncio.Event) -> int:
    """Serve until `stop` is set; raises `NotReady` without a secret or a port."""
    told = settings.callback
    if told.secret is None:
        raise NotReady("callback.secret (OUTLAST_CALLBACK__SECRET) is needed: it signs the links")
    telemetry = start_telemetry(
        log_format=settings.log_format,
        log_level=settings.log_level,
        otlp_endpoint=settings.otlp_endpoint,
    )
    client = await connect(plugins=[OutlastPlugin(), *telemetry.plugins])
    app = callback_app(client, Links(told.secret.get_secret_value()))
    listener = listening(told.host, told.port, what="the callback page", key="callback.port")
    try:
        log.info("callback.started", host=told.host, port=told.port)
        await serve(app, listener, stop=stop)
    finally:
        telemetry.shutdown()
    log.info("callback.stopped")
    return 0
