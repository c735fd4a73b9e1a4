"""MCP servers whose tools an agent may call."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal, get_args

from outlast.agents.tool_options import seconds
from outlast.contracts.effects import Effect
from outlast.contracts.human import Approval
from outlast.contracts.names import NAME_PATTERN
from outlast.errors import DefinitionError
from outlast.text.hints import hint

CREDENTIALS = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*")
"""A reference to an environment variable of the worker. The secret itself is in no definition."""

EFFECTS: tuple[Effect, ...] = get_args(Effect)


@dataclass(frozen=True)
class McpServer:
    """An MCP server. A worker lists its tools when it starts, and each run pins them.

    - `url` is the endpoint of a server over HTTP. `command` starts a server as a child of the worker.
    - `credentials` is `env:NAME`: the worker sends the value of the variable as a bearer token.
    - `tools` are the names of the tools to use. Without it, all of them are used.
    - `effects` are the effects of tools by name. The default is `write`: hints of a server are not trusted.
    - `approvals` are the audiences or `Approval`s of tools by name.
    - `timeout` limits one attempt of a call.
    - With `pin="strict"`, a call fails if the definition of its tool has changed since the run began. With
      `loose`, it is made.

    A tool of a server is named `SERVER_TOOL`. Raises `DefinitionError` for a definition that cannot work.
    """

    name: str
    url: str | None = None
    command: Sequence[str] | None = None
    credentials: str | None = None
    tools: Sequence[str] | None = None
    effects: Mapping[str, Effect] = field(default_factory=dict)
    approvals: Mapping[str, str | Approval] = field(default_factory=dict)
    timeout: timedelta = timedelta(minutes=1)
    pin: Literal["strict", "loose"] = "strict"

    def __post_init__(self) -> None:
        """Check the definition."""
        problem = self._problem_of_place() or self._problem_of_credentials()
        problem = problem or self._problem_of_tools()
        if problem is not None:
            raise DefinitionError(f"MCP server {self.name!r}: {problem}")
        seconds(self.timeout, f"MCP server {self.name!r}: timeout")

    def _problem_of_place(self) -> str | None:
        """Return what is wrong with the name or the place of the server."""
        if not isinstance(self.name, str) or not re.fullmatch(NAME_PATTERN, self.name):
            return "a name is a letter, then at most 63 letters, digits, '_' and '-'"
        if (self.url is None) == (self.command is None):
            return "give either url= or command="
        if self.url is not None and not re.match(r"https?://[^/@?#\s]+(/|$)", self.url):
            return f"url {self.url!r} must be http://… or https://…, without user and password"
        if self.command is not None and (isinstance(self.command, str) or not self.command):
            return "command must be a list: the program and its arguments"
        return None

    def _problem_of_credentials(self) -> str | None:
        if self.credentials is None:
            return None
        if not CREDENTIALS.fullmatch(self.credentials):
            return "credentials must be 'env:NAME', the variable of the worker that holds them"
        return (
            "credentials belong to a url; a command reads its environment" if self.command else None
        )

    def _problem_of_tools(self) -> str | None:
        """Return what is wrong with the tools, their effects or the pin."""
        if isinstance(self.tools, str):
            return "tools must be a list of names"
        for tool, effect in self.effects.items():
            if effect not in EFFECTS:
                return f"effect {effect!r} of {tool!r}; {hint(str(effect), EFFECTS)}"
        if self.pin not in {"strict", "loose"}:
            return f"pin {self.pin!r} must be 'strict' or 'loose'"
        return None
