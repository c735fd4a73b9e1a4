"""The options of `@tool` and their checks. Each check raises `DefinitionError`."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Literal, get_args

from outlast.contracts.effects import Effect
from outlast.contracts.human import MAX_WAIT_S, Approval, audience_problem
from outlast.contracts.names import HTTP_ACTIVITIES, NAME_PATTERN
from outlast.errors import DefinitionError
from outlast.jsonschema.schemas import Schema
from outlast.text.error_text import error_text
from outlast.text.hints import hint
from outlast.text.texts import shown

DEFAULT_AUDIENCE = "operators"
"""The audience that approves an irreversible call of a tool without `approval=`."""

EFFECTS: tuple[Effect, ...] = get_args(Effect)

RESERVED = frozenset(
    {
        *("check_chain", "check_output", "generate", "notify", "resolve_agent"),
        *HTTP_ACTIVITIES,
    }
)
"""Activity types of outlast itself."""


@contextmanager
def explained_errors(what: str) -> Iterator[None]:
    """Turn every exception into a `DefinitionError`: types and defaults of users may raise anything."""
    try:
        yield
    except DefinitionError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error_text(error)[:300]}"
        raise DefinitionError(f"{what} cannot be defined: {reason}") from error


def seconds(duration: object, what: str) -> float:
    """Return a `timedelta` in seconds; raises `DefinitionError` for another type or range."""
    if not isinstance(duration, timedelta):
        number = duration if type(duration) in (int, float) else 30
        raise DefinitionError(
            f"{what}: {shown(duration)} is not a timedelta; give timedelta(seconds={number})"
        )
    if not 0 < duration.total_seconds() <= MAX_WAIT_S:
        raise DefinitionError(
            f"{what}: {shown(duration)} must be longer than 0 s, and at most a year"
        )
    return duration.total_seconds()


def checked_effect(effect: object, tool_name: str) -> Effect:
    """Return `effect`; it must be one of `EFFECTS`."""
    for known in EFFECTS:
        if effect == known:
            return known
    raise DefinitionError(
        f"tool {tool_name!r}: effect {shown(effect)}; {hint(str(effect), EFFECTS)}"
    )


def checked_max_calls(max_calls: object, tool_name: str) -> int | None:
    """Return `max_calls`; it must be a positive number or None."""
    if max_calls is None or (type(max_calls) is int and max_calls >= 1):
        return max_calls
    raise DefinitionError(
        f"tool {tool_name!r}: max_calls {shown(max_calls)} must be a whole number of at least 1, or None"
    )


def checked_local(local: object, tool_name: str) -> bool:
    """Return `local`; it must be a bool."""
    if isinstance(local, bool):
        return local
    raise DefinitionError(f"tool {tool_name!r}: local {shown(local)} must be True or False")


def checked_name(name: object) -> str:
    """Return the name; models and Temporal must accept it."""
    if not isinstance(name, str):
        raise DefinitionError(f"tool {name!r}: its name must be text; pass name=")
    if name in RESERVED:
        raise DefinitionError(
            f"tool {name!r} has the name of an activity of outlast; pass another name="
        )
    if not re.fullmatch(NAME_PATTERN, name):
        raise DefinitionError(
            f"tool {name!r}: a name is a letter, then at most 63 letters, digits, '_' and '-'; pass name="
        )
    return name


def checked_tool_class(name: str | None, tool_name: str) -> str | None:
    """Return `tool_class`; it must be a name or None."""
    if name is None or re.fullmatch(NAME_PATTERN, name):
        return name
    raise DefinitionError(f"tool {tool_name!r}: tool_class {name!r} is not a name such as 'gpu'")


def checked_approval(
    approval: str | Approval | Literal[False] | None, effect: Effect, parameters: Schema, name: str
) -> Approval | None:
    """Return the approval of the calls, or None. By default, only irreversible calls need it."""
    if isinstance(approval, str):
        problem = audience_problem(approval)
        if problem is not None:
            raise DefinitionError(f"tool {name!r}: approval: {shown(approval)} {problem}")
        return Approval(audience=approval)
    if not isinstance(approval, Approval):
        if approval is not None and approval is not False:
            raise DefinitionError(
                f"tool {name!r}: approval {shown(approval)} must be an audience's name, an Approval, or"
                " False"
            )
        is_needed = approval is None and effect == "irreversible"
        return Approval(audience=DEFAULT_AUDIENCE) if is_needed else None
    mismatch = None if approval.when is None else approval.when.mismatch(parameters)
    if mismatch is not None:
        raise DefinitionError(f"tool {name!r}: when: {mismatch}")
    return approval
