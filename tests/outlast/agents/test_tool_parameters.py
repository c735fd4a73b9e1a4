"""Parameters of tools: each works, or is a `DefinitionError` that names tool and parameter."""

import datetime
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator, Field, Strict

from outlast import DefinitionError, ToolError, tool
from tests.outlast.agents.tool_types import (
    Booking,
    Box,
    Cents,
    Days,
    Holder,
    Pair,
    Points,
    Rank,
    Shape,
    make,
    named,
    takes,
)


@pytest.mark.parametrize(
    "parameter",
    [
        "_path",
        "__x",
        "model_config",
        "model_extra",
        "model_fields_set",
        "model_dump",
        "model_validate",
        "model_fields",
        "model_copy",
        "model_json_schema",
        "_",
    ],
)
def test_a_parameter_that_pydantic_keeps_is_refused(parameter: str) -> None:
    with pytest.raises(
        DefinitionError, match=f"tool 'act'.*'{parameter}' has a name that pydantic"
    ):
        make(named(parameter))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "parameter",
    [
        "schema",
        "json",
        "copy",
        "dict",
        "model_name",
        "model_id",
        "validate",
        "construct",
        "fields",
        "parse_raw",
        "from_orm",
        "self_",
        "cls_",
        "args",
        "arguments",
        "result",
        "type",
        "id",
    ],
)
async def test_a_parameter_with_an_unusual_name_reaches_the_function(parameter: str) -> None:
    assert await make(named(parameter)).invoke({parameter: "value"}) == b'"value"'


@pytest.mark.parametrize(
    "annotation",
    [
        Cents,
        Days,
        Points,
        Holder,
        list[Cents],
        dict[str, Cents],
        Cents | None,
        Annotated[str, Field(pattern="^(?=a)b$")],
        list[Annotated[str, Field(pattern=r"(a)\1")]],
        Annotated[str, Field(pattern="[")],
        Callable[[], int],
        "int[",
        type("Plain", (), {}),
    ],
    ids=repr,
)
def test_a_type_that_cannot_be_an_argument_is_refused_with_its_names(annotation: Any) -> None:
    with pytest.raises(DefinitionError, match="act") as raised:
        make(takes(annotation))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("annotation", "value", "seen"),
    [
        (Booking, {"when": "2026-01-01T00:00:00Z"}, "2026, 1, 1"),
        (Annotated[datetime.date, Strict()], "2026-01-01", "2026, 1, 1"),
        (Annotated[Decimal, Strict()], "1.50", "Decimal('1.50')"),
        (Annotated[bytes, Strict()], "ab", "b'ab'"),
        (Annotated[frozenset[int], Strict()], [1], "frozenset({1})"),
        (Annotated[tuple[int, ...], Strict()], [1, 2], "(1, 2)"),
        (Rank, 1, "Rank.LOW"),
        (Shape, {"side": 2}, "{'side': 2}"),
        (Pair, [1, 2], "Pair(left=1, right=2)"),
        (Box, {"size": "2"}, "Decimal('2')"),
        (set[int], [1, 1], "{1}"),
        (datetime.timedelta, "PT5S", "seconds=5"),
        (Annotated[int, AfterValidator(lambda number: number + 1)], 1, "2"),
    ],
)
async def test_arguments_are_validated_as_json(annotation: Any, value: Any, seen: str) -> None:
    assert seen in (await make(takes(annotation)).invoke({"value": value})).decode()


async def test_a_field_as_the_default_of_a_documented_parameter_works() -> None:
    @tool(effect="read")
    def search(
        tags: list[str] = Field(default_factory=list),  # noqa: B008
        limit: int = Field(default=3, le=9),
        query: str = Field(..., description="own words"),
        depth: Annotated[int, Field(ge=1)] = Field(2, description="own depth"),
    ) -> str:
        """Search.

        Args:
            tags: what to look for
            limit: how many
            query: documented
            depth: documented
        """
        return f"{tags!r} {limit!r} {query!r} {depth!r}"

    properties: Any = search.spec.parameters["properties"]
    assert {name: schema["description"] for name, schema in properties.items()} == {
        "tags": "what to look for",
        "limit": "how many",
        "query": "own words",
        "depth": "own depth",
    }
    assert search.spec.parameters["required"] == ["query"]
    assert await search.invoke({"query": "x"}) == b"\"[] 3 'x' 2\""
    with pytest.raises(ToolError, match="limit: 99"):
        await search.invoke({"query": "x", "limit": 99})
    with pytest.raises(ToolError, match="depth: 0"):
        await search.invoke({"query": "x", "depth": 0})


@pytest.mark.parametrize("default", [math.inf, -math.inf, math.nan])
async def test_a_default_that_json_does_not_have_is_left_out_of_the_schema(default: float) -> None:
    made = make(takes(float, default))
    assert made.spec.parameters["properties"]["value"] == {"type": "number"}
    assert await made.invoke({}) == f'"{default!r}"'.encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"1",
        b"null",
        b'{"value":' + b"[" * 5_000,
        b'{"value":"\xff"}',
        b'{"value":"\\ud83d"}',
        b'{"value":' + b"1" * 5_000 + b"}",
        b'{"value":NaN}',
        b'{"v":1}',
    ],
)
async def test_arguments_that_are_not_valid_are_an_error_for_the_model(data: bytes) -> None:
    made = make(takes(int))
    with pytest.raises(ToolError, match="act: "):
        made.invoke_plain(data)
