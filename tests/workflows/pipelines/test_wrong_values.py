"""Wrong values while a pipeline runs: each error has the value and its place, and no person is asked."""

import uuid
from typing import Any

from temporalio.client import Client

from outlast import tool
from outlast.testing import ScriptedModel
from tests.stage import on_stage, staged_settings
from tests.workflows.pipelines.staging import document, failure_of, output_of, result_of

NO_MODEL = ScriptedModel([])


@tool(effect="write", approval="leads", max_calls=2)
def pay(amount: int) -> str:
    """Pay."""
    return f"paid {amount}"


def call_pay(arguments: Any) -> dict[str, Any]:
    return {"t": {"call": "tool", "with": {"tool": "pay", "arguments": arguments}}}


OBJECT = {"schema": {"document": {"type": "object"}}}

ERROR = {"type": "urn:a", "status": 400}
FAILS = [{"fails": {"raise": {"error": ERROR}}}]

WRONG: list[tuple[dict[str, Any], str, str]] = [
    # document, place, part of the message
    (document({"t": {"wait": "${ -5 }"}}), "/do/0/t", "the duration -5 is not valid; give"),
    (
        document({"t": {"set": {"a": 1}, "timeout": {"after": '${ "soon" }'}}}),
        "/do/0/t",
        "the duration 'soon' is not valid; give",
    ),
    (document(call_pay("${ 5 }")), "/do/0/t", "the arguments 5 are not an object"),
    (document(call_pay({"amount": "much"})), "/do/0/t", "call of pay is not valid: amount: 'much'"),
    (
        document({"t": {"call": "http", "with": {"method": "get", "endpoint": "${ 5 }"}}}),
        "/do/0/t",
        "the endpoint 5 is not a text",
    ),
    (
        document({"t": {"for": {"in": '"abc"'}, "do": [{"a": {"set": {"x": 1}}}]}}),
        "/do/0/t",
        "'for.in' is string, not an array",
    ),
    (document({"t": {"set": {"x": "${ 1, 2 }"}}}), "/do/0/t", "has several values"),
    (document({"t": {"set": {"x": "${ 1e308 * 10 }"}}}), "/do/0/t", "a number is too large"),
    (document({"t": {"set": {"x": "${ 1 / 0 }"}}}), "/do/0/t", "cannot be divided by zero"),
    (document({"a/b~ü": {"set": {"x": "${ 1 + {} }"}}}), "/do/0/a~1b~0ü", "cannot be added"),
    (document({"t": {"wait": "PT1H", "timeout": {"after": "PT0S"}}}), "/do/0/t", "longer than 0 s"),
    (
        document({"t": {"raise": {"error": {**ERROR, "detail": "${ {a: [true]} }"}}}}),
        "/do/0/t",
        'an error was raised: {"a":[true]}',
    ),
    (
        document({"t": {"try": FAILS, "catch": {"when": "$error.status + {}", "do": FAILS}}}),
        "/do/0/t",
        "number (400) and object of 0 cannot be added",
    ),
    (
        document({"t": {"try": FAILS, "catch": {"do": FAILS}}}),
        "/do/0/t/catch/do/0/fails",
        "an error was raised",
    ),
    (
        document({"t": {"fork": {"compete": True, "branches": FAILS}}}),
        "/do/0/t/fork/branches/0/fails",
        "an error was raised",
    ),
    (document({"t": {"set": {"a": 1}}}, input=OBJECT), "/input", "None is not of type 'object'"),
    (
        document({"t": {"set": {"a": 1}}}, input={"from": "${ .a.b + 1 | error }"}),
        "/input/from",
        "an expression failed",
    ),
    (document({"t": {"set": {"a": 1}}}, output={"as": ".a.b"}), "/output/as", "has no item"),
    (
        document({"t": {"set": {"a": 1}}}, output={"as": ".a", **OBJECT}),
        "/output",
        "1 is not of type 'object'",
    ),
]


async def test_a_wrong_value_fails_with_its_place_before_people_are_asked(temporal: Client) -> None:
    async with on_stage(temporal, NO_MODEL, tools=[pay]) as stage:
        for pipeline, place, message in WRONG:
            failure = await failure_of(stage, pipeline)
            assert failure.details[0]["instance"] == place
            assert failure.message.startswith(f"{place}: ")
            assert message in failure.message


async def test_a_wrong_call_can_be_caught(temporal: Client) -> None:
    caught = {
        "try": [call_pay({"amount": "much"})],
        "catch": {"errors": {"with": {"status": 400}}, "do": [{"none": {"set": {"paid": 0}}}]},
    }
    async with on_stage(temporal, NO_MODEL, tools=[pay]) as stage:
        assert await output_of(stage, document({"attempt": caught})) == {"paid": 0}


async def test_too_many_events_before_the_start_are_dropped(temporal: Client) -> None:
    settings = staged_settings(cached=1000)
    kept = ["a"] * 5 + ["small"]
    listen = {"listen": {"to": {"all": [{"with": {"type": name}} for name in kept]}}}
    # No worker polls the queue yet, so all events are there when the pipeline opens.
    handle = await temporal.start_workflow(
        "PipelineWorkflow",
        {"pipeline": document({"first": listen})},
        id=f"pipeline-{uuid.uuid4().hex[:8]}",
        task_queue=settings.queue("workflows"),
    )
    for name in [*kept[:5], "too large", "small"]:
        await handle.signal(
            "event", {"type": name, "data": "x" * (95_000 if name != "small" else 1)}
        )
    async with on_stage(temporal, NO_MODEL, settings=settings) as stage:
        output = (await result_of(stage, stage.started(handle.id)))["output"]
    assert [len(text) for text in output] == [95_000] * 5 + [1]
