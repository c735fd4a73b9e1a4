"""What the models of custom resources have in common."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

Duration = Annotated[str, Field(pattern=r"^([0-9]+(s|m|h))+$")]
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
Address = Annotated[str, Field(pattern=r"^[a-zA-Z0-9.-]+:[0-9]+$")]
Digits = Annotated[str, Field(pattern=r"^[0-9]+$")]
Types = Annotated[str, Field(pattern=r"^(workflow|activity)(,(workflow|activity))?$")]


class Strict(BaseModel):
    """A part of an object: its keys in camel case, and no other."""

    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel)


class Metadata(Strict):
    """Of an object that Helm names."""

    name: Name
    labels: dict[str, str]


class Named(Strict):
    """A reference to an object of the same namespace."""

    name: Name
