"""What the tasks of a state machine call here: the file that maps resources to agents, tools and people."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from outlast.errors import BadRequest
from outlast.pipelines.fields import quoted
from outlast.text.hints import hint

KINDS = ("tool", "agent", "ask")
"""What a resource can be mapped to."""

PLACEHOLDER = "TODO"
"""Begins the function that a task calls if its resource is not mapped; the check rejects it."""

NAMED_BY = ("FunctionName", "StateMachineArn", "ActivityArn", "QueueUrl", "TopicArn")
"""Parameters that say which resource an integrated service calls."""


@dataclass(frozen=True)
class Integration:
    """A service whose parameters have the input in one field, and whose result has the output in another.

    `output` is the result as an expression on the output, so that paths of the state machine find it.
    """

    resource: re.Pattern[str]
    payload: str
    output: str


INTEGRATIONS = (
    Integration(
        re.compile(r"arn:aws[a-z-]*:states:::lambda:invoke(?:\.waitForTaskToken)?"),
        "Payload",
        "{Payload: ., StatusCode: 200}",
    ),
    Integration(
        re.compile(r"arn:aws[a-z-]*:states:::states:startExecution\.sync:2"),
        "Input",
        '{Output: ., Status: "SUCCEEDED"}',
    ),
    Integration(
        re.compile(r"arn:aws[a-z-]*:states:::states:startExecution\.sync"),
        "Input",
        '{Output: tojson, Status: "SUCCEEDED"}',
    ),
)
"""Services whose input and output are moved as their documentation describes them."""


@dataclass(frozen=True)
class Call:
    """What a resource is mapped to: the name of a tool or an agent, or what `ask` takes.

    `argument` is the parameter of the tool that takes the whole input, as the event of a function does.
    """

    kind: str
    target: JsonValue
    argument: str | None = None


class Resources:
    """The mapping of resources, by their ARN or the last part of it."""

    def __init__(self, mapping: JsonValue = None) -> None:
        if not isinstance(mapping, dict | None):
            example = '{"ARN": {"tool": "NAME"}}'
            raise BadRequest(f"--map: {quoted(mapping)} is not an object such as {example}")
        self._calls = {name: _call(name, value) for name, value in (mapping or {}).items()}
        self.unused = set(self._calls)

    def find(self, resource: str, parameters: Mapping[str, JsonValue]) -> Call | None:
        """Return what a task calls, or None if its resource is not mapped."""
        given = [parameters.get(name) for name in NAMED_BY]
        for arn in (*(each for each in given if isinstance(each, str)), resource):
            plain = re.sub(r":\$?(?:LATEST|\d+)$", "", arn)
            for name in (arn, plain, re.split(r"[:/]", plain)[-1]):
                if name in self._calls:
                    self.unused.discard(name)
                    return self._calls[name]
        return None


def _call(name: str, value: JsonValue) -> Call:
    kinds = [kind for kind in KINDS if isinstance(value, dict) and kind in value]
    if not isinstance(value, dict) or len(kinds) != 1:
        example = '{"tool": "NAME"}, {"agent": "NAME"} or {"ask": {…}}'
        raise BadRequest(f"--map: {name}: {quoted(value)} is not an object such as {example}")
    kind, argument = kinds[0], value.get("argument")
    known = (kind, "argument") if kind == "tool" else (kind,)
    for field in value:
        if field not in known:
            raise BadRequest(f"--map: {name}: unknown field {field!r}; {hint(field, known)}")
    if kind == "ask" and not (isinstance(value[kind], dict) and "question" in value[kind]):  # type: ignore[operator]
        raise BadRequest(f"--map: {name}: 'ask' needs an object with a 'question'")
    if kind != "ask" and not isinstance(value[kind], str):
        raise BadRequest(
            f"--map: {name}: {quoted(value[kind])} is not the name of a registered {kind}"
        )
    if not isinstance(argument, str | None):
        raise BadRequest(f"--map: {name}: {quoted(argument)} is not the name of a parameter")
    return Call(kind, value[kind], argument)
