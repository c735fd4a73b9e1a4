"""Types and schemas that the tests of schema checks share."""

from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ConfigDict, Field

from outlast.jsonschema.schema_checks import check_schema

TEXT = {"type": "string"}
WHOLE = {"type": "integer"}


class Tree(BaseModel):
    value: int
    children: list["Tree"] = []


class Chain(BaseModel):
    next: "Chain | None"


class Sloppy(BaseModel):
    next: "Sloppy" = None  # type: ignore[assignment]


class Endless(BaseModel):
    next: "Endless"


class Branching(BaseModel):
    branches: Annotated[list["Branching"], Field(min_length=1)]


class One(BaseModel):
    two: "Two"


class Two(BaseModel):
    one: One


class Empty(BaseModel):
    pass


class Extra(BaseModel):
    model_config = ConfigDict(json_schema_extra={"icon": "x", "maxLenght": 3})

    a: int


class Crossed(BaseModel):
    amount: Annotated[int, Field(ge=5, le=3)]


def of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*properties]}


def assert_rejected(schema: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=".") as error:
        check_schema(schema, "out")
    assert reason in str(error.value)
    assert "\n" not in str(error.value)
