"""The command line of `outlast`."""

import argparse
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from outlast.contracts.names import AGENTS_QUEUE
from outlast.terminal.decisions import MAX_QUOTED_BYTES, DecisionInput, Verb
from outlast.terminal.pipeline_arguments import add_pipeline
from outlast.text.json_text import from_json
from outlast.text.texts import cut
from outlast.version import __version__

DESCRIPTION = "Start and follow runs of agents, decide their requests, and run workers."

EPILOG = """\
The connection settings are those of the temporal CLI: TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE,
TEMPORAL_PROFILE and its configuration file. --address and --namespace override them.
"""

DECISION = """\
The command shows the request in full, asks for confirmation in a terminal, and sends the decision. If the
arguments change in the meantime, the decision has no effect. REQUEST is optional if the run has only one
request.
"""


RUN = """\
Starts a run and follows it: progress goes to stderr, and the answer to stdout. Ctrl-C ends only this
command: the run goes on. The exit status is 0 if the run completed, 1 if it failed, and 3 if it stopped,
for example at a limit.
"""

WATCH = """\
Follows a run from its first entry to its end, as `outlast run` does. The exit status is the same.
"""

CHAT = """\
Holds a conversation: each line is a message, and answers go to stdout. If the agent waits for a person, the
request is shown, and you can decide it. Ctrl-D leaves the conversation open, and `outlast chat AGENT --id
ID` continues it. /finish ends it.
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

    The result has a `command`, such as `run` or `inbox`. `decide` has a `typed` decision.
    """
    # argparse does not accept an optional positional argument after an option.
    options, more = _parser().parse_known_args(arguments)
    error: Callable[[str], Any] = options.error
    if options.command == "worker":
        error("worker must be the first word; set TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE for it")
    has_words = options.command in ("decide", "run")
    unknown = [*filter(_is_option, more)] if has_words else more
    if unknown:
        error(f"unrecognized arguments: {' '.join(unknown)}")
    if options.command == "run":
        options.words = [*options.words, *more]
        _check_run(options, error)
    if options.command == "decide":
        options.typed = _decision_input(options, [*options.words, *more], error)
    return options


def _is_option(word: str) -> bool:
    return word.startswith("-") and not word[1:2].isdigit()


