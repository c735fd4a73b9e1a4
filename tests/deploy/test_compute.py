"""What docs/compute.md says of the targets, beside what the artefacts and the chart say."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.deploy.graces import GRACE_S
from tests.deploy.kubernetes.chart import CHART, arguments
from tests.deploy.tools import ROOT, run

PAGE = (ROOT / "docs" / "compute.md").read_text()
GRACE_COLUMN = 3


@pytest.mark.parametrize("target", GRACE_S)
def test_the_page_tells_the_graces_that_the_drains_fit_in(target: str) -> None:
    rows = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| ")]
    (row,) = [row for row in rows if re.sub(r"\[(.*?)\].*", r"\1", row[0]) == target]
    assert row[GRACE_COLUMN] == f"{GRACE_S[target]:g} s"


def test_the_chart_takes_the_hybrid_profile_in_yaml(tmp_path: Path) -> None:
    values = PAGE.partition("<!-- chart:begin -->")[2].partition("<!-- chart:end -->")[0]
    values = values.strip().removeprefix("```yaml").removesuffix("```")
    hybrid = tomllib.loads((ROOT / "deploy" / "routes" / "hybrid.toml").read_text())
    assert yaml.safe_load(values)["settings"]["routes"] == hybrid["routes"]
    file = tmp_path / "hybrid.yaml"
    file.write_text(values)
    done = run("helm", "template", "outlast", CHART, *arguments("cpu"), "-f", file)
    assert done.returncode == 0, done.stdout
