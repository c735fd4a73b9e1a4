"""The flows of the page about other orchestrators: ours are valid, and AWS's can be imported."""

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from outlast.pipelines.asl.machine import import_machine
from outlast.pipelines.asl.resources import Resources
from outlast.pipelines.documents import check_document
from outlast.terminal.pipeline_files import from_yaml

PAGE = (Path(__file__).parents[2] / "docs/other-orchestrators.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
MACHINES: list[Any] = [json.loads(text) for kind, text in BLOCKS if kind == "json"]
OURS = [text for kind, text in BLOCKS if kind == "yaml" and "dsl:" in text]
ARGO = [text for kind, text in BLOCKS if kind == "yaml" and "argoproj.io" in text]
PYTHON = [text for kind, text in BLOCKS if kind == "python"]

RESOURCES: Any = {
    **{name: {"agent": name} for name in ("planner", "facts", "risks", "writer", "weather")},
    "publish": {"tool": "publish", "argument": "event"},
    "approvals": {"ask": {"question": "Publish the brief?", "answer": {"type": "boolean"}}},
}


def test_each_flow_is_there_in_each_system() -> None:
    counts = [len(each) for each in (OURS, MACHINES, ARGO, PYTHON)]
    assert counts == [3, 3, 3, 6]
    assert sum(counts) == len(BLOCKS)


@pytest.mark.parametrize("text", OURS)
def test_our_flows_are_valid(text: str) -> None:
    check_document(from_yaml(text))


@pytest.mark.parametrize("machine", MACHINES)
def test_flows_of_step_functions_can_be_imported(machine: Any) -> None:
    document, report = import_machine(machine, "sample", Resources(RESOURCES))
    assert report.holes == []
    check_document(document)


def test_the_imported_diamond_has_the_agents_of_ours() -> None:
    document, _ = import_machine(MACHINES[0], "brief", Resources(RESOURCES))
    assert set(check_document(document).agents) == set(check_document(from_yaml(OURS[0])).agents)


@pytest.mark.parametrize("text", ARGO)
def test_flows_of_argo_call_templates_that_exist(text: str) -> None:
    spec = yaml.safe_load(text)["spec"]
    names = {template["name"] for template in spec["templates"]}
    called = set(re.findall(r"template: (\w+)", text)) | {spec["entrypoint"]}
    assert called <= names


@pytest.mark.parametrize("text", PYTHON)
def test_flows_in_python_can_be_parsed(text: str) -> None:
    assert ast.parse(text).body
