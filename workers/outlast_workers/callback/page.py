"""`outlast worker callback`: a web page where a person decides a request, reached by a signed link.

The page is stateless: it queries the run for the request, and sends the decision as an update.
"""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

import structlog
from jinja2 import Environment, FileSystemLoader, select_autoescape
from outlast_activities.notify import run_url
from pydantic import JsonValue
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route
from temporalio.client import (
    Client,
    WorkflowContinuedAsNewError,
    WorkflowFailureError,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import QueryRejectCondition
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from outlast.contracts.human import UNSEEN_HASH, PendingRequest, outcome_text
from outlast.contracts.results import AgentResult
from outlast.decide_commands import decide_command, decide_update_id, decisions_on
from outlast.errors import NotReady
from outlast.temporal.queries import query
from outlast.temporal.updates import execute_update
from outlast.text.json_text import from_json
from outlast.text.safe_text import escaped, json_text, visible, visible_line
from outlast_workers.callback.form import read_form
from outlast_workers.callback.links import Link, Links
from outlast_workers.connection import connect
from outlast_workers.settings import Settings
from outlast_workers.telemetry import start_telemetry
from outlast_workers.web import WithHeaders, open_listener, serve

RPC_TIMEOUT = timedelta(seconds=10)
"""A run answers a query or an update sooner, unless it has no worker."""

HEADERS = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "content-security-policy": (
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'"
    ),
}

CLOSED = "This request is already decided, or its run has ended or was reset."
INVALID_LINK = "This link is not valid."
UNAVAILABLE = "The run cannot be reached right now. Try again in a moment."
UNCERTAIN = (
    "The run did not answer in time. Your decision may have been accepted. "
    "Reload the page in a moment."
)

log = structlog.get_logger("outlast.callback")


