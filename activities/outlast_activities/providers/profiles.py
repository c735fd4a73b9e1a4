"""Profiles: facts of hosted services with OpenAI's chat completions, from the table `profiles.toml`.

A server without a profile is one that the probe examines: vLLM, llama.cpp, SGLang, Ollama and others.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from importlib.resources import files
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from outlast.contracts.agents import Effort, Way
from outlast.text.hints import hint

NO_PROFILE = "none"
"""The value of the setting `profile` that turns the profile of a host off."""

EFFORTS: tuple[Effort, ...] = get_args(Effort)


@dataclass(frozen=True)
class Profile:
    """The rules of one service and model. The defaults are those of an unknown server.

    - `ways` are the ways to decide, the best one first. Empty: the probe finds out.
    - `schema` is the dialect of its strict schemas: `openai` or none.
    - `max_tokens` is the name of the token limit.
    - `forced` is how a call can be forced: by the name of a tool, by `required`, or not at all.
    - `none_choice` is whether `tool_choice` can be `none` beside tools. Otherwise they are left out.
    - `user_after_results` is whether a user message may follow tool results.
    - `call_id_characters` is the exact length of the ids of calls. 0: any length.
    - `parallel` is whether the field `parallel_tool_calls` exists.
    - `stream_usage` is whether the field `stream_options` exists, `stream_with_format` whether an answer
      under a schema can be a stream.
    - `sampling` is when `temperature` is accepted.
    - `efforts` are the values of `effort_field`; `effort` is sent if nobody chose one.
    - `thoughts` is the field with thoughts that go back. With `requires_thoughts` it is sent even if empty.
    - `open_weights` is whether special tokens of templates may be read in texts.
    - `require_parameters` is whether a router must choose a host that accepts all fields.
    - `images` and `files` are whether its models take images, and files that are not text.
    """

    name: str = ""
    hosts: tuple[str, ...] = ()
    ways: tuple[Way, ...] = ()
    schema: Literal["openai", ""] = ""
    max_tokens: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    forced: Literal["named", "required", "no"] = "required"
    none_choice: bool = True
    user_after_results: bool = True
    call_id_characters: int = 0
    parallel: bool = False
    stream_usage: bool = True
    stream_with_format: bool = True
    sampling: Literal["always", "without_thinking", "never"] = "always"
    efforts: tuple[Effort, ...] = ()
    effort: Effort | None = None
    effort_field: Literal["reasoning_effort", "reasoning", "thinking", "enable_thinking"] = (
        "reasoning_effort"
    )
    thoughts: Literal["reasoning_content", "reasoning_details", ""] = ""
    requires_thoughts: bool = False
    open_weights: bool = False
    require_parameters: bool = False
    images: bool = False
    files: bool = False

    @property
    def is_hosted(self) -> bool:
        """Whether it is the profile of a service."""
        return bool(self.name)

    def nearest_effort(self, wanted: Effort | None) -> Effort | None:
        """Return the effort to send: the nearest one that the model has, the lower of two.

        Returns None if nothing is to be sent.
        """
        wanted = wanted or self.effort
        if wanted is None or not self.is_hosted:
            return wanted
        place = EFFORTS.index(wanted)
        return min(
            self.efforts,
            key=lambda effort: (abs(EFFORTS.index(effort) - place), EFFORTS.index(effort)),
            default=None,
        )

    def samples(self, effort: Effort | None) -> bool:
        """Return whether `temperature` is accepted at an effort."""
        if self.sampling == "without_thinking":
            return effort == "none"
        return self.sampling == "always"


UNKNOWN = Profile(open_weights=True)
"""The profile of a server that no row describes: mostly an engine with open weights."""


def profile_of(url: str, model: str | None, name: str | None = None) -> Profile:
    """Return the profile of a server: by its name, else by the host of its URL.

    Raises `ValueError` for an unknown name.
    """
    rows = _table()
    if name is not None and name != NO_PROFILE and name not in rows:
        raise ValueError(f"profile: {name!r} is unknown; {hint(name, [*rows, NO_PROFILE])}")
    if name is None:
        host = urlsplit(url).hostname or ""
        name = next((key for key in rows if _is_host(host, rows[key].get("hosts", ()))), NO_PROFILE)
    if name == NO_PROFILE:
        return UNKNOWN
    return _profile(name, rows, model or "")


def profile_names() -> list[str]:
    """Return the names of all profiles."""
    return [*_table()]


def _profile(name: str, rows: Mapping[str, dict[str, Any]], model: str) -> Profile:
    row = rows[name]
    values = {**rows.get(row.get("like", ""), {}), **row}
    changes: dict[str, Any] = next(
        (
            one
            for one in values.get("models", ())
            if re.match(one["match"], model.rpartition("/")[2])
        ),
        {},
    )
    known = {field.name for field in fields(Profile)}
    merged = {key: value for key, value in (values | changes).items() if key in known}
    tuples = {key: tuple(value) for key, value in merged.items() if isinstance(value, list)}
    return replace(Profile(name=name), **{**merged, **tuples})


def _is_host(host: str, hosts: list[str]) -> bool:
    return any(host == known or host.endswith(f".{known}") for known in hosts)


@cache
def _table() -> dict[str, dict[str, Any]]:
    text = files("outlast_activities.providers").joinpath("profiles.toml").read_text("utf-8")
    return tomllib.loads(text)
