"""Inputs of strangers that are meant to stop a worker or a page: starts, links, forms and model answers.

`tests/long/fuzz/poison.py` has more starts, and schemas with answers.
"""

import gzip
import json
from collections.abc import Callable
from datetime import date
from typing import Annotated, Any

from pydantic import Field

from bench.scripted_model.scripts import Step
from outlast import Agent, Approval, tool
from tests.activities.providers.raw_answers import chunk

SSE = "text/event-stream"
REDOS = "^(a+)+$"
LONG_A = "a" * 40 + "!"


@tool(effect="irreversible", approval=Approval(audience="leads"))
def pay(
    when: date,
    amount: Annotated[float, Field(ge=0, multiple_of=0.01)],
    note: Annotated[str, Field(pattern=REDOS)] = "a",
    parts: list[dict[str, int]] = [],  # noqa: B006 pydantic copies it
) -> str:
    """Pay."""
    return f"{when} {amount} {note} {parts}"


@tool(effect="read")
def look() -> str:
    """Look."""
    return "seen"


payer = Agent(name="payer", instructions="Pay.", tools=[pay])
plain = Agent(name="plain", instructions="Answer.", tools=[look])


# Starts


def _start(**fields: Any) -> bytes:
    return json.dumps({"agent": "plain", "input": "x", **fields}).encode()


def _spec(output: Any = None, **fields: Any) -> bytes:
    spec = {"instructions": "x", "output": output or {"type": "string"}, **fields}
    return json.dumps({"spec": spec, "input": "x"}).encode()


def _doubling(keyword: str, group: Callable[[str], Any], length: int = 40) -> dict[str, Any]:
    definitions: dict[str, Any] = {
        f"d{n}": {keyword: group(f"#/$defs/d{n + 1}")} for n in range(length)
    }
    definitions[f"d{length}"] = {"type": "string"}
    return {"$ref": "#/$defs/d0", "$defs": definitions}


STARTS: dict[str, Callable[[], tuple[bytes, bytes]]] = {
    # name: (encoding, data)
    "not UTF-8": lambda: (b"json/plain", b'{"agent":"plain","input":"\xff\xfe"}'),
    "an unknown encoding": lambda: (b"binary/gzip", gzip.compress(b"0" * 50_000_000)),
    "an encoding of 5,000 characters": lambda: (b"x" * 5_000, b"{}"),
    "500,000 brackets": lambda: (b"json/plain", b"[" * 500_000),
    "a number of 900,000 digits": lambda: (b"json/plain", b'{"input":' + b"1" * 900_000 + b"}"),
    "50,000 times one key": lambda: (
        b"json/plain",
        b'{"agent":"plain",' + b'"input":"x",' * 50_000 + b'"input":"y"}',
    ),
    "halves of characters": lambda: (
        b"json/plain",
        b'{"agent":"plain","input":"' + rb"\ud83d" * 100_000 + b'"}',
    ),
    "conditions that double": lambda: (
        b"json/plain",
        _spec(_doubling("if", lambda d: {"allOf": [{"$ref": d}, {"$ref": d}]})),
    ),
    "schemas of properties that double": lambda: (
        b"json/plain",
        _spec(_doubling("dependentSchemas", lambda d: {"a": {"$ref": d}, "b": {"$ref": d}})),
    ),
    "dynamic references in a circle": lambda: (
        b"json/plain",
        _spec({"$dynamicRef": "#a", "$defs": {"a": {"$dynamicAnchor": "a", "$dynamicRef": "#a"}}}),
    ),
    "5,000 first items": lambda: (
        b"json/plain",
        _spec({"type": "array", "prefixItems": [{"type": "string", "pattern": REDOS}] * 5_000}),
    ),
    "an agent that is a list": lambda: (b"json/plain", _start(agent=[["plain"]] * 100_000)),
    "limits of text": lambda: (b"json/plain", _start(limits={"max_turns": "9" * 500_000})),
    "a look-ahead in each of 500 names": lambda: (
        b"json/plain",
        _spec(
            {
                "type": "object",
                "patternProperties": {f"^(?=a{n})(a+)+$": {"type": "string"} for n in range(500)},
            }
        ),
    ),
}


# Links and requests to the page, as bytes of HTTP


