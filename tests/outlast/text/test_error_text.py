"""The text of exceptions of users' code."""

import pytest

from outlast import Retry, ToolError
from outlast.text.error_text import error_text


@pytest.mark.parametrize("error", [AssertionError(), ValueError(" \n"), ToolError(""), Retry("")])
def test_an_exception_without_a_message_says_so(error: Exception) -> None:
    assert error_text(error) == "no message"
