"""An agent that reviews an installed package, from its real metadata and licence files."""

from importlib import metadata
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from outlast import Agent, Limits, ToolError, tool

MAX_LICENCE_CHARS = 300
"""The first lines of a licence contain its name, and a small model reads few tokens."""


PackageName = Annotated[str, Field(max_length=60, description="its name, as one would install it")]
Risk = Literal["low", "medium", "high"]
Recommendation = Literal["adopt", "review", "avoid"]

POLICY: dict[str, tuple[Risk, Recommendation]] = {
    "MIT": ("low", "adopt"),
    "BSD": ("low", "adopt"),
    "APACHE": ("low", "adopt"),
    "ISC": ("low", "adopt"),
    "PSF": ("low", "adopt"),
    "MPL": ("medium", "review"),
    "LGPL": ("medium", "review"),
    "GPL": ("high", "review"),
}
"""The policy of the team, by a word in the licence name. A policy is code; the model only reports it."""


class Metadata(BaseModel):
    """What a package says of itself, and what the team's policy says of its licence."""

    name: str
    version: str
    licence: str
    purpose: str
    risk: Risk
    recommendation: Recommendation


class Review(BaseModel):
    """What a person wants to know before they depend on a package."""

    licence: str = Field(max_length=40, description="as its metadata says")
    purpose: str = Field(max_length=120, description="what it is for, in one sentence")
    risk: Risk
    recommendation: Recommendation


@tool(effect="read", max_calls=1)
def read_metadata(package: PackageName) -> Metadata:
    """Read the metadata of an installed package."""
    distribution = _installed(package)
    fields = distribution.metadata.json
    licence = _licence_of(fields)
    risk, recommendation = _policy_of(licence)
    return Metadata(
        name=distribution.name,
        version=distribution.version,
        licence=licence or "not stated",
        purpose=str(fields.get("summary", "")),
        risk=risk,
        recommendation=recommendation,
    )


@tool(effect="read", max_calls=1)
def read_licence(package: PackageName) -> str:
    """Read the beginning of the licence file of an installed package."""
    for file in _installed(package).files or []:
        if file.name.upper().startswith(("LICENSE", "LICENCE", "COPYING")):
            return " ".join(file.read_text().split())[:MAX_LICENCE_CHARS]
    raise ToolError(f"{package} ships no licence file")


def _installed(package: str) -> metadata.Distribution:
    try:
        return metadata.distribution(package)
    except (metadata.PackageNotFoundError, ValueError):
        raise ToolError(f"no package {package!r} is installed here") from None


def _licence_of(fields: dict[str, str | list[str]]) -> str:
    """Return the licence that the metadata gives: an expression, a short text, or classifiers."""
    for field in ("license_expression", "license"):
        text = " ".join(str(fields.get(field, "")).split())
        if 0 < len(text) <= MAX_LICENCE_CHARS:
            return text[:60]
    classifiers = fields.get("classifier", [])
    return ", ".join(
        entry.split(" :: ")[-1] for entry in classifiers if entry.startswith("License ::")
    )


def _policy_of(licence: str) -> tuple[Risk, Recommendation]:
    words = licence.upper()
    return next((POLICY[name] for name in POLICY if name in words), ("high", "avoid"))


dependency_review = Agent(
    name="dependency-review",
    description="Reviews an installed Python package: licence, purpose, risk.",
    # Short and plain instructions, which a small model follows as well.
    instructions=(
        "You review Python packages. Call read_licence and read_metadata first, then answer with the "
        "licence, the purpose, the risk and the recommendation that read_metadata returned."
    ),
    prompt='Review the package "{input}"',
    tools=[read_licence, read_metadata],
    begin_with=["read_licence", "read_metadata"],
    output=Review,
    limits=Limits(max_turns=5),
)