class CallbackPage:
    """The handlers of the page in a Starlette application."""

    def __init__(self, client: Client, links: Links, ui_url: str | None = None) -> None:
        self._client = client
        self._ui_url = ui_url
        self._links = links
        pages = Environment(
            loader=FileSystemLoader(Path(__file__).parent / "pages"),
            autoescape=select_autoescape(),
            finalize=_shown_text,
        )
        pages.filters |= {"visible": visible, "visible_line": visible_line}
        self._template = pages.get_template("decide.html")

    async def show(self, request: Request) -> Response:
        """Show the request. A GET decides nothing, because mail programs open links too."""
        link = self._links.read(request.path_params["token"])
        if link is None:
            return self._page(HTTPStatus.NOT_FOUND, INVALID_LINK)
        return await self._show_pending(link)

    async def decide(self, request: Request) -> Response:
        """Send the decision of the submitted form to the run."""
        link = self._links.read(request.path_params["token"])
        if link is None:
            return self._page(HTTPStatus.NOT_FOUND, INVALID_LINK)
        try:
            fields = await read_form(request)
        except HTTPException as error:
            return self._page(HTTPStatus(error.status_code), error.detail)
        return await self._decide(link, fields)

    async def _decide(self, link: Link, fields: Mapping[str, str]) -> Response:
        try:
            pending = await self._pending(link)
            if pending is None:
                return await self._show_closed(link)
            outcome = await self._send_decision(link, _payload(link, pending, fields), pending)
        except ValueError as error:
            return await self._show_pending(link, error=str(error), fields=fields)
        except RPCError as error:
            return self._show_unavailable(error)
        except WorkflowUpdateRPCTimeoutOrCancelledError:
            return self._page(HTTPStatus.SERVICE_UNAVAILABLE, UNCERTAIN)
        self._log_decision(link, pending, fields)
        return self._page(
            HTTPStatus.OK,
            f"Thank you: {outcome}.",
            is_error=False,
            title=_title(pending),
            link=link,
        )

    def _log_decision(self, link: Link, pending: PendingRequest, fields: Mapping[str, str]) -> None:
        log.info(
            "request.decided",
            workflow_id=link.workflow_id,
            request_id=link.request_id,
            tool=pending.tool,
            audience=pending.audience,
            decision=fields.get("decision", ""),
            by=fields.get("by", ""),
            arguments_hash=pending.arguments_hash,
        )

    async def _send_decision(
        self, link: Link, payload: Mapping[str, Any], pending: PendingRequest | None = None
    ) -> str:
        """Send `decide` and return its answer; raises `ValueError` if the run rejects the decision."""
        handle = self._client.get_workflow_handle(link.workflow_id, run_id=link.run_id)
        update_id = None if pending is None else decide_update_id(payload, pending)
        try:
            return str(
                await execute_update(
                    lambda: handle.execute_update(
                        "decide", payload, id=update_id, rpc_timeout=RPC_TIMEOUT
                    )
                )
            )
        except WorkflowUpdateFailedError as error:
            cause = error.cause
            message = cause.message if isinstance(cause, ApplicationError) else str(cause)
            raise ValueError(message) from None

    async def _show_pending(
        self, link: Link, *, error: str = "", fields: Mapping[str, str] | None = None
    ) -> Response:
        try:
            pending = await self._pending(link)
            if pending is None:
                return await self._show_closed(link)
        except RPCError as rpc_error:
            return self._show_unavailable(rpc_error)
        status = HTTPStatus.UNPROCESSABLE_ENTITY if error else HTTPStatus.OK
        return self._page(status, error, pending=pending, link=link, fields=fields)

    async def _pending(self, link: Link) -> PendingRequest | None:
        handle = self._client.get_workflow_handle(link.workflow_id, run_id=link.run_id)
        try:
            requests: list[PendingRequest] = await query(
                handle,
                "pending_requests",
                result_type=list[PendingRequest],
                rpc_timeout=RPC_TIMEOUT,
                # A run that was terminated or reset still has its requests, and takes no decision.
                reject_condition=QueryRejectCondition.NOT_OPEN,
            )
        except (WorkflowQueryFailedError, WorkflowQueryRejectedError):
            return None
        return next((entry for entry in requests if entry.request_id == link.request_id), None)

    async def _show_closed(self, link: Link) -> Response:
        """Show the outcome of a request that is no longer pending, if the run knows it."""
        try:
            outcome = await self._outcome(link)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            outcome = await self._outcome_from_result(link)  # the run has ended, maybe just now
        return self._page(HTTPStatus.GONE, f"{outcome[:1].upper()}{outcome[1:]}", link=link)

    async def _outcome(self, link: Link) -> str:
        """Return the outcome of a request from a running run: the reason why it rejects a decision."""
        decision = {
            "request_id": link.request_id,
            "decision": "deny",
            "arguments_hash": UNSEEN_HASH,
        }
        try:
            await self._send_decision(link, decision)
        except ValueError as rejection:
            return f"{rejection}."
        except WorkflowUpdateRPCTimeoutOrCancelledError:
            pass
        return CLOSED

    async def _outcome_from_result(self, link: Link) -> str:
        """Return the outcome of a request from the result of an ended run."""
        handle = self._client.get_workflow_handle(
            link.workflow_id, run_id=link.run_id, result_type=AgentResult
        )
        try:
            result = await handle.result(follow_runs=False, rpc_timeout=RPC_TIMEOUT)
        except (WorkflowFailureError, WorkflowContinuedAsNewError):
            return CLOSED
        decisions = (entry for entry in result.decisions if entry.request_id == link.request_id)
        return next((f"{outcome_text(decision)}." for decision in decisions), CLOSED)

    def _show_unavailable(self, error: RPCError) -> Response:
        if error.status is RPCStatusCode.NOT_FOUND:
            return self._page(HTTPStatus.GONE, CLOSED)
        log.warning("run.unavailable", reason=error.message)
        return self._page(HTTPStatus.SERVICE_UNAVAILABLE, UNAVAILABLE)

    def _page(
        self,
        status: HTTPStatus,
        message: str,
        *,
        is_error: bool = True,
        title: str = "A decision",
        pending: PendingRequest | None = None,
        link: Link | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> Response:
        text = self._template.render(
            title=title if pending is None else _title(pending),
            message=message,
            is_error=is_error,
            request=pending,
            link=link,
            run_url=self._run_url(link),
            arguments=_pretty(pending.arguments) if pending else "",
            answer_schema=_pretty(pending.answer_schema) if pending else "",
            is_text=_is_text(pending),
            commands=_commands(link, pending),
            fields=_fields_to_show(fields or {}, pending),
        )
        return HTMLResponse(text, status, headers=HEADERS)

    def _run_url(self, link: Link | None) -> str | None:
        """Return the run of a link in the Web UI."""
        if link is None:
            return None
        return run_url(self._ui_url, self._client.namespace, link.workflow_id, link.run_id)


def _commands(link: Link | None, pending: PendingRequest | None) -> list[str]:
    """Return the commands that decide a request by signature. The page itself cannot sign."""
    if link is None or pending is None or not pending.signers:
        return []
    return [
        decide_command(link.workflow_id, pending, decision) for decision in decisions_on(pending)
    ]


def _fields_to_show(fields: Mapping[str, str], pending: PendingRequest | None) -> dict[str, str]:
    """Return the submitted fields, without an edit of arguments that have changed since."""
    shown = {"by": "", "comment": "", "answer": "", "arguments": "", **fields}
    if pending is not None and fields.get("arguments_hash") != pending.arguments_hash:
        shown["arguments"] = ""
    return shown


def _shown_text(value: Any) -> Any:
    """Return a value for the page; in text that is not HTML yet, people see each character."""
    is_text = isinstance(value, str) and not hasattr(value, "__html__")
    return escaped(value, keep="\n") if is_text else value


def _title(pending: PendingRequest) -> str:
    if pending.kind == "question":
        return "A question for you"
    return f"Approve {visible_line(pending.tool)}?"


def _pretty(value: Any) -> str:
    return json_text(value, indent=2)


def _is_text(pending: PendingRequest | None) -> bool:
    schema = pending.answer_schema if pending else None
    return isinstance(schema, dict) and schema.get("type") == "string"


def _payload(link: Link, pending: PendingRequest, fields: Mapping[str, str]) -> dict[str, Any]:
    """Return a form as the payload of `decide`; raises `ValueError` for invalid JSON."""
    decision = fields.get("decision", "")
    payload: dict[str, Any] = {
        "request_id": link.request_id,
        "decision": decision,
        "arguments_hash": fields.get("arguments_hash", ""),
        "by": fields.get("by", ""),
        "comment": fields.get("comment", ""),
    }
    if decision == "approve" and "arguments" in fields:
        _reject_edit(fields["arguments"], pending)
    if decision == "edit":
        payload["arguments"] = _parse_json(fields.get("arguments", ""), "arguments")
    if decision == "answer":
        text = fields.get("answer", "")
        payload["answer"] = text if _is_text(pending) else _parse_json(text, "answer")
    return payload


def _reject_edit(text: str, pending: PendingRequest) -> None:
    """Raise `ValueError` if a person edited the arguments but pressed plain 'Approve'."""
    try:
        is_changed = _parse_json(text, "arguments") != pending.arguments
    except ValueError:
        is_changed = True
    if is_changed:
        raise ValueError("arguments: you changed them: press 'Approve as edited', or undo the edit")


def _parse_json(text: str, field: str) -> JsonValue:
    try:
        return from_json(text)
    except ValueError as error:
        raise ValueError(f"{field}: is not JSON: {error}") from None


def callback_app(client: Client, links: Links, ui_url: str | None = None) -> Starlette:
    """Return the application: `/r/TOKEN`, and `/healthz`. It links to runs in the Web UI at `ui_url`."""
    page = CallbackPage(client, links, ui_url)

    async def health(_: Request) -> Response:
        return PlainTextResponse("ok")

    app = Starlette(
        middleware=[Middleware(WithHeaders, headers=HEADERS)],
        routes=[
            Route("/r/{token}", page.show, methods=["GET"]),
            Route("/r/{token}", page.decide, methods=["POST"]),
            Route("/healthz", health),
        ],
    )
    # A redirect would send the token to the `Host` that the client names.
    app.router.redirect_slashes = False
    return app


async def run_callback(settings: Settings, *, stop: asyncio.Event) -> int:
    """Serve until `stop` is set; raises `NotReady` without a secret or a port."""
    callback = settings.callback
    if callback.secret is None:
        raise NotReady("callback.secret (OUTLAST_CALLBACK__SECRET) is missing: it signs the links")
    telemetry = start_telemetry(settings)
    client = await connect(plugins=[settings.payloads.plugin(), *telemetry.plugins])
    app = callback_app(client, Links(callback.secret.get_secret_value()), settings.ui_url)
    listener = open_listener(
        callback.host, callback.port, name="the decision page", key="callback.port"
    )
    try:
        log.info("callback.started", host=callback.host, port=callback.port)
        await serve(app, listener, stop=stop)
    finally:
        telemetry.shutdown()
    log.info("callback.stopped")
    return 0
