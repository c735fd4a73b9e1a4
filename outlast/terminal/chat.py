"""`outlast chat`: a conversation with an agent in a terminal."""

import argparse
import asyncio
import re
import shlex
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pydantic import JsonValue

from outlast.client.replies import REPLY_TIMEOUT
from outlast.client.waiting import WAITING_STATUSES, Waiting
from outlast.contracts.human import PendingRequest
from outlast.contracts.names import AGENTS_QUEUE
from outlast.errors import BadRequest, NoAnswer, OutlastError, RunNotFound
from outlast.terminal.console import (
    EXIT_INTERRUPTED,
    connection_options,
    is_stdin_terminal,
    os_user,
    print_lines,
    read_line,
)
from outlast.terminal.decisions import DecisionInput, Verb, decision_from
from outlast.terminal.live_text import LiveText
from outlast.terminal.request_text import request_lines
from outlast.terminal.run_view import RunView
from outlast.text.texts import cut

if TYPE_CHECKING:
    from outlast.client.client import Client
    from outlast.client.runs import Run

KEYS = "/finish ends the conversation, Ctrl-D leaves it open"

COMMAND = re.compile(r"/[A-Za-z]+")
"""What looks like a command. A path, such as `/etc/hosts`, is a message."""


class _UndecidedRequest(Exception):
    """Stops the wait for an answer, so that the person at the terminal can decide a request."""

    def __init__(self, request: PendingRequest) -> None:
        super().__init__(request.request_id)
        self.request = request


def chat(options: argparse.Namespace, runner: asyncio.Runner) -> int:
    """Hold a conversation until the end of the input, or `/finish`."""
    client = runner.run(options.connect())
    run_id = options.id or client.new_run_id(options.agent, tenant=options.tenant)
    resume = resume_command(options, run_id)
    conversation = _Conversation(client, client.get(run_id), options, runner, resume=resume)
    try:
        status = conversation.hold()
    except KeyboardInterrupt:
        status = EXIT_INTERRUPTED
    if conversation.exists and not conversation.is_over:
        print_lines("", f"The conversation stays open. To continue it: {resume}", to_error=True)
    return status


def resume_command(options: argparse.Namespace, run_id: str) -> str:
    """Return the command that continues a conversation from another terminal."""
    words = [options.agent, "--id", run_id]
    if options.tenant != "default":
        words += ["--tenant", options.tenant]
    if options.task_queue != AGENTS_QUEUE:
        words += ["--task-queue", options.task_queue]
    return f"outlast chat {shlex.join(words)}{connection_options(options)}"


