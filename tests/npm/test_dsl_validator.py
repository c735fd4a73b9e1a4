"""The validator of the Serverless Workflow DSL's own SDK accepts the documents of our pages and tests.

`make test-npm` installs the packages of package.json beside this file.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from outlast.terminal.pipeline_files import from_yaml
from tests.workflows.pipelines.conformance import PASSING
from tests.workflows.pipelines.staging import document

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs"
SDK = HERE / "node_modules" / "@serverlessworkflow" / "sdk"
NODE = shutil.which("node") or ""

pytestmark = [
    pytest.mark.skipif(not NODE, reason="node is missing: install Node 20"),
    pytest.mark.skipif(not SDK.is_dir(), reason="the packages are missing: make test-npm"),
]

YAML = re.compile(r"```yaml\n(document:.*?)```", re.DOTALL)


def problems_of(documents: dict[str, Any]) -> dict[str, str]:
    process = subprocess.run(
        [NODE, str(HERE / "dsl_validator.mjs")],
        input=json.dumps(documents),
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, str] = json.loads(process.stdout)
    return found


def documents_of_pages() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for page in sorted(DOCS.rglob("*.md")):
        text = page.read_text()
        for number, block in enumerate(YAML.findall(text)):
            found[f"{page.name} {number}"] = from_yaml(block)
    return found


def test_documents_of_our_pages_are_valid() -> None:
    documents = documents_of_pages()
    assert len(documents) >= 6
    assert problems_of(documents) == dict.fromkeys(documents, "")


def test_scenarios_of_the_conformance_kit_are_valid() -> None:
    scenarios = {
        name: json.loads(json.dumps(document(*each.tasks)).replace("{store}", "http://a.example"))
        for name, each in PASSING.items()
    }
    assert problems_of(scenarios) == dict.fromkeys(scenarios, "")


def test_the_validator_rejects_what_the_dsl_does_not_have() -> None:
    wrong = {
        "no task": document({"a": {"nothing": {}}}),
        "duration": document({"a": {"wait": {"parsecs": 1}}}),
        "version": {"do": [{"a": {"set": {"b": 1}}}]},
    }
    assert all(problems_of(wrong).values())
