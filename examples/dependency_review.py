"""Reviews a package that is installed on this machine, from its real metadata and licence files."""

from importlib import metadata
from typing import Literal

from pydantic import BaseModel, Field

from outlast import Agent, Limits, ToolError, tool

MAX_LICENCE_CHARS = 300
"""The beginning of a licence names it; a small model reads no more."""


class Metadata(BaseModel):
    """What a package says of itself."""

    name: str
    licence: str
    summary: str
    version: str
    dependencies: int


class Review(BaseModel):
    """What a person wants to know before they depend on a package."""

    licence: str = Field(max_length=40, description="as its metadata says")
    purpose: str = Field(max_length=120, description="what it is for, in one sentence")
    risk: Literal["low", "medium", "high"]
    recommendation: Literal["adopt", "review", "avoid"]


@tool(effect="read", max_calls=1)
def read_metadata(package: str) -> Metadata:
    """Read the metadata of an installed package.

    Args:
        package: Its name, as one would install it.
    """
    distribution = _installed(package)
    found = distribution.metadata.json
    return Metadata(
        name=distribution.name,
        licence=_licence_of(found) or "not stated",
        summary=str(found.get("summary", "")),
        version=distribution.version,
        dependencies=len(distribution.requires or []),
    )


@tool(effect="read", max_calls=1)
def read_licence(package: str) -> str:
    """Read the beginning of the licence file of an installed package.

    Args:
        package: Its name, as one would install it.
    """
    for file in _installed(package).files or []:
        if file.name.upper().startswith(("LICENSE", "LICENCE", "COPYING")):
            return " ".join(file.read_text().split())[:MAX_LICENCE_CHARS]
    raise ToolError(f"{package} ships no licence file")


def _installed(package: str) -> metadata.Distribution:
    try:
        return metadata.distribution(package)
    except (metadata.PackageNotFoundError, ValueError):
        raise ToolError(f"no package {package!r} is installed here") from None


def _licence_of(found: dict[str, str | list[str]]) -> str:
    """Return the licence that the metadata gives: an expression, a short text, or classifiers."""
    for field in ("license_expression", "license"):
        text = " ".join(str(found.get(field, "")).split())
        if 0 < len(text) <= MAX_LICENCE_CHARS:
            return text[:60]
    classifiers = found.get("classifier", [])
    return ", ".join(
        entry.split(" :: ")[-1] for entry in classifiers if entry.startswith("License ::")
    )


# The example is for small models, which follow one better than they follow instructions.
INSTRUCTIONS = """\
You review a Python package before a team depends on it. Copy the licence from its metadata, and say \
what the package is for. A permissive licence (MIT, BSD, Apache) is low risk: adopt. A copyleft licence \
(GPL, MPL) is medium risk: review. No licence is high risk: avoid.

Example:
flask
{"tool_calls":[{"tool":"read_metadata","arguments":{"package":"flask"}}]}
{"tool":"read_metadata","result":{"name":"Flask","licence":"BSD-3-Clause","summary":"A simple framework."}}
{"tool_calls":[{"tool":"read_licence","arguments":{"package":"flask"}}]}
{"tool":"read_licence","result":"Copyright 2010 Pallets. Redistribution and use are permitted."}
{"answer":{"licence":"BSD-3-Clause","purpose":"A simple framework.","risk":"low",\
"recommendation":"adopt"}}"""

dependency_review = Agent(
    name="dependency-review",
    description="Reviews an installed Python package: licence, purpose, risk.",
    instructions=INSTRUCTIONS,
    tools=[read_metadata, read_licence],
    begin_with=["read_metadata", "read_licence"],
    output=Review,
    limits=Limits(max_turns=5),
)
