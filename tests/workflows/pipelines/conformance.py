"""The scenarios of the DSL's conformance kit, in our words: what runs, and what must come out.

Source: github.com/serverlessworkflow/specification, folder `ctk/features`, commit d758f0b (DSL 1.0.3). The
names are those of the kit. Documents are written anew, with the same tasks and expectations. HTTP calls go
to a store on this machine, at `{store}`. Its document is of OpenAPI 3.0, and that of the kit of 2.0.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Scenario:
    """Tasks, their input, and what comes out: an `output`, some `fields` of it, or an `error`."""

    tasks: tuple[dict[str, Any], ...]
    input: Any = None
    output: Any = None
    fields: tuple[str, ...] = ()
    error: dict[str, Any] | None = None


def _add(color: str, **more: Any) -> dict[str, Any]:
    return {"set": {"colors": f'${{ .colors + ["{color}"] }}'}, **more}


RED, GREEN, BLUE = ({name: _add(name)} for name in ("red", "green", "blue"))
CASES = [
    {color: {"when": f'.color == "{color}"', "then": color}} for color in ("red", "green", "blue")
]
ENDS = tuple({color: _add(color, then="end")} for color in ("red", "green", "blue"))


def _http(path: str, output: str = "content") -> dict[str, Any]:
    endpoint = {"uri": f"{{store}}{path}"}
    return {"call": "http", "with": {"method": "get", "endpoint": endpoint, "output": output}}


def _openapi(operation: str, output: str = "content", **parameters: Any) -> dict[str, Any]:
    fields = {"operationId": operation, "parameters": parameters, "output": output}
    return {
        "call": "openapi",
        "with": {"document": {"endpoint": "{store}/openapi.json"}, **fields},
    }


def _try_pet(status: int) -> dict[str, Any]:
    older = "https://serverlessworkflow.io/dsl/errors/types/communication"
    return {
        "tryGetPet": {
            "try": [{"getPet": _http("/v2/pet/getPetByName/{petName}")}],
            "catch": {
                "errors": {"with": {"type": older, "status": status}},
                "as": "err",
                "do": [{"setError": {"set": {"error": "${ $err }"}}}],
            },
        }
    }


PASSING: dict[str, Scenario] = {
    "Fork Task With Competing Concurrent Sub Tasks": Scenario(
        ({"race": {"fork": {"compete": True, "branches": [RED, GREEN, BLUE]}}},),
        output={"colors": ["red"]},
    ),
    "Input Filtering": Scenario(
        ({"player": {"input": {"from": ".user.claims.subject"}, "set": {"id": "${ . }"}}},),
        {"user": {"claims": {"subject": "6AsnR"}}},
        {"id": "6AsnR"},
    ),
    "Task With Sequential Sub Tasks": Scenario(
        ({"all": {"do": [RED, GREEN, BLUE]}},), output={"colors": ["red", "green", "blue"]}
    ),
    "Emit Task": Scenario(
        (
            {
                "greet": {
                    "emit": {
                        "event": {
                            "with": {
                                "source": "https://example.com",
                                "type": "com.example.greeted.v1",
                                "data": {"text": '${ "Hello \\(.first) \\(.last)!" }'},
                            }
                        }
                    }
                }
            },
        ),
        {"first": "John", "last": "Doe"},
        {"type": "com.example.greeted.v1", "data": {"text": "Hello John Doe!"}},
        fields=("id", "specversion", "time", "source", "type", "data"),
    ),
    "Implicit Sequence Flow": Scenario(
        (RED, GREEN, BLUE), output={"colors": ["red", "green", "blue"]}
    ),
    "Explicit Sequence Flow": Scenario(
        (
            {"red": _add("red", then="green")},
            {"blue": _add("blue", then="end")},
            {"green": _add("green", then="blue")},
        ),
        output={"colors": ["red", "green", "blue"]},
    ),
    "For Task": Scenario(
        (
            {
                "loop": {
                    "for": {"each": "color", "in": ".colors"},
                    "do": [
                        {
                            "mark": {
                                "set": {
                                    "seen": "${ {colors: (.seen.colors + [$color]),"
                                    " indexes: (.seen.indexes + [$index])} }"
                                }
                            }
                        }
                    ],
                }
            },
        ),
        {"colors": ["red", "green"]},
        {"seen": {"colors": ["red", "green"], "indexes": [0, 1]}},
    ),
    "Raise task with inline error": Scenario(
        (
            {
                "stop": {
                    "raise": {
                        "error": {"status": 400, "type": "https://example.com/bad", "title": "Bad"}
                    }
                }
            },
        ),
        error={
            "status": 400,
            "type": "https://example.com/bad",
            "title": "Bad",
            "instance": "/do/0/stop",
        },
    ),
    "Set Task": Scenario(
        ({"shape": {"set": {"shape": "circle", "size": "${ .size }"}}},),
        {"size": {"width": 6}},
        {"shape": "circle", "size": {"width": 6}},
    ),
    "Switch task with matching case": Scenario(
        ({"choose": {"switch": CASES}}, *ENDS), {"color": "red"}, {"colors": ["red"]}
    ),
    "Switch task with implicit default case": Scenario(
        ({"choose": {"switch": CASES, "then": "end"}}, *ENDS),
        {"color": "yellow"},
        {"color": "yellow"},
    ),
    "Switch task with explicit default case": Scenario(
        (
            {"choose": {"switch": [*CASES, {"other": {"then": "custom"}}]}},
            *ENDS,
            {"custom": {"set": {"colors": "${ .colors + [$input.color] }"}}},
        ),
        {"color": "yellow"},
        {"colors": ["yellow"]},
    ),
    "Call HTTP With Content Output": Scenario(
        (
            {
                "findPet": {
                    **_http("/v2/pet/findByStatus?status={status}"),
                    "output": {"as": ".[0]"},
                }
            },
        ),
        {"status": "available"},
        {},
        fields=("id", "name", "status"),
    ),
    "Call HTTP With Response Output": Scenario(
        ({"getPet": _http("/v2/pet/{petId}", output="response")},),
        {"petId": 1},
        {"content": {"id": 1, "name": "pet 1", "status": "available"}, "statusCode": 200},
        fields=("request", "headers", "statusCode", "content"),
    ),
    "Output Filtering": Scenario(
        ({"getPet": {**_http("/v2/pet/{petId}"), "output": {"as": ".id"}}},), {"petId": 1}, 1
    ),
    "Use Non-object Output": Scenario(
        (
            {"first": {**_http("/v2/pet/{petId}"), "output": {"as": ".id"}}},
            {"second": {**_http("/v2/pet/2"), "output": {"as": "{ ids: [ $input, .id ] }"}}},
        ),
        {"petId": 1},
        {"ids": [1, 2]},
    ),
    "Try Handle Caught Error": Scenario(
        (_try_pet(404),),
        {"petName": "Milou"},
        {
            "error": {
                "type": "https://serverlessworkflow.io/spec/1.0.0/errors/communication",
                "status": 404,
                "title": "the HTTP call failed",
                "instance": "/do/0/tryGetPet/try/0/getPet",
                "detail": "GET {store}/v2/pet/getPetByName/Milou: the server answered 404: no pet Milou",
            }
        },
    ),
    "Try Raise Uncaught Error": Scenario(
        (_try_pet(503),),
        {"petName": "Milou"},
        error={
            "type": "https://serverlessworkflow.io/spec/1.0.0/errors/communication",
            "status": 404,
            "title": "the HTTP call failed",
            "instance": "/do/0/tryGetPet/try/0/getPet",
            "detail": "GET {store}/v2/pet/getPetByName/Milou: the server answered 404: no pet Milou",
        },
    ),
    "Call OpenAPI With Content Output": Scenario(
        (
            {
                "findPet": {
                    **_openapi("findPetsByStatus", status="${ .status }"),
                    "output": {"as": ". | length"},
                }
            },
        ),
        {"status": "available"},
        2,
    ),
    "Call OpenAPI With Response Output": Scenario(
        ({"getPet": _openapi("getPetById", "response", petId="${ .petId }")},),
        {"petId": 1},
        {"content": {"id": 1, "name": "pet 1", "status": "available"}, "statusCode": 200},
        fields=("request", "headers", "statusCode", "content"),
    ),
}
"""The scenarios that pass, by their name in the kit."""

NOT_PASSING: dict[str, str] = {
    "Call HTTP Using Basic Authentication": "its password is in the input, and so in the history",
}
"""The other scenarios of the kit, and why they do not pass."""
