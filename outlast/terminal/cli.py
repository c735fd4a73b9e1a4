"""List and answer what agents ask people, and run workers, from a terminal."""

import argparse
import asyncio
import getpass
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from pydantic import JsonValue
from temporalio.runtime import Runtime, TelemetryConfig
from temporalio.service import RPCError

from outlast.client import Client
from outlast.connection import DEFAULT_ADDRESS, connection_failure, load_profile
from outlast.contracts.human import HumanDecision, PendingRequest
from outlast.errors import BadRequest, NotReady
from outlast.json_text import from_json
from outlast.runs import Run
from outlast.terminal.decisions import (
    MAX_QUOTED_BYTES,
    chosen,
    decision_lines,
    decision_of,
)
from outlast.terminal.inbox import (
    Unanswered,
    Waiting,
    ask_run,
    inbox_json,
    inbox_lines,
    printable,
    read_inbox,
    request_lines,
)
from outlast.texts import cut, toml_key

CONNECT_WITHIN_S = 4.0
"""A server that is up answers at once; a dropped packet must not hold a person up."""

DECIDED_WITHIN_S = 30.0
"""A worker has just answered a query of the same run: more than this is an outage."""

EPILOG = """\
The Temporal connection is that of the temporal CLI: TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE,
TEMPORAL_PROFILE and its configuration file; --address and --namespace win.
"""

DECIDING = """\
Shows the request in full, and settles it as it was shown: if its arguments change in between, nothing is
decided. Without REQUEST it is the only one that the run waits for. Asks first where a person types.
"""


def main() -> NoReturn:
    """Run the command of this process, and end it."""
    status = run_command()
    # Python would crash or hang at its end where the SDK's threads still wait for a silent server.
    os._exit(status)


