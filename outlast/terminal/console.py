"""Output, input and the connection of the `outlast` command."""

import argparse
import contextlib
import getpass
import json
import shlex
import sys
from typing import Any

from pydantic import JsonValue
from temporalio.runtime import Runtime, TelemetryConfig

from outlast.errors import BadRequest
from outlast.terminal.request_text import printable

EXIT_INTERRUPTED = 130
"""The exit status after Ctrl-C, as shells have it."""


def print_lines(*lines: str, to_error: bool = False) -> None:
    """Print lines without their control characters, and flush them."""
    text = "\n".join(map(printable, lines))
    print(text, file=sys.stderr if to_error else sys.stdout, flush=True)


def print_value(value: JsonValue) -> None:
    """Print the answer of an agent: text as it is, and other values as JSON."""
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    print_lines(*text.splitlines() or [""])


def is_stdin_terminal() -> bool:
    """Return whether a person can type. A closed standard input is None in Python."""
    return sys.stdin is not None and sys.stdin.isatty()


def read_stdin(most: int) -> bytes:
    """Return stdin, of which at most `most` bytes and one. Raises `BadRequest` if it cannot be read."""
    try:
        if sys.stdin is None:  # it is closed
            raise BadRequest("stdin is closed, so - cannot be read; give a file or a text")
        return sys.stdin.buffer.read(most + 1)
    except OSError as error:
        raise BadRequest(f"stdin cannot be read: {error.strerror}") from None


def read_line(prompt: str) -> str | None:
    """Return a line that a person types, or None at the end of the input. The prompt is not output."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401, PLC0415 `input` edits lines with it; Windows lacks it
    if sys.stdin is None:
        return None
    is_terminal = is_stdin_terminal()
    if is_terminal and not sys.stdout.isatty():
        sys.stderr.write(prompt)
        sys.stderr.flush()
        prompt = ""
    try:
        return input(prompt if is_terminal else "")
    except EOFError:
        return None


def os_user() -> str:
    """Return the name of the person at the terminal; raises `BadRequest` if the system has none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        raise BadRequest("--by: the system does not know your user name; give your name") from None


def connection_options(options: argparse.Namespace) -> str:
    """Return the typed connection options, for commands that a person copies."""
    typed = (("--address", options.address), ("--namespace", options.namespace))
    return "".join(f" {name} {shlex.quote(value)}" for name, value in typed if value)


def client_options(options: argparse.Namespace) -> dict[str, Any]:
    """Return what `Client.connect` needs besides the settings of the `temporal` CLI."""
    typed = {"target_host": options.address, "namespace": options.namespace}
    overrides = {name: value for name, value in typed.items() if value}
    # By default the SDK logs retries to stdout, between the lines of this command.
    runtime = Runtime(telemetry=TelemetryConfig(logging=None))
    return {"runtime": runtime, **overrides}
