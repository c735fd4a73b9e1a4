"""Templates: JSON with expressions in it, compiled when the document is checked."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from outlast.pipelines.bounds import MAX_VALUE_BYTES, MAX_VALUE_DEPTH
from outlast.pipelines.jq import syntax
from outlast.pipelines.jq.budget import Budget, ExpressionError
from outlast.pipelines.jq.evaluation import evaluate
from outlast.pipelines.jq.parser import parse
from outlast.pipelines.jq.tokens import SyntaxProblem
from outlast.text.texts import cut

_EXPRESSION = re.compile(r"\s*\$\{(.*)\}\s*", re.DOTALL)

MAX_SHOWN = 60
"""Bytes of an expression in a message about its failure."""


@dataclass(frozen=True)
class Template:
    """A compiled value: `parts` has the expressions, by the place of their text in `value`."""

    value: JsonValue
    parts: Mapping[str, syntax.Node]
    is_expression: bool = False
    """Whether the whole value is one expression, with or without `${ }` around it."""

    def render(
        self, data: JsonValue, variables: Mapping[str, JsonValue], budget: Budget
    ) -> JsonValue:
        """Return the value with its expressions evaluated on `data`.

        Raises `ExpressionError`, also for a result that is too large.
        """
        if self.is_expression:
            text = str(self.value)
            result = _evaluated(text, self.parts[text], data, variables, budget)
        elif not self.parts:
            return self.value
        else:
            result = self._rendered(self.value, data, variables, budget)
        if budget.has_written or not self.is_expression:
            check_size(result, budget)
        return result

    def _rendered(
        self,
        value: JsonValue,
        data: JsonValue,
        variables: Mapping[str, JsonValue],
        budget: Budget,
    ) -> JsonValue:
        budget.spend()
        if isinstance(value, str):
            node = self.parts.get(value)
            return value if node is None else _evaluated(value, node, data, variables, budget)
        if isinstance(value, list):
            return [self._rendered(each, data, variables, budget) for each in value]
        if isinstance(value, dict):
            return {
                key: self._rendered(each, data, variables, budget) for key, each in value.items()
            }
        return value


def _evaluated(
    text: str,
    node: syntax.Node,
    data: JsonValue,
    variables: Mapping[str, JsonValue],
    budget: Budget,
) -> JsonValue:
    try:
        return evaluate(node, data, variables, budget)
    except ExpressionError as error:
        raise ExpressionError(f"{cut(text, MAX_SHOWN)!r}: {error}") from None


def expression(text: str, variables: Collection[str]) -> Template:
    """Compile a text that is an expression, with or without `${ }`. Raises `SyntaxProblem`."""
    match = _EXPRESSION.fullmatch(text)
    inner = match.group(1) if match else text
    return Template(text, {text: parse(inner, variables)}, is_expression=True)


def template(value: JsonValue, variables: Collection[str]) -> Template:
    """Compile JSON whose texts may be expressions in `${ }`. Raises `SyntaxProblem`."""
    parts: dict[str, syntax.Node] = {}
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)
        elif isinstance(part, str) and "${" in part and part not in parts:
            match = _EXPRESSION.fullmatch(part)
            if match is None:
                raise SyntaxProblem(
                    f"{cut(part, MAX_SHOWN)!r}: an expression must be the whole text, such as"
                    r' "${ \"Hello \\(.name)\" }"'
                )
            parts[part] = parse(match.group(1), variables)
    return Template(value, parts, is_expression=isinstance(value, str) and value in parts)


def check_size(value: JsonValue, budget: Budget) -> None:
    """Raise `ExpressionError` if a value is too large or too deep to be the data of a task.

    A value may have the same part many times, so its size as JSON is unknown until it is walked.
    """
    left = MAX_VALUE_BYTES
    layer: list[JsonValue] = [value]
    for _ in range(MAX_VALUE_DEPTH):
        inner: list[JsonValue] = []
        for part in layer:
            left -= _own_size(part)
            if left < 0:
                raise ExpressionError(f"the value has more than {MAX_VALUE_BYTES:,} bytes")
            if isinstance(part, dict):
                inner.extend(part.values())
            elif isinstance(part, list):
                inner.extend(part)
        budget.spend(1 + len(layer) // 10)
        layer = inner
        if not layer:
            return
    raise ExpressionError(f"the value is nested deeper than {MAX_VALUE_DEPTH} levels")


def _own_size(part: JsonValue) -> int:
    if isinstance(part, str):
        return 3 + (len(part) if part.isascii() else len(part.encode(errors="replace")))
    if isinstance(part, dict):
        return 2 + sum(4 + len(key) for key in part)
    return 2 if isinstance(part, list) else 5