def run_command(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status, with all that it says written."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["worker"]:
        return _run_worker(words[1:])
    options = parse_arguments(arguments)
    try:
        # Between its steps a Runner leaves Ctrl-C to Python, which a prompt depends on.
        with asyncio.Runner() as runner:
            return int(options.command(options, runner))
    except (NotReady, BadRequest, RPCError) as error:
        reason = str(error) if isinstance(error, NotReady) else error.message
        _say(f"outlast: {' '.join(reason.split())}", to_error=True)
        return 1
    except BrokenPipeError:
        return 1
    except KeyboardInterrupt:
        return 130


def _run_worker(arguments: Sequence[str]) -> int:
    """Hand the rest of a command line to the worker's own command."""
    try:
        # A client does without all that a worker imports, and may not have it.
        from outlast_workers.__main__ import main as run_worker  # noqa: PLC0415
    except ModuleNotFoundError as error:
        _say(f"outlast: no module {error.name!r}: pip install 'outlast[workers]'", to_error=True)
        return 1
    return run_worker(arguments)


def _say(*lines: str, to_error: bool = False) -> None:
    text = "\n".join(map(printable, lines))
    print(text, file=sys.stderr if to_error else sys.stdout, flush=True)


def _show_inbox(options: argparse.Namespace, runner: asyncio.Runner) -> int:
    async def read() -> Any:
        client = await _connected(options)
        return await read_inbox(client, audience=options.audience, tenant=options.tenant)

    inbox = runner.run(read())
    if options.json:
        _say(json.dumps(inbox_json(inbox)))
    else:
        _say(*inbox_lines(inbox, now=datetime.now(UTC), audience=options.audience))
    return 0


def _settle(options: argparse.Namespace, runner: asyncio.Runner) -> int:
    signer = _signer(options)
    by = signer.name if signer else options.by or _user()
    run, pending = runner.run(_looked_at(options))
    request = chosen(pending, options.request, run_id=run.id)
    decision = decision_of(options, request, by=by)
    if request is not None:
        shown = request_lines(Waiting(run.id, request), now=datetime.now(UTC))
        _say(*shown, *decision_lines(decision, request))
        if sys.stdin.isatty() and not options.yes and not _confirmed(f"{options.verb} as {by}?"):
            _say("nothing was decided")
            return 1
    if signer is not None and request is not None:
        # After it was confirmed: a signature holds for some minutes only.
        decision = signer.sign(decision, request, run_id=run.id)
    said = runner.run(_sent(run, decision))
    _say(f"{said} (by {by})")
    return 0


def _signer(options: argparse.Namespace) -> Any:
    """Return the key that a person signs with, if one was named."""
    if options.key is None:
        return None
    key = _signing_key().load(options.key)
    if options.by not in (None, key.name):
        raise BadRequest(f"--by: the key is of {key.name!r}, not of {options.by!r}")
    return key


def _signing_key() -> Any:
    try:
        from outlast.signing import SigningKey  # noqa: PLC0415 an extra that few need
    except ImportError:
        raise NotReady("signing needs more: pip install 'outlast[signing]'") from None
    return SigningKey


def _make_key(options: argparse.Namespace, runner: asyncio.Runner) -> int:
    del runner
    key = _signing_key().generate(options.name)
    key.save(options.file)
    _say(
        f"{options.file} is the private key of {key.name}: whoever reads it decides in that name.",
        "The settings of the workers (outlast.toml) name its public key:",
        "",
        f"[audiences.{toml_key(options.audience)}.keys]",
        f"{toml_key(key.name)} = {json.dumps(key.public)}",
    )
    return 0


async def _looked_at(options: argparse.Namespace) -> tuple[Run, list[PendingRequest]]:
    run = (await _connected(options)).get(options.run)
    pending = await ask_run(run)
    if isinstance(pending, Unanswered):
        raise BadRequest(f"run {run.id!r} could not be asked: {pending.reason}")
    return run, pending


def _confirmed(question: str) -> bool:
    try:
        return input(f"{printable(question)} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        _say("")
        return False


async def _sent(run: Run, decision: HumanDecision) -> str:
    try:
        async with asyncio.timeout(DECIDED_WITHIN_S):
            return await run.decide(decision)
    except TimeoutError:
        raise BadRequest(
            f"no answer within {DECIDED_WITHIN_S:g} s: it may be decided or not; the same command again"
            " tells, and does no harm"
        ) from None


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        raise BadRequest("--by: this system does not say who you are; give your name") from None


async def _connected(options: argparse.Namespace) -> Client:
    config = load_profile()
    address = options.address or config.get("target_host") or DEFAULT_ADDRESS
    overrides = {"namespace": options.namespace} if options.namespace else {}
    # What the SDK logs of its retries goes to stdout, in the midst of what is printed there.
    runtime = Runtime(telemetry=TelemetryConfig(logging=None))
    try:
        async with asyncio.timeout(CONNECT_WITHIN_S):
            return await Client.connect(target_host=address, runtime=runtime, **overrides)
    except TimeoutError:
        reason = f"no answer in {CONNECT_WITHIN_S:g} s"
    except (RuntimeError, ValueError) as error:
        reason = connection_failure(error)
    raise NotReady(
        f"no Temporal server can be used at {address} ({reason}): start one (temporal server start-dev),"
        " or name another with --address or TEMPORAL_ADDRESS"
    )


@dataclass(frozen=True)
class _Verb:
    """A command that settles a request, with what it takes beside the run and the request."""

    name: str
    help: str
    takes: str = ""


VERBS = (
    _Verb("approve", "let a call be made"),
    _Verb("deny", "refuse a call, or to answer; the agent reads the comment"),
    _Verb("edit", "let a call be made with other arguments", "--arguments JSON"),
    _Verb("answer", "answer a question", "ANSWER"),
)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read a command line; a wrong one exits with 2."""
    parser = _parser()
    # argparse takes no positional argument after an option for one that it could do without.
    options, more = parser.parse_known_args(arguments)
    error: Callable[[str], Any] = options.error
    unknown = [*filter(_is_option, more)] if options.command is _settle else more
    if unknown:
        error(f"unrecognized arguments: {' '.join(unknown)}")
    if options.command is _settle:
        _read_words(options, [*options.words, *more], error)
    return options


def _is_option(word: str) -> bool:
    return word.startswith("-") and not word[1:2].isdigit()


def _read_words(
    options: argparse.Namespace, words: Sequence[str], error: Callable[[str], Any]
) -> None:
    options.answer = None
    if options.verb == "answer":
        if not words:
            error("the following arguments are required: ANSWER")
        *words, options.answer = words
    if len(words) > 1:
        error(f"unrecognized arguments: {' '.join(words[1:])}")
    options.request = words[0] if words else None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="outlast", description=__doc__, epilog=EPILOG)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    inbox = commands.add_parser(
        "inbox",
        help="list what waits for people, the oldest first",
        description="List what waits for people in all runs, the oldest first.",
        epilog=EPILOG,
    )
    inbox.add_argument("--audience", metavar="TEAM", help="only what waits for this audience")
    inbox.add_argument("--tenant", metavar="NAME", help="only runs of this tenant")
    inbox.add_argument("--json", action="store_true", help="print JSON, with the arguments uncut")
    inbox.set_defaults(command=_show_inbox, error=inbox.error)
    _add_connection(inbox)
    commands.add_parser(
        "worker",
        help="run workers: run, dev, demo, callback, demand (outlast worker --help)",
        add_help=False,
    )
    for verb in VERBS:
        _add_verb(commands.add_parser, verb)
    keygen = commands.add_parser(
        "keygen",
        help="make a key to sign decisions with",
        description="Make a key to sign decisions with, and print what workers have to be told of it.",
    )
    keygen.add_argument("name", metavar="NAME", help="who decides with it, as runs will know them")
    keygen.add_argument("file", metavar="FILE", type=Path, help="a new file for the private key")
    keygen.add_argument(
        "--audience", metavar="TEAM", default="TEAM", help="whose decisions it signs, for the lines"
    )
    keygen.set_defaults(command=_make_key, error=keygen.error)
    return parser


def _add_verb(add_parser: Callable[..., argparse.ArgumentParser], verb: _Verb) -> None:
    command = add_parser(
        verb.name,
        help=verb.help,
        usage=f"outlast {verb.name} [options] RUN [REQUEST] {verb.takes}".rstrip(),
        description=f"{verb.help[0].upper()}{verb.help[1:]}. {DECIDING}",
        epilog=EPILOG,
    )
    command.add_argument("run", metavar="RUN", help="the run's (workflow) id")
    words = (
        ("[REQUEST] ANSWER", "text, or JSON where the question asks for another type")
        if verb.name == "answer"
        else ("REQUEST", "the request's id, such as 2.1")
    )
    command.add_argument("words", nargs="*", metavar=words[0], help=words[1])
    if verb.name == "edit":
        command.add_argument(
            "--arguments",
            metavar="JSON",
            type=_json_object,
            required=True,
            help="all arguments that the call is to be made with, as a JSON object",
        )
    command.add_argument("--by", metavar="NAME", help="who decides, for the record (the OS user)")
    command.add_argument(
        "--key", metavar="FILE", type=Path, help="sign with this key, in the name that it has"
    )
    command.add_argument("--comment", metavar="TEXT", default="", help="why, for the record")
    command.add_argument(
        "--hash", metavar="HASH", help="arguments_hash of what you saw, if that was before"
    )
    command.add_argument("--yes", action="store_true", help="do not ask")
    command.set_defaults(command=_settle, verb=verb.name, error=command.error)
    _add_connection(command)


def _add_connection(command: argparse.ArgumentParser) -> None:
    command.add_argument("--address", metavar="HOST:PORT", help="of the Temporal server")
    command.add_argument("--namespace", metavar="NAME", help="of the runs")


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


if __name__ == "__main__":
    main()
