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
    found = distribution.metadata
    return Metadata(
        name=found["Name"],
        version=distribution.version,
        summary=found.get("Summary") or "",
        licence=found.get("License-Expression") or _licence_of(found) or "not stated",
        requires_python=found.get("Requires-Python") or "any",
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


def _licence_of(found: metadata.PackageMetadata) -> str | None:
    """Return the licence that older metadata gives: a short text, or a classifier."""
    text = found.get("License") or ""
    if text and len(text) <= MAX_LICENCE_CHARS:
        return " ".join(text.split())[:60]
    classifiers = found.get_all("Classifier") or []
    named = [entry.split(" :: ")[-1] for entry in classifiers if entry.startswith("License ::")]
    return ", ".join(named) or None


dependency_review = Agent(
    name="dependency-review",
    instructions=(
        "You review a Python package before a team depends on it. Call read_metadata, then read_licence, "
        "then answer. Copy the licence from the metadata. Say in one sentence what the package is for. "
        "A permissive licence such as MIT, BSD or Apache is low risk: adopt. A licence such as GPL is high "
        "risk: review. No licence at all: avoid."
    ),
    tools=[read_metadata, read_licence],
    require=["read_metadata"],
    output=Review,
    limits=Limits(max_turns=4),
)
