"""The pytest plugin: the fixture `agent_environment`, with which tests run agents."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from outlast.testing import AgentEnvironment


@pytest.fixture(scope="session")
def agent_environment() -> "Iterator[AgentEnvironment]":
    """Runs agents on a Temporal server of its own, which starts with the first test that uses it."""
    from outlast.testing import AgentEnvironment  # noqa: PLC0415 only tests that use it pay for it

    with AgentEnvironment() as environment:
        yield environment
