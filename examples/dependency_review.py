"""Reviews a package that is installed on this machine, from its real metadata and licence files."""

from importlib import metadata
from typing import Literal

from pydantic import BaseModel, Field

from outlast import Agent, Limits, ToolError, tool

MAX_LICENCE_CHARS = 600
"""The beginning of a licence names it; a small model reads no more."""


class Metadata(BaseModel):
    """What a package says of itself."""

    name: str
    version: str
    summary: str
    licence: str
    requires_python: str
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
        version=distribution.version,
        summary=str(found.get("summary", "")),
        licence=_licence_of(found) or "not stated",
        requires_python=str(found.get("requires_python", "any")),
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


dependency_review = Agent(
    name="dependency-review",
    instructions=(
        "You review a Python package before a team depends on it. Call read_metadata, then read_licence, "
        "then answer. Copy the licence from the metadata. Say in one sentence what the package is for. "
        "A permissive licence such as MIT, BSD or Apache is low risk: adopt. A licence such as GPL is high "
        "risk: review. No licence at all: avoid."
    ),
    tools=[read_metadata, read_licence],
    begin_with=["read_metadata"],
    output=Review,
    limits=Limits(max_turns=4),
)
