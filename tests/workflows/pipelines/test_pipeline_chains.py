"""Pipelines that continue as new in the middle of loops, forks, tries and timers."""

from collections import Counter
from typing import Any

from temporalio.client import Client

from outlast import ToolContext, ToolError, tool
from outlast.testing import ScriptedModel
from tests.stage import on_stage
from tests.workflows.pipelines.staging import document, result_of, start


async def test_every_scope_goes_on_after_a_continue_as_new(impatient: Client, cached: int) -> None:
    made: Counter[str] = Counter()

    @tool(effect="write")
    def record(context: ToolContext, what: str) -> str:
        """Record a call."""
        made[context.idempotency_key] += 1
        if what == "bad":
            raise ToolError("bad")
        return what

    def task(what: str) -> dict[str, Any]:
        return {"call": "tool", "with": {"tool": "record", "arguments": {"what": what}}}

    pipeline = document(
        {
            "turns": {
                "for": {"in": "[range(4)]", "each": "n"},
                "do": [
                    {"one": task("${ $n | tostring }")},
                    {
                        "keep": {
                            "set": {"sum": "${ ($context.sum // 0) + $n }"},
                            "export": {"as": "."},
                        }
                    },
                ],
            }
        },
        {
            "all": {
                "for": {"in": "[range(24)]", "each": "n"},
                "do": [
                    {"first": task('${ if $n % 10 == 3 then "bad" else "a\\($n)" end }')},
                    {"second": task('${ "b\\($n)" }')},
                ],
                "metadata": {"outlast": {"concurrency": 4, "on_error": "collect"}},
            }
        },
        {
            "paths": {
                "fork": {
                    "branches": [
                        {"slow": {"wait": {"milliseconds": 400}}},
                        {
                            "busy": {
                                "for": {"in": "[range(4)]", "each": "n"},
                                "do": [{"again": task('${ "c\\($n)" }')}],
                            }
                        },
                        {
                            "safe": {
                                "try": [{"fails": task("bad")}],
                                "catch": {
                                    "retry": {"limit": {"attempt": {"count": 3}}},
                                    "do": [{"late": task("late")}],
                                },
                            }
                        },
                    ]
                },
                "output": {"as": "${ {sum: $context.sum, map: $input.completed, last: .[1:]} }"},
            }
        },
    )
    async with on_stage(
        impatient, ScriptedModel([]), tools=[record], cached=cached, has_search_attributes=False
    ) as stage:
        run = await start(stage, pipeline)
        result = await result_of(stage, run)
        chain = await stage.chain(run)
    assert result["output"] == {"sum": 6, "map": 21, "last": ["c3", "late"]}
    # 4 turns; 24 first and 21 second calls; 4 calls of the loop; 4 attempts and their handler.
    assert result["tool_calls"] == 4 + 45 + 4 + 5
    assert len(chain) > 2
    assert len(made) == result["tool_calls"]
    assert set(made.values()) == {1}
