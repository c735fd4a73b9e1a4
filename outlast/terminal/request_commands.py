"""The commands of `outlast` about human requests: the inbox, decisions, and the keys that sign them."""

import argparse
import asyncio
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from outlast.contracts.human import (
    HumanDecision,
    PendingRequest,
    SettledRequest,
    is_repeated,
    outcome_text,
)
from outlast.decide_commands import decide_update_id
from outlast.errors import BadRequest, NotReady, RunFailed, RunNotFound
from outlast.terminal.console import is_stdin_terminal, os_user, print_lines
from outlast.terminal.decisions import DecisionInput, decision_from, select_request
from outlast.terminal.inbox import (
    UnreachableRun,
    inbox_json,
    inbox_lines,
    query_pending,
    read_inbox,
    terminal_width,
)
from outlast.terminal.request_text import decision_lines, printable, request_lines
from outlast.text.texts import toml_key

if TYPE_CHECKING:
    from outlast.client.runs import Run

DECIDE_TIMEOUT_S = 30.0
"""A worker has just answered a query of the same run, so a longer wait is an outage."""


def show_inbox(options: argparse.Namespace, runner: asyncio.Runner) -> int:
    """Print the requests that wait for people, and return the exit status."""

    async def read() -> Any:
        client = await options.connect()
        return await read_inbox(client, audience=options.audience, tenant=options.tenant)

    inbox = runner.run(read())
    if options.json:
        print_lines(json.dumps(inbox_json(inbox)))
    else:
        width = terminal_width()
        print_lines(
            *inbox_lines(inbox, now=datetime.now(UTC), audience=options.audience, width=width)
        )
    return 0


def decide(options: argparse.Namespace, runner: asyncio.Runner) -> int:
    """Show a request, ask for confirmation, send the decision, and return the exit status."""
    typed: DecisionInput = options.typed
    signer = _signer(options)
    by = signer.name if signer else options.by or os_user()
    run, pending = runner.run(_find_run(options))
    request = select_request(pending, typed)
    decision = decision_from(typed, request, by=by)
    if request is not None:
        shown = request_lines(run.id, request, now=datetime.now(UTC))
        print_lines(*shown, *decision_lines(decision, request))
        asks = is_stdin_terminal() and not options.yes
        if asks and not _is_confirmed(f"{typed.verb} as {by}?"):
            print_lines("no decision was sent (--yes sends it without this question)")
            return 1
    if signer is not None and request is not None:
        # Sign after the confirmation: a signature is valid for some minutes only.
        decision = signer.sign(decision, request, run_id=run.id)
    outcome = runner.run(_send(run, decision, request))
    print_lines(f"{outcome} (by {by})")
    return 0


def _signer(options: argparse.Namespace) -> Any:
    """Return the key of `--key`, if there is one."""
    if options.key is None:
        return None
    key = _signing_key().load(options.key)
    if options.by not in (None, key.name):
        raise BadRequest(f"--by: the key belongs to {key.name!r}, not to {options.by!r}")
    return key


def _signing_key() -> Any:
    try:
        from outlast.signing import SigningKey  # noqa: PLC0415 an extra that few need
    except ImportError:
        raise NotReady("signatures need an extra: pip install 'outlast[signing]'") from None
    return SigningKey


def create_key(options: argparse.Namespace, runner: asyncio.Runner) -> int:
    """Create a key that signs decisions, and return the exit status."""
    del runner
    key = _signing_key().generate(options.name)
    key.save(options.file)
    print_lines(
        f"{options.file} is the private key of {key.name}. Anyone who reads it can decide in that name.",
        "Add the public key to the settings of the workers (outlast.toml):",
        "",
        f"[audiences.{toml_key(options.audience)}.keys]",
        f"{toml_key(key.name)} = {json.dumps(key.public)}",
    )
    return 0


async def _find_run(options: argparse.Namespace) -> "tuple[Run, list[PendingRequest]]":
    run = (await options.connect()).get(options.run)
    pending = await query_pending(run)
    if isinstance(pending, UnreachableRun):
        raise BadRequest(f"run {run.id!r} cannot be queried: {pending.reason}")
    return run, pending


def _is_confirmed(question: str) -> bool:
    try:
        return input(f"{printable(question)} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        print_lines("")
        return False


async def _send(run: "Run", decision: HumanDecision, request: PendingRequest | None) -> str:
    payload = decision.model_dump(mode="json")
    update_id = None if request is None else decide_update_id(payload, request)
    try:
        async with asyncio.timeout(DECIDE_TIMEOUT_S):
            try:
                return await run.decide(decision, update_id=update_id)
            except RunNotFound:
                settled = await _recorded_outcome(run, decision)
                if settled is None:
                    raise
                if not is_repeated(decision, settled):
                    # Somebody else was faster, and the run has ended since then.
                    raise BadRequest(outcome_text(settled)) from None
                return f"{settled.outcome} {settled.request_id}"
    except TimeoutError:
        raise BadRequest(
            f"no reply within {DECIDE_TIMEOUT_S:g} s, so the outcome is unknown: repeat the same command,"
            " which is safe"
        ) from None


async def _recorded_outcome(run: "Run", decision: HumanDecision) -> SettledRequest | None:
    """Return what an ended run recorded about the request of a decision, or None."""
    try:
        settled = (await run.result()).decisions
    except RunFailed:
        return None
    same = [each for each in settled if each.request_id == decision.request_id]
    repeated = (each for each in same if is_repeated(decision, each))
    return next(repeated, same[-1] if same else None)
