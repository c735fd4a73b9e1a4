"""The conformance kit of the DSL: which scenarios pass, as docs/pipelines.md says."""

import json
import re
from pathlib import Path
from typing import Any

from temporalio.client import Client

from outlast.testing import ScriptedModel
from tests.stage import on_stage
from tests.workflows.pipelines.conformance import NOT_PASSING, PASSING
from tests.workflows.pipelines.petstore import PetStore, settings_for
from tests.workflows.pipelines.staging import document, failure_of, output_of

PAGE = Path(__file__).parents[3] / "docs" / "pipelines.md"


async def test_scenarios_of_the_kit_pass(temporal: Client, cached: int) -> None:
    async with (
        PetStore().open() as store,
        on_stage(temporal, ScriptedModel([]), settings=settings_for(store, cached=cached)) as stage,
    ):
        for name, scenario in PASSING.items():
            pipeline = _at(store, document(*scenario.tasks))
            if scenario.error is not None:
                failure = await failure_of(stage, pipeline, scenario.input)
                assert failure.details[0] == _at(store, scenario.error), name
                continue
            output = await output_of(stage, pipeline, scenario.input)
            if scenario.fields:
                assert set(scenario.fields) == set(output), name
                output = {field: output[field] for field in scenario.output}
            assert output == _at(store, scenario.output), name


def _at(store: PetStore, value: Any) -> Any:
    """Return JSON with the URL of the store in the place of `{store}`."""
    return json.loads(json.dumps(value).replace("{store}", store.url))


def test_the_page_lists_all_scenarios() -> None:
    text = PAGE.read_text()
    total = len(PASSING) + len(NOT_PASSING)
    assert f"{len(PASSING)} of its {total} scenarios pass" in text
    table = text.partition("| scenario |")[2]
    listed = dict(re.findall(r"^\| ([^|`]+) \| ([a-z][^|]+) \|$", table, re.MULTILINE))
    assert listed == NOT_PASSING
