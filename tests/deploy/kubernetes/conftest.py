"""Fixtures of the tests of the chart."""

import os

import pytest

from tests.deploy.kubernetes.chart import SETS, Release, rendered


@pytest.fixture(params=SETS)
def release(request: pytest.FixtureRequest) -> Release:
    return rendered(request.param)


@pytest.fixture
def no_variables(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in list(os.environ):
        if name.startswith(("OUTLAST_", "TEMPORAL_")):
            monkeypatch.delenv(name)
    return monkeypatch
