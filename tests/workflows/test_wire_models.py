"""Payloads between workers of different builds: a field that one of them does not know is ignored."""

import typing

import pytest
from outlast_workflows.state import Carried
from pydantic import BaseModel

from outlast.contracts.agents import Resolved, ResolveInput
from outlast.contracts.generation import GenerateInput, Generation
from outlast.contracts.heartbeats import GenerationProgress, ToolProgress
from outlast.contracts.notices import NotifyInput
from outlast.contracts.results import AgentResult

PAYLOADS: tuple[type[BaseModel], ...] = (
    *(Carried, ResolveInput, Resolved, GenerateInput, Generation),
    *(GenerationProgress, ToolProgress, NotifyInput, AgentResult),
)


def models_in(annotation: typing.Any) -> set[type[BaseModel]]:
    """Return every model that a value of this type can contain."""
    found: set[type[BaseModel]] = set()
    waiting = [annotation]
    while waiting:
        part = waiting.pop()
        waiting.extend(typing.get_args(part))
        if isinstance(part, type) and issubclass(part, BaseModel) and part not in found:
            found.add(part)
            waiting.extend(field.annotation for field in part.model_fields.values())
    return found


@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda payload: payload.__name__)
def test_no_model_in_a_payload_between_workers_rejects_unknown_fields(
    payload: type[BaseModel],
) -> None:
    strict = {model.__name__ for model in models_in(payload) if _is_strict(model)}
    assert strict == set()


def _is_strict(model: type[BaseModel]) -> bool:
    return model.model_config.get("extra") == "forbid"