class _Conversation:
    def __init__(
        self,
        client: "Client",
        run: "Run",
        options: argparse.Namespace,
        runner: asyncio.Runner,
        *,
        resume: str,
    ) -> None:
        self.exists = False
        """Whether the conversation has begun: now, or before."""
        self.is_over = False
        self._resume = resume
        self._client = client
        self._run = run
        self._options = options
        self._runner = runner
        self._view = RunView(run.id, connection=connection_options(options))
        self._is_terminal = is_stdin_terminal()
        self._shown: list[str] = []
        self._text = LiveText(client.gateway, run.id)

    def hold(self) -> int:
        is_answering = self._runner.run(self._show_earlier_messages())
        print_lines(
            f"Write a message on each line: {KEYS}.",
            f"To continue it later: {self._resume}",
            to_error=True,
        )
        if is_answering:
            self._await_answer()
        while True:  # ends with the input
            text = read_line("> ")
            if text is None:
                return 0
            if text.strip() == "/finish":
                return self._finish()
            if not text.strip():
                continue
            if COMMAND.fullmatch(text.strip()):
                print_lines(f"unknown command {cut(text.strip(), 60)}; {KEYS}", to_error=True)
                continue
            try:
                self._exchange(text)
            except OutlastError as error:
                print_lines(f"outlast: {' '.join(str(error).split())}", to_error=True)
                if not self._is_terminal or not self._is_running():
                    self.is_over = not self._is_running()
                    return 1

    def _is_running(self) -> bool:
        try:
            return self._runner.run(self._run.progress()).status not in ("failed", "stopped")
        except OutlastError:
            return False

    async def _show_earlier_messages(self) -> bool:
        """Print a conversation that exists; return whether the agent has not answered yet."""
        try:
            progress = await self._run.progress()
            if progress.status in ("completed", "stopped", "failed"):
                print_lines(
                    f"{self._run.id} has ended; your message starts a new one", to_error=True
                )
                return False
            messages = await self._run.transcript()
        except RunNotFound:
            if self._options.id:
                print_lines(f"{self._run.id} is new", to_error=True)
            return False
        self.exists = True
        self._text.skip(len(messages))
        for message in messages:
            print_lines(*self._view.lines(message), to_error=True)
        return bool(progress.pending) or progress.status not in WAITING_STATUSES

    def _exchange(self, text: str) -> None:
        options = self._options
        self._runner.run(
            self._client.send(
                self._run.id,
                text,
                agent=options.agent,
                by=options.by or os_user(),
                tenant=options.tenant,
                limits=options.limits,
                task_queue=options.task_queue,
            )
        )
        self.exists = True
        self._await_answer()

    def _await_answer(self) -> None:
        """Print the answer, its text as it comes. Ends with an answer, the end of the run, or Ctrl-C."""
        update_id = f"reply-{uuid.uuid4().hex}"
        while True:  # as long as requests are decided, or the answer takes its time
            try:
                self._text.end(self._runner.run(self._reply(update_id)))
            except _UndecidedRequest as undecided:
                self._offer(undecided.request)
            except NoAnswer:
                continue
            else:
                return

    async def _reply(self, update_id: str) -> JsonValue:
        async with self._text.printed():
            return await self._run.reply(
                within=REPLY_TIMEOUT, update_id=update_id, on_waiting=self._show_waiting
            )

    def _show_waiting(self, entry: Waiting) -> None:
        if entry.content in self._shown:
            return
        self._shown.append(entry.content)
        request = entry.request
        if request is not None and self._is_terminal and not request.signers:
            raise _UndecidedRequest(request)
        print_lines(*self._view.lines(entry), to_error=True)

    def _offer(self, request: PendingRequest) -> None:
        """Show a request in full, and send the decision of the person at the terminal."""
        print_lines(*request_lines(self._run.id, request, now=datetime.now(UTC)), to_error=True)
        while True:  # ends with a valid decision, or without one
            typed = self._typed_decision(request)
            if typed is None:
                left = RunView.waiting_lines(self._view, Waiting(content="", request=request))
                print_lines("The request stays open:", *left[1:], to_error=True)
                return
            try:
                decision = decision_from(typed, request, by=self._options.by or os_user())
                print_lines(self._runner.run(self._run.decide(decision)), to_error=True)
            except BadRequest as error:
                print_lines(f"outlast: {error}", to_error=True)
            else:
                return

    def _typed_decision(self, request: PendingRequest) -> DecisionInput | None:
        if request.kind == "question":
            answer = read_line("answer (an empty line leaves it to others): ")
            return self._decision("answer", request, answer) if answer else None
        answer = (read_line("approve? [y/n, anything else leaves it to others] ") or "").strip()
        if answer.lower() in ("y", "yes"):
            return self._decision("approve", request)
        return self._decision("deny", request) if answer.lower() in ("n", "no") else None

    def _decision(
        self, verb: Verb, request: PendingRequest, answer: str | None = None
    ) -> DecisionInput:
        return DecisionInput(
            verb=verb, run_id=self._run.id, request_id=request.request_id, answer=answer
        )

    def _finish(self) -> int:
        try:
            print_lines(
                self._runner.run(self._run.finish(by=self._options.by or os_user())), to_error=True
            )
        except RunNotFound:
            print_lines(cut(f"{self._run.id} is not open", 200), to_error=True)
        self.is_over = True
        return 0
