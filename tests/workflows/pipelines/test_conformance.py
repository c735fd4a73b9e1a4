"""The conformance kit of the DSL: which scenarios pass, as docs/pipelines.md says."""

import re
from pathlib import Path

from temporalio.client import Client

from outlast.testing import ScriptedModel
from tests.stage import on_stage
from tests.workflows.pipelines.conformance import NOT_PASSING, PASSING
from tests.workflows.pipelines.staging import document, failure_of, output_of

PAGE = Path(__file__).parents[3] / "docs" / "pipelines.md"


async def test_scenarios_of_the_kit_pass(temporal: Client, cached: int) -> None:
    async with on_stage(temporal, ScriptedModel([]), cached=cached) as stage:
        for name, scenario in PASSING.items():
            pipeline = document(*scenario.tasks)
            if scenario.error is not None:
                failure = await failure_of(stage, pipeline, scenario.input)
                assert failure.details[0] == scenario.error, name
                continue
            output = await output_of(stage, pipeline, scenario.input)
            if scenario.fields:
                assert set(scenario.fields) == set(output), name
                output = {field: output[field] for field in scenario.output}
            assert output == scenario.output, name


def test_the_page_lists_all_scenarios() -> None:
    text = PAGE.read_text()
    total = len(PASSING) + len(NOT_PASSING)
    assert f"{len(PASSING)} of its {total} scenarios pass" in text
    listed = dict(re.findall(r"^\| ([^|`]+) \| (needs [^|]+) \|$", text, re.MULTILINE))
    assert listed == NOT_PASSING
