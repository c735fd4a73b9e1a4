"""Errors of the client: each is an `OutlastError` of one line that says what to do."""

import asyncio
import gc
import traceback
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, cast

import pytest
from temporalio.client import Client as TemporalClient
from temporalio.client import (
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.exceptions import ApplicationError, TerminatedError, TimeoutType
from temporalio.exceptions import TimeoutError as TemporalTimeoutError
from temporalio.service import RPCError, RPCStatusCode

import outlast
from outlast import BadRequest, Client, OutlastError, Run, RunFailed
from outlast.errors import (
    DefinitionError,
    Failure,
    ModelError,
    ModelFailure,
    NoAnswer,
    RunNotFound,
    Unavailable,
)
from outlast.temporal.updates import MAX_UPDATE_ATTEMPTS


def rpc(status: RPCStatusCode, message: str = "it\nfailed") -> RPCError:
    return RPCError(message, status, b"")


class Handle:
    """A workflow handle whose every call raises one error."""

    id = "r1"

    def __init__(self, error: BaseException) -> None:
        self._error = error

    async def _fail(self, *_: Any, **__: Any) -> Any:
        raise self._error

    result = query = execute_update = cancel = _fail


def run_that_raises(error: BaseException) -> Run:
    return Run(cast("WorkflowHandle[Any, Any]", Handle(error)))


async def stream(run: Run) -> None:
    async for _ in run.stream(timedelta(milliseconds=1)):
        pass


CALLS: dict[str, Callable[[Run], Coroutine[Any, Any, Any]]] = {
    "result": lambda run: run.result(),
    "progress": lambda run: run.progress(),
    "pending_requests": lambda run: run.pending_requests(),
    "transcript": lambda run: run.transcript(),
    "stream": stream,
    "approve": lambda run: run.approve("1.1"),
    "deny": lambda run: run.deny("1.1"),
    "edit": lambda run: run.edit("1.1", {}),
    "answer": lambda run: run.answer("1.1", "yes"),
    "say": lambda run: run.say("hello"),
    "reply": lambda run: run.reply(),
    "pause": lambda run: run.pause(),
    "resume": lambda run: run.resume(),
    "finish": lambda run: run.finish(),
    "cancel": lambda run: run.cancel(),
}

UPDATES_LIMIT = "limit on the total number of distinct updates in this workflow execution (2000)"

ERRORS: dict[str, BaseException] = {
    **{status.name: rpc(status) for status in RPCStatusCode if status is not RPCStatusCode.OK},
    "no message": rpc(RPCStatusCode.UNAVAILABLE, ""),
    "long": rpc(RPCStatusCode.INTERNAL, "x" * 10_000),
    "no namespace": rpc(RPCStatusCode.NOT_FOUND, "Namespace nope is not found."),
    "no worker": rpc(RPCStatusCode.UNAVAILABLE, "no worker has polled"),
    "updates": rpc(RPCStatusCode.FAILED_PRECONDITION, UPDATES_LIMIT),
    "in flight": rpc(
        RPCStatusCode.RESOURCE_EXHAUSTED, "limit on number of concurrent in-flight updates"
    ),
    "not ready": rpc(
        RPCStatusCode.FAILED_PRECONDITION,
        "Unable to perform workflow execution update due to Workflow Task in failed state.",
    ),
    "lost by a worker": WorkflowUpdateFailedError(
        ApplicationError("it wasn't processed by worker", type="UnprocessedUpdate")
    ),
    "rejected": WorkflowUpdateFailedError(ApplicationError("no\nsuch request", type="BadRequest")),
    "odd": WorkflowUpdateFailedError(TerminatedError("the run was terminated")),
    "late": WorkflowUpdateRPCTimeoutOrCancelledError(),
    "query": WorkflowQueryFailedError("the run is not open yet"),
    "query rejected": WorkflowQueryRejectedError(None),
}


@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize("call", CALLS)
async def test_an_error_of_the_sdk_is_one_line_of_one_family(
    call: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outlast.client.streams.MAX_SERVER_AWAY_S", 0.0)
    monkeypatch.setattr("outlast.client.streams.RESULT_RETRY_S", 0.001)
    monkeypatch.setattr("outlast.client.replies.REPLY_RETRY_S", 0.001)
    monkeypatch.setattr("outlast.temporal.updates.UPDATE_RETRY_S", 0.001)
    run = run_that_raises(ERRORS[name])
    if call == "stream" and isinstance(ERRORS[name], WorkflowQueryFailedError):
        pytest.skip("result() does not raise it")
    with pytest.raises(OutlastError) as raised:
        await CALLS[call](run)
    line = str(raised.value)
    assert "\n" not in line
    assert 10 < len(line) < 700
    assert type(raised.value).__name__ not in line
    shown = "".join(traceback.format_exception(raised.value))
    assert "temporalio" not in shown.replace("site-packages/temporalio", "")


class LossyHandle(Handle):
    """A workflow handle whose worker loses the first updates."""

    def __init__(self, losses: int) -> None:
        super().__init__(ERRORS["lost by a worker"])
        self.ids: list[str | None] = []
        self._losses = losses

    async def _answer(self, *_: Any, id: str | None = None, **__: Any) -> str:  # noqa: A002
        self.ids.append(id)
        if len(self.ids) <= self._losses:
            raise self._error
        return "done"

    execute_update = _answer


@pytest.mark.parametrize("call", ["say", "reply"])
async def test_an_update_that_a_worker_lost_is_sent_again_under_its_id(
    call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outlast.temporal.updates.UPDATE_RETRY_S", 0.001)
    handle = LossyHandle(MAX_UPDATE_ATTEMPTS - 1)
    run: Run = Run(cast("WorkflowHandle[Any, Any]", handle))
    sent = run.say("hello", update_id="m1") if call == "say" else run.reply(update_id="m1")
    assert await sent == "done"
    assert handle.ids == ["m1"] * MAX_UPDATE_ATTEMPTS


async def test_an_update_that_every_worker_loses_is_unavailable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("outlast.temporal.updates.UPDATE_RETRY_S", 0.001)
    handle = LossyHandle(100)
    with pytest.raises(Unavailable, match="repeat the call"):
        await Run(cast("WorkflowHandle[Any, Any]", handle)).say("hello")
    assert len(handle.ids) == MAX_UPDATE_ATTEMPTS


@pytest.mark.parametrize("call", CALLS)
async def test_a_run_that_does_not_exist_is_not_found(call: str) -> None:
    run = run_that_raises(rpc(RPCStatusCode.NOT_FOUND, "workflow not found for ID: r1"))
    with pytest.raises(RunNotFound, match="'r1'"):
        await CALLS[call](run)


@pytest.mark.parametrize("call", ["progress", "pending_requests", "transcript"])
@pytest.mark.parametrize("status", [RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED])
async def test_a_query_without_a_worker_says_so(call: str, status: RPCStatusCode) -> None:
    run = run_that_raises(rpc(status, "query timed out before a worker could process it"))
    with pytest.raises(Unavailable, match="no worker answers for the run 'r1'"):
        await CALLS[call](run)


async def test_a_queue_whose_workers_ended_is_no_fault_of_the_request() -> None:
    reason = "no poller seen for task queue recently, worker may be down"
    for call in ("progress", "transcript"):
        with pytest.raises(Unavailable, match="no worker answers for the run"):
            await CALLS[call](run_that_raises(rpc(RPCStatusCode.FAILED_PRECONDITION, reason)))


async def test_beyond_the_updates_of_a_run_a_signal_is_the_way() -> None:
    with pytest.raises(BadRequest, match="send 'decide' as a signal"):
        await run_that_raises(rpc(RPCStatusCode.FAILED_PRECONDITION, UPDATES_LIMIT)).approve("1.1")


@pytest.mark.parametrize(
    "error",
    [
        ERRORS["in flight"],
        ERRORS["lost by a worker"],
        ERRORS["not ready"],
        rpc(RPCStatusCode.NOT_FOUND, 'update "1f0c" not found'),
    ],
)
async def test_an_update_that_did_not_reach_the_run_is_repeated(error: BaseException) -> None:
    with pytest.raises(Unavailable, match="repeat the call"):
        await run_that_raises(error).approve("1.1")


@pytest.mark.parametrize(
    ("cause", "message"),
    [
        (ApplicationError("boom", type="ToolFailed"), "boom"),
        (TerminatedError("Workflow terminated"), "Workflow terminated"),
        (
            TemporalTimeoutError(
                "Workflow timed out",
                type=TimeoutType.START_TO_CLOSE,
                last_heartbeat_details=[],
            ),
            "Workflow timed out",
        ),
    ],
)
async def test_a_run_that_failed_says_why(cause: BaseException, message: str) -> None:
    with pytest.raises(RunFailed) as failed:
        await run_that_raises(WorkflowFailureError(cause=cause)).result()
    assert str(failed.value) == message


async def test_a_reply_that_is_late_says_what_it_waits_for() -> None:
    class Silent(Handle):
        async def execute_update(self, *_: Any, **__: Any) -> Any:
            await asyncio.sleep(60)

        async def query(self, *_: Any, **__: Any) -> Any:
            return {
                "agent": "a",
                "status": "paused",
                "doing": "paused by ann",
                "turn": 1,
                "max_turns": 3,
                "tool_calls": 0,
                "usage": {},
            }

    run = Run(cast("WorkflowHandle[Any, Any]", Silent(ValueError())))
    with pytest.raises(NoAnswer, match="paused by ann") as late:
        await run.reply(within=timedelta(milliseconds=50))
    assert isinstance(late.value, TimeoutError)
    assert [entry.content for entry in late.value.waiting] == [
        "paused by ann: `resume` continues it"
    ]
    seen: list[outlast.Waiting] = []
    with pytest.raises(NoAnswer):
        await run.reply(within=timedelta(seconds=1.5), on_waiting=seen.append)
    assert [entry.role for entry in seen] == ["waiting"]


@pytest.mark.parametrize(
    "error",
    [
        BadRequest("x: y"),
        RunNotFound("x: y"),
        RunFailed("x: y", run_id="r"),
        outlast.ToolError("x: y"),
        ModelError("x: y", kind=ModelFailure.EMPTY),
        Failure("x: y", kind="Other"),
        DefinitionError("x: y"),
        Unavailable("x: y"),
        NoAnswer("x: y"),
    ],
)
def test_the_text_of_an_error_is_its_message(error: OutlastError) -> None:
    assert str(error) == "x: y"


async def test_a_chat_that_fails_leaves_no_unread_error(temporal: TemporalClient) -> None:
    unread: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unread.append(context))
    client = Client(await TemporalClient.connect(temporal.service_client.config.target_host))
    for task_queue in ("", "x" * 5_000):  # the server rejects both
        with pytest.raises(OutlastError):
            await client.chat("c1", "hi", agent="desk", task_queue=task_queue)
    broken = Client(
        await TemporalClient.connect(
            client.temporal.service_client.config.target_host, namespace="nope"
        )
    )
    with pytest.raises(OutlastError):
        await broken.chat("c1", "hi", agent="desk")
    gc.collect()
    await asyncio.sleep(0)
    assert unread == []


@pytest.mark.parametrize(
    "address", ["127.0.0.1:1", "not an address", "127.0.0.1:99999", "[::1", "x y:1"]
)
async def test_a_server_that_is_away_is_named(address: str) -> None:
    with pytest.raises(OutlastError, match="cannot connect to a Temporal server at") as away:
        await Client.connect(target_host=address)
    assert "\n" not in str(away.value)


@pytest.mark.parametrize(
    ("address", "hint"),
    [
        ("127.0.0.1", "the address has no port, such as :7233"),
        ("localhost:", "the address has no port, such as :7233"),
        ("[::1]", "the address has no port, such as :7233"),
        ("::1", r"write an address of IPv6 as \[ADDRESS\]:PORT"),
        ("fe80::1:7233", r"write an address of IPv6 as \[ADDRESS\]:PORT"),
    ],
)
async def test_an_address_that_lacks_a_port_is_explained(address: str, hint: str) -> None:
    with pytest.raises(OutlastError, match=hint):
        await Client.connect(target_host=address)


async def test_a_namespace_that_does_not_exist_is_named(temporal: TemporalClient) -> None:
    client = await Client.connect(
        target_host=temporal.service_client.config.target_host, namespace="nope"
    )
    for call in (client.start("a", "b"), client.get("r").result(), client.get("r").progress()):
        with pytest.raises(OutlastError, match="nope"):
            await call


def test_objects_show_what_they_are(temporal: TemporalClient) -> None:
    client = Client(temporal)
    assert repr(client.get("r1")) == "<outlast.Run 'r1'>"
    assert repr(client).startswith("<outlast.Client '127.0.0.1:")
    assert outlast.__version__[0].isdigit()


async def misspelt_options(client: Client) -> None:
    """Not called: type checkers must find each slip, or they report an unused comment."""
    await client.start("a", "b", limit=3)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    await client.run("a", "b", limit=3)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    await client.run("a", "b", tenant=3)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    await client.chat("c", "b", agent="a", limit=3)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
