"""The examples of the docs work with the gateway of `outlast worker dev`, which always wants a token."""

import re
from pathlib import Path

import pytest
from outlast_examples.dependency_review import dependency_review
from outlast_examples.refund_desk import refund_desk

from tests.docs.prose import ROOT

PAGES = (ROOT / "docs" / "gateway.md", *sorted((ROOT / "docs" / "doors").glob("*.md")))

SERVED = {dependency_review.name, refund_desk.name}

CALL = re.compile(r"(?:localhost|127\.0\.0\.1):8060/")
AGENT = re.compile(r'(?:model=|"agent": )"([^"]+)"|:8060/(?:a2a|agui|ai)/([\w-]+)')


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_example_sends_a_token_and_names_an_agent_that_is_served(page: Path) -> None:
    blocks = re.findall(r"^```\w+\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    calling = [block for block in blocks if CALL.search(block)]
    assert calling
    for block in calling:
        assert re.search(r"Bearer|api_key=token|GATEWAY_TOKEN", block), block
        assert block.count("curl ") == len(re.findall(r"curl [^#]*?Bearer \$TOKEN", block)), block
    named = {one or two for block in blocks for one, two in AGENT.findall(block)}
    assert named <= SERVED
