"""Every field that strangers fill has a bound."""

import json
import types
import typing
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Annotated, Any, get_args, get_origin

import pytest
from annotated_types import Ge, Gt, Le, MaxLen
from outlast_workers.plan.workload import Workload
from outlast_workers.settings import Settings
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from outlast.contracts import agents, human, proofs, requests
from outlast.contracts.agents import Price, Resolved, ResolveInput
from outlast.contracts.base import InputModel, TypedNumbers
from outlast.contracts.bounds import JsonBounds, MaxBytes
from outlast.contracts.conditions import MAX_CONDITION_PARTS, Condition, arguments
from outlast.contracts.limits import Limits
from outlast.contracts.names import NAME_PATTERN
from tests.outlast.contracts.typed_values import nested

UPPER_BOUNDS = (Le, MaxLen, MaxBytes, JsonBounds)
"""Annotations that bound a field from above."""

LOWER_BOUNDS = (Ge, Gt)
"""Annotations that bound a number from below."""

MODULES = (requests, human, proofs, agents)
"""Modules whose input models people fill."""


def input_models() -> list[type[BaseModel]]:
    found: set[type[BaseModel]] = {
        value
        for module in MODULES
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, InputModel) and value is not InputModel
    }
    found.update([Limits, Condition])
    return sorted(found, key=lambda model: model.__name__)


def unbounded(annotation: Any, metadata: tuple[Any, ...], path: str) -> Iterator[str]:
    """Yield the parts of a field that have no bound."""
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        yield from unbounded(inner, (*metadata, *more), path)
        return
    rules = [
        rule
        for entry in metadata
        for rule in (entry.metadata if isinstance(entry, FieldInfo) else [entry])
    ]
    origin = get_origin(annotation)
    if has(rules, JsonBounds) or origin is typing.Literal or annotation in (bool, type(None)):
        return
    if origin in (typing.Union, types.UnionType):
        for option in get_args(annotation):
            yield from unbounded(option, metadata, path)
    elif origin in (tuple, list):
        if not has(rules, MaxLen):
            yield f"{path}: a list without max_length"
        yield from unbounded(get_args(annotation)[0], (), f"{path}[]")
    elif not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        yield from unbounded_scalar(annotation, rules, path)


def has(rules: list[Any], *kinds: type | tuple[type, ...]) -> bool:
    """Return whether there is a rule of each kind."""
    return all(any(isinstance(rule, kind) for rule in rules) for kind in kinds)


def unbounded_scalar(annotation: Any, rules: list[Any], path: str) -> Iterator[str]:
    if annotation is str:
        is_name = any(getattr(rule, "pattern", None) == NAME_PATTERN for rule in rules)
        if not is_name and not has(rules, UPPER_BOUNDS):
            yield f"{path}: text without a bound"
    elif annotation in (int, float, Decimal):
        if not has(rules, UPPER_BOUNDS, LOWER_BOUNDS):
            yield f"{path}: a number without a bound on each side"
        if annotation is Decimal and not any(hasattr(rule, "max_digits") for rule in rules):
            yield f"{path}: a decimal without max_digits"
    else:
        yield f"{path}: {annotation} has no bound"


@pytest.mark.parametrize("model", input_models(), ids=lambda model: model.__name__)
def test_every_field_that_people_fill_has_a_bound(model: type[BaseModel]) -> None:
    problems = [
        problem
        for name, field in model.model_fields.items()
        for problem in unbounded(
            field.annotation, tuple(field.metadata), f"{model.__name__}.{name}"
        )
    ]
    assert not problems


def test_the_walk_finds_fields_without_bounds() -> None:
    class Loose(InputModel):
        text: str
        number: int | None = None
        words: list[str] = []
        data: dict[str, Any] = {}

    problems = [
        problem
        for name, field in Loose.model_fields.items()
        for problem in unbounded(field.annotation, tuple(field.metadata), name)
    ]
    assert {problem.partition(":")[0] for problem in problems} == {
        "text",
        "number",
        "words",
        "words[]",
        "data",
    }


