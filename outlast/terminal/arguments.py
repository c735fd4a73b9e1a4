"""The command line of `outlast`."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from outlast.json_text import from_json
from outlast.terminal.decisions import MAX_QUOTED_BYTES, DecisionInput, Verb
from outlast.texts import cut

DESCRIPTION = "Decide the requests of agents, and run workers."

EPILOG = """\
The connection settings are those of the temporal CLI: TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE,
TEMPORAL_PROFILE and its configuration file. --address and --namespace override them.
"""

DECISION = """\
Shows the request in full, asks for confirmation in a terminal, and sends the decision. If the arguments
change in the meantime, the decision has no effect. REQUEST is optional if the run has only one request.
"""


@dataclass(frozen=True)
class _VerbHelp:
    """A command that decides a request, and what it takes besides the run and the request."""

    name: Verb
    help: str
    takes: str = ""


VERBS = (
    _VerbHelp("approve", "approve a tool call"),
    _VerbHelp("deny", "deny a tool call, or decline a question; the agent reads the comment"),
    _VerbHelp("edit", "approve a tool call with other arguments", "--arguments JSON"),
    _VerbHelp("answer", "answer a question", "ANSWER"),
)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse a command line. An invalid one ends the process with status 2.

    The result has a `command`: `inbox`, `keygen`, or `decide` with a `typed` decision.
    """
    # argparse does not accept an optional positional argument after an option.
    options, more = _parser().parse_known_args(arguments)
    error: Callable[[str], Any] = options.error
    decides = options.command == "decide"
    unknown = [*filter(_is_option, more)] if decides else more
    if unknown:
        error(f"unrecognized arguments: {' '.join(unknown)}")
    if decides:
        options.typed = _decision_input(options, [*options.words, *more], error)
    return options


def _is_option(word: str) -> bool:
    return word.startswith("-") and not word[1:2].isdigit()


def _decision_input(
    options: argparse.Namespace, words: Sequence[str], error: Callable[[str], Any]
) -> DecisionInput:
    answer = None
    if options.verb == "answer":
        if not words:
            error("the following arguments are required: ANSWER")
        *words, answer = words
    if len(words) > 1:
        error(f"unrecognized arguments: {' '.join(words[1:])}")
    return DecisionInput(
        verb=options.verb,
        run_id=options.run,
        request_id=words[0] if words else None,
        comment=options.comment,
        arguments_hash=options.hash,
        arguments=getattr(options, "arguments", None),
        answer=answer,
        signs=options.key is not None,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="outlast", description=DESCRIPTION, epilog=EPILOG)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    inbox = commands.add_parser(
        "inbox",
        help="list pending requests, the oldest first",
        description="List the pending requests of all runs, the oldest first.",
        epilog=EPILOG,
    )
    inbox.add_argument("--audience", metavar="TEAM", help="list only requests for this audience")
    inbox.add_argument("--tenant", metavar="NAME", help="list only runs of this tenant")
    inbox.add_argument("--json", action="store_true", help="print JSON with all arguments in full")
    inbox.set_defaults(command="inbox", error=inbox.error)
    _add_connection(inbox)
    for verb in VERBS:
        _add_verb(commands.add_parser, verb)
    _add_keygen(commands.add_parser)
    commands.add_parser(
        "worker",
        help="run workers: run, dev, demo, callback, demand (see outlast worker --help)",
        add_help=False,
    )
    return parser


def _add_keygen(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    command = add_parser(
        "keygen",
        help="create a key that signs decisions",
        description="Create a key that signs decisions, and print the worker settings for it.",
    )
    command.add_argument("name", metavar="NAME", help="the person who decides with this key")
    command.add_argument("file", metavar="FILE", type=Path, help="a new file for the private key")
    command.add_argument(
        "--audience", metavar="TEAM", default="TEAM", help="the audience in the printed settings"
    )
    command.set_defaults(command="keygen", error=command.error)


def _add_verb(add_parser: Callable[..., argparse.ArgumentParser], verb: _VerbHelp) -> None:
    command = add_parser(
        verb.name,
        help=verb.help,
        usage=f"outlast {verb.name} [options] RUN [REQUEST] {verb.takes}".rstrip(),
        description=f"{verb.help[0].upper()}{verb.help[1:]}. {DECISION}",
        epilog=EPILOG,
    )
    command.add_argument("run", metavar="RUN", help="the id of the run (its workflow id)")
    words = (
        ("[REQUEST] ANSWER", "text, or JSON if the question wants another type")
        if verb.name == "answer"
        else ("REQUEST", "the id of the request, such as 2.1")
    )
    command.add_argument("words", nargs="*", metavar=words[0], help=words[1])
    if verb.name == "edit":
        command.add_argument(
            "--arguments",
            metavar="JSON",
            type=_json_object,
            required=True,
            help="all arguments of the call, as a JSON object",
        )
    command.add_argument(
        "--by", metavar="NAME", help="who decides, for the record (default: the OS user)"
    )
    command.add_argument(
        "--key", metavar="FILE", type=Path, help="sign with this key, in the name that it contains"
    )
    command.add_argument("--comment", metavar="TEXT", default="", help="the reason, for the record")
    command.add_argument(
        "--hash",
        metavar="HASH",
        help="decide only if the arguments have this hash (arguments_hash in inbox --json)",
    )
    command.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    command.set_defaults(command="decide", verb=verb.name, error=command.error)
    _add_connection(command)


def _add_connection(command: argparse.ArgumentParser) -> None:
    command.add_argument("--address", metavar="HOST:PORT", help="address of the Temporal server")
    command.add_argument("--namespace", metavar="NAME", help="namespace of the runs")


def _json_object(text: str) -> dict[str, JsonValue]:
    try:
        value = from_json(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{cut(text, MAX_QUOTED_BYTES)!r} is not JSON ({error})"
        ) from None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"{cut(text, MAX_QUOTED_BYTES)!r} is not a JSON object")
    return value
