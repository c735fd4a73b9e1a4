"""The JSON on the pages has the keys that the code sends and takes."""

import json
import re
from datetime import datetime
from typing import Any

import pytest
from outlast_workers.demand.demand_query import DemandQuery, Load, Reading, Target, TaskType
from outlast_workers.demand.http_api import demand_json
from outlast_workers.demand.reading_cache import CachedReading

from outlast import AgentResult
from outlast.contracts.human import HumanDecision
from outlast.contracts.requests import AgentSpec
from outlast.pipelines.requests import parse_pipeline_request
from outlast.start_requests import parse_request
from tests.docs.prose import ROOT, pages

TEXTS = [(ROOT / page).read_text() for page in pages()]

OBJECTS: list[dict[str, Any]] = [
    json.loads(block)
    for text in TEXTS
    for block in re.findall(r"^```json\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
]

COMMANDS = [
    (command, sent)
    for text in TEXTS
    for block in re.findall(
        r"^ *```(?:sh|bash|console)\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL
    )
    for command, sent in re.findall(r"temporal ([^']*?)-input '(\{.*?\})'", block, re.DOTALL)
]
"""The commands of the stock CLI with their first JSON."""


def with_key(key: str) -> list[dict[str, Any]]:
    """Return the JSON objects of all pages that have a key."""
    return [each for each in OBJECTS if key in each]


def sent_by(words: str) -> list[str]:
    """Return the JSON of the commands that contain some words."""
    return [sent for command, sent in COMMANDS if words in command]


def test_a_shown_result_has_all_fields_of_a_result() -> None:
    (shown,) = with_key("status")
    assert AgentResult.model_validate(shown).model_dump(mode="json") == shown


def test_the_shown_demand_is_the_answer_of_the_service() -> None:
    (shown,) = with_key("desired_workers")
    loads: dict[TaskType, Load] = {"workflow": Load(0), "activity": Load(3, 2, 4.1)}
    reading = Reading(loads, datetime.fromisoformat(shown["as_of"]))
    query = DemandQuery(Target("generate"), ("workflow", "activity"), slots=2)
    assert demand_json(query, CachedReading(reading, age_s=1.2, error=None)) == shown


@pytest.mark.parametrize(
    "shown", [*with_key("request_id"), *map(json.loads, sent_by("--name decide"))]
)
def test_a_shown_decision_is_accepted(shown: dict[str, Any]) -> None:
    assert HumanDecision.model_validate(shown).request_id == shown["request_id"]


@pytest.mark.parametrize("shown", with_key("instructions"))
def test_a_shown_spec_is_accepted(shown: dict[str, Any]) -> None:
    assert AgentSpec.model_validate(shown).instructions


@pytest.mark.parametrize("shown", with_key("pipeline"))
def test_the_input_of_a_pipeline_is_accepted(shown: dict[str, Any]) -> None:
    request, _ = parse_pipeline_request(json.dumps(shown).encode())
    assert request.pipeline == shown["pipeline"]


@pytest.mark.parametrize("sent", sent_by("--type AgentWorkflow"))
def test_each_request_of_the_stock_cli_is_accepted(sent: str) -> None:
    assert parse_request(sent.encode()).warnings == ()


def test_the_examples_are_found() -> None:
    found = (with_key("request_id"), with_key("pipeline"), with_key("instructions"))
    assert all(found)
    assert len(sent_by("--type AgentWorkflow")) >= 10
    assert sent_by("--name decide")