def numbers_of(model: type[BaseModel], seen: set[type[BaseModel]]) -> Iterator[str]:
    """Yield the numbers of a model, and of the models in it, that have no upper bound."""
    if model in seen:
        return
    seen.add(model)
    for name, field in model.model_fields.items():
        for annotation in _leaves(field.annotation):
            if isinstance(annotation, type) and issubclass(annotation, BaseModel):
                yield from numbers_of(annotation, seen)
        path = f"{model.__name__}.{name}"
        yield from (
            problem
            for problem in unbounded(field.annotation, tuple(field.metadata), path)
            if "number" in problem or "decimal" in problem
        )


def _leaves(annotation: Any) -> Iterator[Any]:
    yield annotation
    for argument in get_args(annotation):
        yield from _leaves(argument)


@pytest.mark.parametrize("model", [Resolved, ResolveInput])
def test_every_number_that_a_lookup_returns_has_a_bound(model: type[BaseModel]) -> None:
    assert list(numbers_of(model, set())) == []


def number_fields() -> Iterator[tuple[type[BaseModel], str]]:
    """Yield the fields of numbers that people type: in requests, in code and in settings."""
    models: set[type[BaseModel]] = {*all_subclasses(TypedNumbers), Settings, Workload}
    for model in sorted(models, key=lambda model: (model.__module__, model.__name__)):
        for name, field in model.model_fields.items():
            kinds = set(_leaves(field.annotation))
            if kinds & {int, float, Decimal} and bool not in kinds and "tests" not in str(model):
                yield model, name


def all_subclasses(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for child in model.__subclasses__():
        yield child
        yield from all_subclasses(child)


@pytest.mark.parametrize(
    ("model", "name"),
    [pytest.param(*each, id=f"{each[0].__name__}.{each[1]}") for each in number_fields()],
)
def test_a_boolean_is_not_a_number(model: type[BaseModel], name: str) -> None:
    origin = get_origin(model.model_fields[name].annotation)
    value: Any = {"k": True} if origin in (dict, Mapping) else True
    if origin in (list, tuple):
        value = [[1, True]]
    with pytest.raises(ValidationError) as rejected:
        model.model_validate({name: value})
    messages = [each["msg"] for each in rejected.value.errors() if each["loc"] == (name,)]
    assert messages == ["Value error, true is a boolean; give a number"]


def test_the_fields_of_numbers_are_found() -> None:
    found = {f"{model.__name__}.{name}" for model, name in number_fields()}
    assert found >= {
        *("Limits.max_turns", "Limits.max_cost_usd", "PatternSpec.votes", "TranscriptQuery.since"),
        *("Approval.quorum", "Escalation.after_s", "Price.prompt_usd", "Leg.start_within_s"),
        *("Settings.drain_s", "HealthSettings.port", "ModelSettings.timeout_s", "Workload.turns"),
    }


@pytest.mark.parametrize(
    "price",
    [
        "9e900000",
        "9e999999",
        "1e7",
        "NaN",
        "sNaN",
        "Infinity",
        "-1",
        "1e-31",
        "9e99999999999999999999",
        "1" * 31,
    ],
)
def test_a_price_is_bounded(price: str) -> None:
    with pytest.raises(ValueError, match="prompt_usd"):
        Price.model_validate({"prompt_usd": price})


def test_a_chain_of_conditions_is_one_level() -> None:
    chain = arguments.a == 0
    for n in range(1, 200):
        chain = chain | (arguments.a == n)
    assert len(chain.parts) == 200
    assert chain.holds({"a": 199})
    assert not chain.holds({"a": 200})


@pytest.mark.parametrize(
    "way", ["deep", "wide", "long path", "large value", "deep value", "digits", "NaN"]
)
def test_a_condition_has_bounds(way: str) -> None:
    leaf: Any = {"op": "==", "path": ["a"], "value": 1}
    condition = leaf
    if way == "deep":
        for _ in range(40):
            condition = {"op": "not", "parts": [condition]}
    elif way == "wide":
        condition = {"op": "or", "parts": [leaf] * (MAX_CONDITION_PARTS + 1)}
    elif way == "long path":
        condition = {**leaf, "path": ["a"] * 33}
    else:
        values: dict[str, Any] = {
            "large value": "x" * 20_000,
            "deep value": json.loads(nested(40)),
            "digits": 10**1_001,
            "NaN": float("nan"),
        }
        condition = {**leaf, "value": values[way]}
    with pytest.raises(ValueError, match=r"value|parts|path|levels"):
        Condition.model_validate(condition)