def _get(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: page", *headers, "", ""]).encode()


def _post(head: bytes, body: bytes, *headers: str) -> bytes:
    lines = [head.decode(), "Host: page", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


FORM = "Content-Type: application/x-www-form-urlencoded"

LINKS: dict[str, Callable[[str], bytes]] = {
    "a token of 15,000 characters": lambda _: _get("/r/" + "a" * 15_000),
    "a token of 1 MB": lambda _: _get("/r/" + "a" * 1_000_000),
    "NUL": lambda token: _get(f"/r/{token}%00"),
    "halves of characters": lambda token: _get(f"/r/{token}%ED%A0%BD"),
    "an empty token": lambda _: _get("/r/"),
    "dots": lambda token: _get(f"/r/../r/./{token}%2e%2e%2f"),
    "2,000 slashes": lambda token: _get("/r" + "/" * 2_000 + token),
    "a slash at the end": lambda token: _get(f"/r/{token}/"),
    "another salt": lambda token: _get(f"/r/{token[:-4]}AAAA"),
    "a compressed token": lambda token: _get(f"/r/.{token}"),
    "an absolute address": lambda token: _get(f"http://evil.example/r/{token}x"),
    "2,000 headers": lambda token: _get(f"/r/{token}x", *(f"x{n}: {n}" for n in range(2_000))),
    "a header of 1 MB": lambda token: _get(f"/r/{token}x", "x: " + "y" * 1_000_000),
    "no HTTP": lambda _: b"\x16\x03\x01" + b"\xff" * 5_000,
    "an unknown method": lambda token: f"BREW /r/{token} HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
    "a query of 10,000 fields": lambda token: _get(
        f"/r/{token}x?" + "&".join(f"f{n}=1" for n in range(1_200))
    ),
    "a length below zero": lambda token: _post(
        f"POST /r/{token} HTTP/1.1".encode(), b"", FORM, "Content-Length: -1"
    ),
    "two lengths": lambda token: _post(
        f"POST /r/{token} HTTP/1.1".encode(), b"a", FORM, "Content-Length: 1", "Content-Length: 2"
    ),
    "a length and chunks": lambda token: _post(
        f"POST /r/{token} HTTP/1.1".encode(),
        (b"10000\r\n" + b"a" * 0x10000 + b"\r\n") * 64,
        FORM,
        "Content-Length: 10",
        "Transfer-Encoding: chunked",
    ),
    "chunks of 20 MB": lambda token: _post(
        f"POST /r/{token} HTTP/1.1".encode(),
        (b"10000\r\n" + b"a" * 0x10000 + b"\r\n") * 320 + b"0\r\n\r\n",
        FORM,
        "Transfer-Encoding: chunked",
    ),
    "chunks of no size": lambda token: _post(
        f"POST /r/{token} HTTP/1.1".encode(),
        b"zzzz\r\n",
        FORM,
        "Transfer-Encoding: chunked",
    ),
    "a file": lambda token: _post(
        f"POST /r/{token} HTTP/1.1".encode(),
        b"--b\r\nContent-Disposition: form-data; name=f; filename=f\r\n\r\n" + b"x" * 50_000,
        "Content-Type: multipart/form-data; boundary=b",
        "Content-Length: 50062",
    ),
}
"""Requests to the decision page, given a token that is valid. None of them may settle its request."""


# Values that a person types into the form of a tool call


def _edit(**arguments: Any) -> str:
    return json.dumps({"when": "2026-01-01", "amount": 5, **arguments})


EDITS: dict[str, Callable[[], str]] = {
    "a date of 90,000 digits": lambda: _edit(when="1" * 90_000),
    "a date of 90,000 blanks": lambda: _edit(when=" " * 90_000 + "x"),
    "a pattern that backtracks": lambda: _edit(note=LONG_A),
    "a pattern that backtracks, long": lambda: _edit(note="a" * 100_000 + "!"),
    "3,000 objects": lambda: _edit(parts=[{"a": n} for n in range(3_000)] + [1]),
    "a name of 100,000 letters": lambda: _edit(**{"n" * 100_000: 1}),
    "10,000 names": lambda: _edit(**{f"n{n}": n for n in range(10_000)}),
    "100,000 brackets": lambda: "[" * 100_000,
    "5,000 levels": lambda: '{"when":' + "[" * 5_000 + "]" * 5_000 + "}",
    "4,000 digits": lambda: '{"when":"2026-01-01","amount":' + "9" * 4_000 + "}",
    "an exponent": lambda: '{"when":"2026-01-01","amount":1e999999999}',
    "no number": lambda: '{"when":"2026-01-01","amount":NaN}',
    "infinity": lambda: '{"when":"2026-01-01","amount":-Infinity}',
    "a half of a character": lambda: r'{"when":"2026-01-01","amount":5,"note":"\ud83d"}',
    "a date that is a list": lambda: _edit(when=[["2026-01-01"]] * 10_000),
    "250 kB": lambda: _edit(note="a" * 250_000),
    "no JSON": lambda: "amount = 5",
    "nothing": lambda: "",
    "a list": lambda: "[1]",
    "a sum below zero": lambda: _edit(amount=-1),
    "a part of a cent": lambda: _edit(amount=0.001),
}
"""Arguments that nobody may be able to approve."""


# Answers of a model server


def _stream(*events: str) -> Step:
    return Step(raw="".join(events), content_type=SSE)


def _json(body: Any, status: int = 200, **headers: str) -> Step:
    return Step(
        raw=json.dumps(body), status=status, content_type="application/json", headers=headers
    )


def _calls(*calls: Any) -> Step:
    return Step(json.dumps({"tool_calls": list(calls)}))


_USAGE = {"choices": [], "usage": {"prompt_tokens": -(10**9), "completion_tokens": 1e300}}

ANSWERS: dict[str, Callable[[], Step]] = {
    "220 levels": lambda: Step('{"answer":' + "[" * 220 + "]" * 220 + "}"),
    "5,000 levels": lambda: Step('{"answer":' + "[" * 5_000 + "]" * 5_000 + "}"),
    "an open answer of 100,000 brackets": lambda: Step('{"answer":' + "[" * 100_000),
    "400 digits": lambda: Step('{"answer":' + "1" * 400 + "}"),
    "90,000 digits": lambda: Step('{"answer":' + "1" * 90_000 + "}"),
    "an exponent": lambda: Step('{"answer":1e999999}'),
    "no number": lambda: Step('{"answer":NaN}'),
    "3 MB": lambda: Step(json.dumps({"answer": "word " * 600_000})),
    "9 MB": lambda: Step(raw="x" * 9_000_000),
    "halves of characters": lambda: Step(r'{"answer":"\ud83d\ud83d"}'),
    "300 calls": lambda: _calls(*[{"tool": "look", "arguments": {}}] * 300),
    "a tool of somebody else": lambda: _calls({"tool": "pay", "arguments": {}}),
    "a call without a name": lambda: _calls({"tool": None, "arguments": []}),
    "calls and an answer": lambda: Step('{"tool_calls":[],"answer":"x"}'),
    "thoughts in thoughts": lambda: Step("<think>" * 20_000 + '{"answer":"x"}'),
    "20,000 fences": lambda: Step("```json\n" * 20_000 + '{"answer":"x"}'),
    "5,000 answers": lambda: Step('{"answer":"x"}{"answer":"y"}' * 2_500),
    "white space": lambda: Step('{"answer":' + " " * 200_000),
    "one letter": lambda: Step('{"answer":"' + "a" * 300_000),
    "nothing": lambda: Step(""),
    "no choice": lambda: _json({"choices": []}),
    "a choice without a message": lambda: _json({"choices": [{"message": None}]}),
    "a list": lambda: _json([1, 2, 3]),
    "content that is a number": lambda: _json({"choices": [{"message": {"content": 7}}]}),
    "10,000 parts": lambda: _stream(
        chunk([{"type": "text", "text": "a"}] * 10_000), chunk(finish="stop")
    ),
    "parts of parts": lambda: _stream(
        chunk([{"type": "text", "text": [{"text": [{"text": "a"}]}]}]), chunk(finish="stop")
    ),
    "20,000 empty events": lambda: _stream(chunk("") * 20_000, chunk(finish="stop")),
    "an event that is no JSON": lambda: _stream("data: {\n\n", "data: [DONE]\n\n"),
    "an event of 9 MB": lambda: _stream("data: " + "x" * 9_000_000 + "\n\n"),
    "usage below zero": lambda: _stream(
        chunk('{"answer":"done"}'), chunk(finish="stop"), f"data: {json.dumps(_USAGE)}\n\n"
    ),
    "usage of a list": lambda: _stream(
        chunk('{"answer":"done"}'),
        chunk(finish="stop"),
        'data: {"choices":[],"usage":[{"prompt_tokens":{}}]}\n\n',
    ),
    "an odd end": lambda: _stream(chunk('{"answer":"x'), chunk(finish="x" * 10_000)),
    "an end that is an object": lambda: _stream(chunk("x"), chunk(finish={"a": [1]})),
    "an error in a choice": lambda: _json({"choices": [{"error": {"code": [], "message": {}}}]}),
    "an error of 10,000 lines": lambda: _json({"error": {"message": "line\n" * 10_000}}, 400),
    "an error of 200 levels": lambda: _json(json.loads('{"error":' * 200 + "1" + "}" * 200), 400),
    "an error page": lambda: Step(raw="<html>" + "<div>" * 50_000, status=400),
    "a refusal": lambda: Step(refusal="No." * 10_000),
    "a wait that overflows": lambda: _json({"error": "slow"}, 400, **{"retry-after": "9" * 300}),
    "a model that is not there": lambda: _json({"error": "model not found"}, 404),
}
"""First answers to a run. The answer after each is good."""
