"""OpenAPI documents of strangers become tools, or are rejected in one line."""

import copy
import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from outlast import Agent, DefinitionError, tools_from_openapi
from tests.activities.openapi.shop_server import DOCUMENT
from tests.long.fuzz import strategies as of
from tests.long.fuzz.alarm import alarm, examples
from tests.outlast.agents.openapi.test_definitions import PETS, SCHEMES

URL = "https://api.example.com"

DOCUMENTS = [
    PETS,
    DOCUMENT,
    {
        **PETS,
        "openapi": "3.1.1",
        "security": [{"basic": []}],
        "components": {**PETS["components"], "securitySchemes": SCHEMES},
    },
]

KEYWORDS = st.sampled_from(
    [
        *(
            "$ref",
            "type",
            "items",
            "properties",
            "allOf",
            "nullable",
            "enum",
            "required",
            "in",
            "name",
        ),
        *(
            "schema",
            "content",
            "style",
            "explode",
            "security",
            "servers",
            "parameters",
            "operationId",
        ),
        *(
            "requestBody",
            "get",
            "post",
            "$id",
            "$defs",
            "additionalProperties",
            "readOnly",
            "encoding",
        ),
    ]
)
POINTERS = st.sampled_from(
    ["#/components/schemas/Pet", "#", "#/", "#/paths", "#/paths/~1pets/get", "a.json", "#/openapi"]
)
PARTS = st.recursive(
    of.SCALARS | POINTERS | KEYWORDS | st.sampled_from(["query", "path", "object", "array"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYWORDS, inner, max_size=4),
    max_leaves=8,
)


def places(node: Any) -> list[tuple[Any, Any]]:
    """Return every place in a document: its container, and its key."""
    found = []
    waiting = [node]
    while waiting:
        each = waiting.pop()
        keys = list(each) if isinstance(each, dict) else range(len(each))
        found += [(each, key) for key in keys]
        waiting += [each[key] for key in keys if isinstance(each[key], dict | list)]
    return found


@st.composite
def documents(draw: Any) -> Any:
    document = copy.deepcopy(draw(st.sampled_from(DOCUMENTS)))
    for _ in range(draw(st.integers(1, 4))):
        container, key = draw(st.sampled_from(places(document)))
        if isinstance(container, dict) and draw(st.booleans()):
            container[draw(KEYWORDS)] = draw(PARTS)
        else:
            container[key] = draw(PARTS)
    return document


def check(document: Any, **options: Any) -> None:
    """Make tools and an agent, or be rejected in one line."""
    rejection = ""
    with alarm():
        try:
            tools = tools_from_openapi(document, **{"servers": URL, **options})
            Agent("desk", "Help.", tools=tools)
        except DefinitionError as error:
            rejection = str(error)
    assert "\n" not in rejection
    assert len(rejection) < 3_000


@examples(400)
@given(documents())
def test_a_document_is_taken_or_rejected(document: Any) -> None:
    check(document)
    check(document, credentials="env:TOKEN", exclude=["getPet"])


@examples(200)
@given(of.VALUES | st.dictionaries(st.sampled_from(["openapi", "paths"]), of.VALUES))
@example({"openapi": "3.1", "paths": {1: {"get": {}}}})
def test_any_json_is_taken_or_rejected(value: Any) -> None:
    check(value)
    check(json.dumps(value) if not isinstance(value, str) else value)


@examples(100)
@given(
    st.dictionaries(
        st.sampled_from(
            [
                "servers",
                "include",
                "exclude",
                "effects",
                "approvals",
                "credentials",
                "idempotency_header",
                "prefix",
                "timeout",
            ]
        ),
        of.VALUES,
    )
)
def test_any_option_is_taken_or_rejected(options: dict[str, Any]) -> None:
    check(PETS, **options)
