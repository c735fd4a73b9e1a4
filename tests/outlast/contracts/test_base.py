"""Arguments in code that a public model does not take: the error is one line that names the right call."""

import importlib
import inspect
from typing import Any

import pytest
from pydantic import BaseModel

from outlast import AgentResult, Approval, DefinitionError, Escalation, Limits, Route

PUBLIC_MODULES = ("outlast", "outlast.testing", "outlast.turns", "outlast.signing")


def public_models() -> dict[str, type[BaseModel]]:
    modules = [importlib.import_module(name) for name in PUBLIC_MODULES]
    found = [getattr(module, name) for module in modules for name in dir(module)]
    return {
        model.__name__: model
        for model in found
        if inspect.isclass(model)
        and issubclass(model, BaseModel)
        and model.__module__.startswith("outlast")
    }


MODELS = public_models()


def test_the_models_of_the_public_api_are_found() -> None:
    assert {"AgentRequest", "AgentResult", "Approval", "Limits", "PendingRequest"} <= set(MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_a_positional_argument_is_rejected_with_the_right_call(name: str) -> None:
    first = next(iter(MODELS[name].model_fields))
    with pytest.raises(DefinitionError) as refused:
        MODELS[name]("leads")  # type: ignore[call-arg]
    assert str(refused.value) == f"{name} takes keyword arguments only: {name}({first}='leads')"


@pytest.mark.parametrize("name", MODELS)
def test_an_unknown_field_is_rejected_with_the_nearest_name(name: str) -> None:
    first = next(iter(MODELS[name].model_fields))
    with pytest.raises(DefinitionError) as refused:
        MODELS[name](**{f"{first}x": 1})
    assert str(refused.value) == f"{name}: unknown field '{first}x'; did you mean {first!r}?"


@pytest.mark.parametrize(
    ("model", "positional", "fields", "call"),
    [
        (Escalation, ("boss", 60), {}, "Escalation(audience='boss', after_s=60)"),
        (Approval, ("leads",), {"quorum": 2}, "Approval(audience='leads', quorum=2)"),
        (Approval, (2,), {"audience": "leads"}, "Approval(quorum=2, audience='leads')"),
        (Limits, (8,), {}, "Limits(max_turns=8)"),
        (Route, ((), "too many"), {}, "Route(legs=())"),
    ],
)
def test_the_right_call_has_all_arguments(
    model: type[BaseModel], positional: tuple[Any, ...], fields: dict[str, Any], call: str
) -> None:
    with pytest.raises(DefinitionError) as refused:
        model(*positional, **fields)
    assert str(refused.value).endswith(f": {call}")


def test_a_long_value_is_cut() -> None:
    with pytest.raises(DefinitionError) as refused:
        Approval("x\n" * 1_000)  # type: ignore[call-arg]
    assert len(str(refused.value)) < 300
    assert "\n" not in str(refused.value)


def test_a_field_may_have_the_name_that_its_json_has() -> None:
    result = AgentResult(status="completed", output=1, turns=1, tool_calls=0)
    assert result.output_json == 1
