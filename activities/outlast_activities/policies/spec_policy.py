"""Limits of what a `spec` may ask for. Without them, it can name any registered tool and any model."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from outlast.contracts.agents import ToolSpec
from outlast.errors import BadRequest
from outlast.text.hints import hint


@dataclass(frozen=True)
class SpecPolicy:
    """The limits of specs. None means no limit, and an empty collection allows nothing.

    `audiences` are those of the tools' approvals, with their escalations. A spec without a model uses the
    default one of the workers, which is always allowed.
    """

    enabled: bool = True
    tools: Collection[str] | None = None
    models: Collection[str] | None = None
    audiences: Collection[str] | None = None

    def check_names(self, tools: Iterable[str], model: str | None) -> None:
        """Raise `BadRequest` for a spec that is not allowed, before its tools are looked up."""
        if not self.enabled:
            raise BadRequest(
                "spec: is disabled on these workers (specs.enabled); give 'agent', a registered name"
            )
        for tool in tools:
            _check("spec.tools", tool, self.tools, "specs.tools")
        if model is not None:
            _check("spec.model", model, self.models, "specs.models")

    def check_audiences(self, tools: Iterable[ToolSpec]) -> None:
        """Raise `BadRequest` for a tool that would ask an audience which specs may not ask."""
        for tool in tools:
            for audience in tool.approval.audiences if tool.approval else ():
                _check(f"spec.tools: {tool.name!r}", audience, self.audiences, "specs.audiences")

    def check_asked(self, audiences: Iterable[str]) -> None:
        """Raise `BadRequest` for an audience that a pipeline may not ask."""
        for audience in audiences:
            _check("audience", audience, self.audiences, "specs.audiences")


def _check(field: str, name: str, allowed: Collection[str] | None, key: str) -> None:
    if allowed is not None and name not in allowed:
        advice = hint(name, sorted(allowed)) if allowed else "none is allowed"
        raise BadRequest(f"{field}: {name!r} is not allowed in a spec ({key}); {advice}")