def _check_run(options: argparse.Namespace, error: Callable[[str], Any]) -> None:
    """Check that the words are AGENT and TEXT, with the options that replace them."""
    wanted = [
        *(() if options.spec else ("AGENT",)),
        *(() if options.input is not None else ("TEXT",)),
    ]
    words = options.words
    if len(words) < len(wanted):
        error(f"the following arguments are required: {' '.join(wanted[len(words) :])}")
    if len(words) > len(wanted):
        quoted = shlex.quote(" ".join(words[max(0, len(wanted) - 1) :]))
        hint = f"; quote a text of several words: {quoted}" if "TEXT" in wanted else ""
        error(f"unrecognized arguments: {' '.join(words[len(wanted) :])}{hint}")
    if (options.image or options.file) and options.input is not None:
        error("--image and --file go with TEXT, not with --input")
    named = dict(zip(wanted, words, strict=True))
    options.agent, options.text = named.get("AGENT"), named.get("TEXT")


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
    parser.add_argument("--version", action="version", version=f"outlast {__version__}")
    _add_connection(parser, default=None)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_run(commands.add_parser)
    _add_watch(commands.add_parser)
    _add_chat(commands.add_parser)
    _add_cancel(commands.add_parser)
    inbox = commands.add_parser(
        "inbox",
        help="list pending requests, the oldest first",
        description="Lists the pending requests of all runs, the oldest first.",
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
    add_pipeline(
        commands.add_parser, parse_json=_json, add_connection=_add_connection, epilog=EPILOG
    )
    commands.add_parser(
        "worker",
        help="run workers, the gateway and more (see outlast worker --help)",
        add_help=False,
    ).set_defaults(command="worker", error=parser.error)
    return parser


def _add_run(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    command = add_parser(
        "run",
        help="start a run, and follow it to its answer",
        usage="outlast run [options] AGENT TEXT",
        description=RUN,
        epilog=EPILOG,
    )
    command.add_argument(
        "words", nargs="*", metavar="AGENT TEXT", help="the agent, and its input (-: read stdin)"
    )
    command.add_argument(
        "--input", metavar="JSON", type=_json, help="the input as JSON, in place of TEXT"
    )
    command.add_argument(
        "--spec", metavar="FILE", type=Path, help="a whole agent as JSON, in place of AGENT"
    )
    for name, what in (("image", "an image"), ("file", "a file")):
        command.add_argument(
            f"--{name}",
            metavar="PATH",
            action="append",
            default=[],
            help=f"{what} beside TEXT: a path, or an https URL; can be repeated",
        )
    command.add_argument("--id", metavar="ID", help="the id of the run (its workflow id)")
    _add_start_options(command)
    _add_json(command)
    command.set_defaults(command="run", error=command.error)
    _add_connection(command)


def _add_watch(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    command = add_parser("watch", help="follow a run that exists", description=WATCH, epilog=EPILOG)
    command.add_argument("run", metavar="RUN", help="the id of the run (its workflow id)")
    _add_json(command)
    command.set_defaults(command="watch", error=command.error)
    _add_connection(command)


def _add_chat(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    command = add_parser(
        "chat", help="hold a conversation with an agent", description=CHAT, epilog=EPILOG
    )
    command.add_argument("agent", metavar="AGENT", help="the name of the agent")
    command.add_argument("--id", metavar="ID", help="continue the conversation with this id")
    command.add_argument(
        "--by", metavar="NAME", help="your name, for the record (default: the OS user)"
    )
    _add_start_options(command)
    command.set_defaults(command="chat", error=command.error)
    _add_connection(command)


def _add_cancel(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    command = add_parser(
        "cancel",
        help="cancel a run",
        description="Cancels a run. The run undoes its effects, and ends with a result that has its usage.",
        epilog=EPILOG,
    )
    command.add_argument("run", metavar="RUN", help="the id of the run (its workflow id)")
    command.set_defaults(command="cancel", error=command.error)
    _add_connection(command)


def _add_start_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--limits",
        metavar="LIMITS",
        type=_limits,
        help="limits of the run: max_turns=3,max_tokens=2000, or a JSON object",
    )
    command.add_argument(
        "--tenant", metavar="NAME", default="default", help="tenant of the run (%(default)s)"
    )
    command.add_argument(
        "--task-queue",
        metavar="QUEUE",
        default=AGENTS_QUEUE,
        help="task queue of the workers (%(default)s)",
    )


def _add_json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print the whole result as JSON")


def _limits(text: str) -> dict[str, JsonValue]:
    """Parse `max_turns=3,deadline_s=60`, or a JSON object."""
    if text.lstrip().startswith("{"):
        return _json_object(text)
    limits: dict[str, JsonValue] = {}
    for pair in filter(None, text.split(",")):
        name, is_pair, value = pair.partition("=")
        if not is_pair:
            raise argparse.ArgumentTypeError(
                f"{cut(pair, MAX_QUOTED_BYTES)!r} is not NAME=NUMBER, such as max_turns=3"
            )
        name = name.strip()
        if name in limits:
            raise argparse.ArgumentTypeError(f"{name} is given twice")
        try:
            limits[name] = _json(value)
        except argparse.ArgumentTypeError as error:
            raise argparse.ArgumentTypeError(f"{name}: {error}") from None
    return limits


def _json(text: str) -> JsonValue:
    try:
        value: JsonValue = from_json(text)
    except (ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(
            f"{cut(text, MAX_QUOTED_BYTES)!r} is not JSON ({error})"
        ) from None
    return value


def _add_keygen(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    command = add_parser(
        "keygen",
        help="create a key that signs decisions",
        description="Creates a key that signs decisions, and prints the worker settings for it.",
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
    # With a default, argparse does not name the words among those that are required.
    command.add_argument("words", nargs="*", default=[], metavar=words[0], help=words[1])
    if verb.name == "edit":
        command.add_argument(
            "--arguments",
            metavar="JSON",
            type=_json_object,
            required=True,
            help="all arguments of the call, as a JSON object",
        )
    command.add_argument(
        "--by", metavar="NAME", help="your name, for the record (default: the OS user)"
    )
    command.add_argument(
        "--key", metavar="FILE", type=Path, help="sign with this key, under the name in it"
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


def _add_connection(command: argparse.ArgumentParser, default: Any = argparse.SUPPRESS) -> None:
    """Add the options of the connection. A command without them keeps those before its name."""
    command.add_argument(
        "--address", metavar="HOST:PORT", default=default, help="address of the Temporal server"
    )
    command.add_argument(
        "--namespace", metavar="NAME", default=default, help="namespace of the runs"
    )


def _json_object(text: str) -> dict[str, JsonValue]:
    value = _json(text)
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"{cut(text, MAX_QUOTED_BYTES)!r} is not a JSON object")
    return value
