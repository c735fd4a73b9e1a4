"""Requests of operations: no arguments leave the path, the headers or the query of their operation."""

import re
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outlast_activities.openapi.requests import HttpRequest, http_request

from outlast import ToolError, tools_from_openapi
from outlast.agents.openapi.openapi_tools import OpenApiTool
from tests.activities.openapi.shop_server import DOCUMENT

TOOLS = {
    tool.name: tool
    for tool in tools_from_openapi(DOCUMENT, servers="https://api.example.com/api")
    if isinstance(tool, OpenApiTool)
}


def request_of(arguments: dict[str, Any], tool: str = "echo") -> HttpRequest:
    return http_request(TOOLS[tool].operation, arguments, secrets={}, idempotency_key="")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"key": "..", "more": "a"}, "cannot be part of a path"),
        ({"key": ".", "more": "a"}, "cannot be part of a path"),
        ({"key": "../../admin", "more": "a"}, "cannot be part of a path"),
        ({"key": "..\\admin", "more": "a"}, "cannot be part of a path"),
        ({"key": "%2e%2e", "more": "a"}, "cannot be part of a path"),
        ({"key": "%252e%252e/x", "more": "a"}, "cannot be part of a path"),
        ({"key": "", "more": "a"}, "cannot be part of a path"),
        ({"key": "a\r\nb", "more": "a"}, "printable"),
        ({"key": "a\0", "more": "a"}, "printable"),
        ({"key": {"a": {}}, "more": "a"}, "must be text"),
        ({"key": "a"}, "more: is required"),
        ({"key": "a", "more": "a", "words": 1}, "did you mean 'word'"),
        ({"key": "a", "more": "a", "X-Trace": "a\r\nx-evil: 1"}, "printable ASCII"),
        ({"key": "a", "more": "a", "X-Trace": "ü"}, "printable ASCII"),
        ({"key": "a", "more": "a", "deep": 3}, "must be an object"),
        ({"key": "a", "more": "a", "tags": [[1]]}, "must be text"),
        ({"key": "a" * 17_000, "more": "a"}, "URL of more than"),
        ({"key": "a", "more": "a", "X-Trace": "a" * 9_000}, "header of more than"),
        ({"key": "a", "more": "a", "body": "a" * 2_000_001}, "body has more than"),
    ],
)
def test_arguments_that_do_not_fit_are_rejected(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ToolError, match=message):
        request_of(arguments)


TEXTS = st.text() | st.sampled_from(["..", ".", "/", "%2e", "\\", "?", "#", ";", "@", ":", "\r\n"])
PARTS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
NAMES = [
    "key",
    "more",
    "word",
    "tags",
    "deep",
    "flat",
    "fields",
    "json",
    "X-Trace",
    "session",
    "body",
]


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=3), PARTS))
def test_no_argument_changes_the_place_of_a_request(arguments: dict[str, Any]) -> None:
    try:
        request = request_of({"key": "k", "more": "m", **arguments})
    except ToolError:
        return
    sent = httpx2.Request(request.method, request.url, headers=request.headers)
    assert sent.url.host == "api.example.com"
    assert sent.url.raw_path.decode() == request.url.removeprefix("https://api.example.com")
    segments = urlsplit(request.url).path.split("/")
    assert segments[:3] == ["", "api", "echo"]
    assert len(segments) == 5
    assert not {".", ".."} & {unquote(part) for part in segments}
    names = [name.lower() for name, _ in request.headers]
    assert set(names) <= {"accept", "x-trace", "cookie", "content-type"}
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[ -~]*", text) for _, text in request.headers)
