"""The check of documents: what is valid, what is rejected, where and why."""

import copy
import json
import random
import time
from typing import Any

import pytest

from outlast.pipelines.bounds import MAX_TASK_DEPTH, MAX_TASKS
from outlast.pipelines.documents import InvalidDocument, check_document
from outlast.pipelines.graph import mermaid
from outlast.pipelines.places import Problem
from tests.outlast.pipelines.bad_documents import BAD, HEAD, SET, pipeline

GOOD: dict[str, Any] = {
    "document": HEAD,
    "use": {
        "retries": {"often": {"delay": {"seconds": 1}, "limit": {"attempt": {"count": 3}}}},
        "errors": {"late": {"type": "urn:late", "status": 408}},
        "timeouts": {"short": {"after": "PT5S"}},
    },
    "timeout": "short",
    "do": [
        {
            "classify": {
                "call": "agent",
                "with": {"agent": "classifier", "input": "${ .text }", "limits": {"max_turns": 3}},
                "output": {"as": "${ {kind: .} }"},
                "export": {"as": "."},
                "timeout": {"after": {"minutes": 5}},
            }
        },
        {
            "route": {
                "switch": [
                    {"urgent": {"when": '.kind == "urgent"', "then": "page"}},
                    {"rest": {"then": "each"}},
                ]
            }
        },
        {"page": {"call": "ask", "with": {"question": "${ .kind }"}, "then": "end"}},
        {
            "each": {
                "for": {"each": "row", "in": ".items"},
                "metadata": {"outlast": {"concurrency": 5, "on_error": "collect"}},
                "do": [{"look": {"call": "tool", "with": {"tool": "look", "arguments": {}}}}],
            }
        },
        {
            "safe": {
                "try": [{"late": {"raise": {"error": "late"}}}],
                "catch": {"as": "e", "retry": "often", "do": [{"note": {"set": {"e": "${ $e }"}}}]},
            }
        },
        {
            "both": {
                "fork": {
                    "branches": [
                        {"a": {"listen": {"to": {"one": {"with": {"type": "x"}}}}}},
                        {"b": {"do": [{"c": {"wait": "PT5S"}}]}},
                    ]
                }
            }
        },
    ],
}


CALLS: dict[str, Any] = {
    "document": GOOD["document"],
    "use": {"secrets": ["desk"], "authentications": {"desk": {"bearer": {"use": "desk"}}}},
    "do": [
        {
            "refund": {
                "call": "a2a",
                "with": {
                    "method": "message/send",
                    "agentCard": {
                        "endpoint": {
                            "uri": "https://agents.example.com/.well-known/agent-card.json",
                            "authentication": {"use": "desk"},
                        }
                    },
                    "parameters": {
                        "message": {
                            "messageId": "${ .id }",
                            "role": "user",
                            "parts": [
                                {"kind": "text", "text": "${ .text }"},
                                {"kind": "file", "file": {"uri": "${ .url }", "name": "a"}},
                                {"data": {"n": 1}},
                                "${ .part }",
                            ],
                        },
                        "configuration": {"historyLength": 3, "acceptedOutputModes": ["text"]},
                    },
                },
                "metadata": {"outlast": {"audience": "support", "effect": "write"}},
            }
        },
        {
            "state": {
                "call": "a2a",
                "with": {
                    "method": "GetTask",
                    "server": "https://agents.example.com/a2a",
                    "parameters": {"id": "${ .task.id }"},
                },
            }
        },
        {
            "note": {
                "call": "http",
                "with": {"method": "post", "endpoint": "https://a.b/", "body": {}},
            }
        },
        {
            "pet": {
                "call": "openapi",
                "with": {
                    "document": {"endpoint": "https://a.b/openapi.json"},
                    "operationId": "getPet",
                    "parameters": {"id": 1},
                },
            }
        },
        {
            "page": {
                "call": "mcp",
                "with": {
                    "method": "tools/call",
                    "server": "wiki",
                    "parameters": {"name": "read", "arguments": {}},
                },
            }
        },
    ],
}


def problems_of(document: Any) -> list[str]:
    with pytest.raises(InvalidDocument) as caught:
        check_document(document)
    return [str(problem) for problem in caught.value.problems]


def test_a_valid_document_is_compiled() -> None:
    pipeline = check_document(GOOD)
    assert (pipeline.name, pipeline.task_count) == ("bad", 12)
    assert (list(pipeline.agents), list(pipeline.tools)) == (["classifier"], ["look"])


IN_LOOP = {"do": [{"a": {"set": {"x": "${ $city }"}}}]}


@pytest.mark.parametrize(
    ("task", "problem"),
    [
        (
            {"call": "agent", "with": {"agent": "a", "input": "${ $x }"}},
            "/do/0/t0/with/input: the expression is not valid",
        ),
        (
            {
                "run": {
                    "workflow": {
                        "namespace": "agents",
                        "name": "a",
                        "version": "1",
                        "input": "${ $x }",
                    }
                }
            },
            "/do/0/t0/run/workflow/input: the expression is not valid",
        ),
        (
            {"fore": {"each": "city", "in": ".c"}, **IN_LOOP},
            "/do/0/t0/fore: unknown field 'fore'; did",
        ),
        (
            {"For": {"each": "city", "in": ".c"}, **IN_LOOP},
            "/do/0/t0/For: unknown field 'For'; did",
        ),
    ],
)
def test_one_mistake_is_one_problem(task: dict[str, Any], problem: str) -> None:
    (found,) = problems_of(pipeline(task))
    assert found.startswith(problem)


@pytest.mark.parametrize(
    ("document", "place", "reason"), BAD, ids=[f"{n}" for n in range(len(BAD))]
)
def test_a_bad_document_is_rejected_with_its_place(document: Any, place: str, reason: str) -> None:
    problems = problems_of(document)
    assert any(each.startswith(f"{place}:") and reason in each for each in problems), problems


def test_all_problems_are_in_one_message() -> None:
    problems = problems_of(pipeline({"sett": 1}, {**SET, "then": "x"}, {"wait": 1}))
    assert len(problems) == 3


def test_many_tasks_are_checked_quickly_and_too_many_are_rejected() -> None:
    began = time.monotonic()
    assert check_document(pipeline(*[SET] * 500)).task_count == 500
    assert time.monotonic() - began < 5
    assert "at most 2,000" in problems_of(pipeline(*[{"set": {"x": 1}}] * (MAX_TASKS + 1)))[-1]


def test_nesting_of_tasks_is_bounded() -> None:
    task: dict[str, Any] = SET
    for _ in range(MAX_TASK_DEPTH + 1):
        task = {"do": [{"a": task}]}
    assert "nested deeper" in problems_of(pipeline(task))[0]


def test_a_large_document_is_rejected() -> None:
    assert "bytes" in problems_of(pipeline({"set": {"x": "a" * 600_000}}))[0]


def test_a_graph_has_every_task_and_every_way() -> None:
    text = mermaid(check_document(GOOD))
    assert text.startswith("flowchart TD\n")
    for name in ("classify: agent classifier", "route: switch", "each: for, 5 at a time"):
        assert name in text
    assert '-- "urgent" -->' in text
    assert text.count("subgraph") == text.count("\n    end\n") + text.count("        end\n")


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Return the containers and keys of all parts of a value."""
    found: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        part = waiting.pop()
        keys = (
            part if isinstance(part, dict) else range(len(part)) if isinstance(part, list) else ()
        )
        for key in list(keys):
            found.append((part, key))
            waiting.append(part[key])
    return found


WRONG: tuple[Any, ...] = (
    *(None, 1, -1, 1e300, True, "", "x", "${", "${ }", "${ .a ", "${ $x }", [], {}, [None], [[]]),
    *({"a": 1}, {"a": {}}, "PT", "\x00", "end", 10**400, float("nan"), "é" * 200, ["a"] * 300),
)


def _mutated(document: Any, chance: random.Random) -> Any:
    document = copy.deepcopy(document)
    for _ in range(chance.randint(1, 3)):
        container, key = chance.choice(_places(document))
        way = chance.randrange(4)
        if way == 0:
            container[key] = copy.deepcopy(chance.choice(WRONG))
        elif way == 1:
            del container[key]
        elif way == 2 and isinstance(container, dict):
            container[f"{key}{chance.choice('xs_ ')}"] = container.pop(key)
        elif isinstance(container, list):
            container.append(copy.deepcopy(chance.choice(WRONG)))
        else:
            container[str(chance.choice(["then", "do", "for", "extra"]))] = copy.deepcopy(
                chance.choice(WRONG)
            )
    return document


@pytest.mark.parametrize(("good", "seed"), [(GOOD, 16), (CALLS, 22)], ids=["tasks", "calls"])
def test_a_thousand_mutations_are_valid_or_rejected_with_places(good: Any, seed: int) -> None:
    chance = random.Random(seed)
    rejected, slowest = 0, 0.0
    for _ in range(1_000):
        document = _mutated(good, chance)
        began = time.monotonic()
        problems: list[Problem] = []
        try:
            mermaid(check_document(document))
        except InvalidDocument as error:
            problems = error.problems
            rejected += 1
        for problem in problems:
            assert not problem.place or problem.place.startswith("/")
            assert problem.reason
        slowest = max(slowest, time.monotonic() - began)
    assert rejected > 700
    assert slowest < 5


def test_the_message_of_a_rejected_document_is_one_line_of_text() -> None:
    with pytest.raises(InvalidDocument) as caught:
        check_document(json.loads('{"document": {"a\\nb": 1}}'))
    assert "\n" not in str(caught.value)
