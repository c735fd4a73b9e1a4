"""The `outlast` command on a real server, run as a person would run it."""

import asyncio
import json
import socket
import uuid
from pathlib import Path
from typing import Literal

import pytest
from outlast_workers.settings_sections.people import AudienceSettings
from pydantic import BaseModel
from temporalio.client import Client

from outlast import Agent, Approval, ask_human, tool
from outlast.contracts.human import hash_of
from outlast.terminal.inbox import TITLES
from outlast.testing import ScriptedModel, answer, call, calls
from tests.acceptance.command_server import Output
from tests.acceptance.terminal import Terminal
from tests.stage import on_stage, pending, staged_settings

paid: list[float] = []


@pytest.fixture(autouse=True)
def _nothing_paid() -> None:
    paid.clear()


@pytest.fixture
def team() -> str:
    """An audience that no other test knows; it has to be quoted."""
    return f"o'leary {uuid.uuid4().hex[:6]}"


def desk_of(team: str, *, quorum: int = 1) -> Agent:
    approval = Approval(audience=team, quorum=quorum, expires_s=3_600)

    @tool(effect="irreversible", approval=approval)
    def refund(order_id: int, amount_usd: float) -> str:
        """Refund an order."""
        paid.append(amount_usd)
        return "refunded"

    return Agent(name="desk", instructions="Refund.", tools=[refund])


class Choice(BaseModel):
    colour: Literal["red", "blue"]


def painter_of(team: str) -> Agent:
    asks = ask_human(Choice, audience=team)
    return Agent(name="painter", instructions="Paint.", tools=[asks])


REFUND = call("refund", order_id=42, amount_usd=80)
BOTH = calls(call("refund", order_id=42, amount_usd=80), call("refund", order_id=43, amount_usd=1))


async def until_listed(terminal: Terminal, *words: str, runs: int) -> Output:
    """Run `inbox` until visibility, which lags, knows of so many runs."""
    async with asyncio.timeout(30):
        while True:
            output = await terminal.run("inbox", "--json", *words)
            found = json.loads(output.out)
            if len({item["run"] for item in [*found["requests"], *found["unanswered"]]}) == runs:
                return output


async def test_what_waits_is_listed_shown_and_approved(
    temporal: Client, terminal: Terminal, team: str
) -> None:
    model = ScriptedModel([REFUND, answer("done")])
    async with on_stage(temporal, model, [desk_of(team)]) as stage:
        run = await stage.start("desk", tenant=f"{team}'s")
        request = await pending(run)
        found = json.loads((await until_listed(terminal, "--audience", team, runs=1)).out)
        assert found["requests"] == [{"run": run.id, **request.model_dump(mode="json")}]
        titles, row, *_ = (await terminal.run("inbox", "--tenant", f"{team}'s")).out.splitlines()
        assert titles.split() == " ".join(TITLES).split()
        assert row.startswith(f"{run.id}  1.1      {team}  ")
        assert "0 of 1  refund(order_id=42, amount_" in row

        approved = await terminal.run("approve", run.id)
        assert approved.status == 0, approved
        assert approved.out.splitlines()[1:] == [
            "  refund",
            "    order_id: 42",
            "    amount_usd: 80",
            "  what it does: Refund an order. (effect: irreversible)",
            "  the user wrote: go",
            "approved 1.1 (by osuser)",
        ]
        (settled,) = (await run.result()).decisions
        assert (settled.outcome, settled.by) == ("approved", "osuser")
        again = await terminal.run("approve", run.id, "1.1")
        assert again == ("approved 1.1 (by osuser)\n", "", 0)
        contrary = await terminal.run("deny", run.id, "1.1")
        assert (contrary.status, contrary.err) == (
            1,
            "outlast: request '1.1' is already approved by 'osuser'\n",
        )
        unknown = await terminal.run("deny", run.id, "9.9")
        assert (unknown.status, unknown.err) == (
            1,
            f"outlast: the run {run.id!r} has ended, or does not exist\n",
        )
        nothing = await terminal.run("inbox", "--audience", team)
        assert nothing == (f"No request waits for {team}.\n", "", 0)
    assert paid == [80]


async def test_each_audience_sees_its_own_and_a_question_is_answered(
    temporal: Client, terminal: Terminal, team: str
) -> None:
    other = f"{team}-designers"
    model = ScriptedModel(
        [
            lambda prompt: (
                call("ask_human", question="Which\ncolour?")
                if "Paint" in str(prompt.messages)
                else REFUND
            ),
        ]
        * 2
        + [answer("done")] * 2
    )
    async with on_stage(temporal, model, [desk_of(team), painter_of(other)]) as stage:
        first, second = await stage.start("desk"), await stage.start("painter")
        await pending(first)
        await pending(second)
        for audience, run in ((team, first), (other, second)):
            output = await until_listed(terminal, "--audience", audience, runs=1)
            assert [item["run"] for item in json.loads(output.out)["requests"]] == [run.id]

        wrong = await terminal.run("answer", second.id, "blue")
        assert (wrong.out, wrong.status) == ("", 1)
        assert wrong.err.startswith("outlast: answer: 'blue' is not JSON")
        refused = await terminal.run("answer", second.id, "1.1", '{"colour": "green"}')
        assert refused.err == "outlast: answer: colour: 'green' is not one of ['red', 'blue']\n"
        answered = await terminal.run("answer", second.id, '{"colour": "blue"}', "--by", "cy")
        assert answered.out.splitlines()[2:4] == ["    | Which", "    | colour?"]
        assert answered.out.endswith('  answer: {"colour": "blue"}\nanswered 1.1 (by cy)\n')
        words = ("answer", second.id, "1.1", '{"colour": "blue"}', "--by", "cy")
        assert await terminal.run(*words) == ("answered 1.1 (by cy)\n", "", 0)
        denied = await terminal.run("deny", first.id, "--by", "ann", "--comment", "a fraud")
        assert denied.out.endswith("  comment: a fraud\ndenied 1.1 (by ann)\n")
        await second.result()
        (settled,) = (await first.result()).decisions
    assert (settled.outcome, settled.comment) == ("denied", "a fraud")
    assert paid == []


async def test_what_was_not_shown_is_not_decided(
    temporal: Client, terminal: Terminal, team: str
) -> None:
    model = ScriptedModel([BOTH, answer("done")])
    async with on_stage(temporal, model, [desk_of(team, quorum=2)]) as stage:
        run = await stage.start("desk")
        request = await pending(run)
        async with asyncio.timeout(30):
            while len(await run.pending_requests()) < 2:
                await asyncio.sleep(0.05)
        which = await terminal.run("approve", run.id)
        assert which.status == 1
        assert "name one: 1.1 (refund, " in which.err
        seen = request.arguments_hash
        edit = ("edit", run.id, "1.1", "--arguments")
        edited = await terminal.run(*edit, '{"order_id": 42, "amount_usd": 9}', "--by", "bo")
        assert edited.out.endswith(
            "    amount_usd: 80 -> 9\ncounted for 1.1; 1 more to approve (by bo)\n"
        )
        stale = await terminal.run("approve", run.id, "1.1", "--hash", seen)
        assert (stale.out, stale.status) == ("", 1)
        assert stale.err.count("\n") == 1
        assert "the arguments of request '1.1' have changed" in stale.err
        approved = await terminal.run("approve", run.id, "1.1", "--by", "ann")
        assert approved.out.endswith(
            "  edited by bo\n  approved by bo; needs 2\napproved 1.1 (by ann)\n"
        )
        output = ("approve", run.id, "1.1", "--by", "ann", "--hash")
        again = await terminal.run(*output, hash_of({"order_id": 42, "amount_usd": 9}))
        assert again == ("approved 1.1 (by ann)\n", "", 0)
        contrary = await terminal.run("deny", run.id, "1.1", "--by", "bo")
        assert contrary.err == "outlast: request '1.1' is already approved by 'ann'\n"
        unknown = await terminal.run("approve", run.id, "7.7")
        assert unknown.err == "outlast: request_id: '7.7' is not pending; pending: '1.2'\n"
        await terminal.run("deny", run.id, "1.2")
        await run.result()
        over = await terminal.run("approve", run.id)
        assert over.err.startswith(
            f"outlast: run {run.id!r} has no pending request; `outlast inbox`"
        )
    assert paid == [9]


async def test_a_person_at_a_terminal_is_asked_first(
    temporal: Client, terminal: Terminal, team: str
) -> None:
    model = ScriptedModel([REFUND, answer("done")])
    async with on_stage(temporal, model, [desk_of(team)]) as stage:
        run = await stage.start("desk")
        await pending(run)
        for keys in ("no\n", "\x04"):
            no = await terminal.type("approve", run.id, keys=keys)
            assert (no.err, no.status) == ("", 1)
            assert "approve as osuser? [y/N] " in no.out
            assert no.out.endswith("no decision was sent (--yes sends it without this question)\n")
        interrupted = await terminal.type("deny", run.id, keys=None)
        assert (interrupted.err, interrupted.status) == ("", 130)
        assert await pending(run)
        yes = await terminal.type("approve", run.id, keys="y\n")
        assert (yes.err, yes.status) == ("", 0)
        await run.result()
    assert paid == [80]


async def test_what_does_not_exist_is_said_in_one_line(terminal: Terminal) -> None:
    for words, output in (
        (["approve", "nothing"], "run 'nothing' cannot be queried: there is no run 'nothing'"),
        (["inbox", "--audience", 'a"b'], "--audience: 'a\"b' cannot be searched for"),
        (["inbox", "--namespace", "nowhere"], "Namespace nowhere is not found"),
        (
            ["inbox", "--address", "127.0.0.1:1"],
            "cannot connect to a Temporal server at 127.0.0.1:1",
        ),
    ):
        refused = await terminal.run(*words)
        assert (refused.out, refused.status) == ("", 1)
        assert refused.err.startswith(f"outlast: {output}")
        assert refused.err.count("\n") == 1


async def test_a_server_that_keeps_silent_is_not_waited_for(terminal: Terminal) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        async with asyncio.timeout(30):
            refused = await terminal.run("inbox", "--address", address)
    output = f"outlast: cannot connect to a Temporal server at {address} (no reply in 5 s)"
    assert refused.err.startswith(output)
    assert (refused.err.count("\n"), refused.status) == (1, 1)


async def test_a_team_with_keys_decides_with_them_alone(
    temporal: Client, terminal: Terminal, team: str, tmp_path: Path
) -> None:
    made = await terminal.run("keygen", "ann", str(tmp_path / "ann.jwk"), "--audience", "leads")
    assert made.status == 0, made.err
    public = made.out.splitlines()[-1].split('"')[1]
    model = ScriptedModel([REFUND, answer("done")])
    settings = staged_settings(cached=1000).model_copy(
        update={"audiences": {team: AudienceSettings(keys={"ann": public})}}
    )
    async with on_stage(temporal, model, [desk_of(team)], settings=settings) as stage:
        run = await stage.start("desk")
        await pending(run)
        bare = await terminal.run("approve", run.id)
        assert (bare.status, paid) == (1, [])
        assert "needs a signature: --key FILE, the key of ann" in bare.err
        shown = await terminal.run("approve", run.id, "--key", str(tmp_path / "ann.jwk"))
        assert shown.out.endswith("approved 1.1 (by ann)\n"), shown.err
        (settled,) = (await run.result()).decisions
    assert (settled.by, paid) == ("ann", [80])


async def test_a_conversation_that_waits_for_a_message_is_not_in_the_inbox(
    temporal: Client, terminal: Terminal, team: str
) -> None:
    model = ScriptedModel([answer("hello"), REFUND, answer("done")])
    async with on_stage(temporal, model, [desk_of(team)]) as stage:
        chatting = await stage.start("desk", mode="conversation", tenant=team)
        assert await chatting.reply() == "hello"
        asking = await stage.start("desk", tenant=team)
        request = await pending(asking)
        await until_listed(terminal, "--tenant", team, runs=1)
        await asking.approve(request)
        await asking.result()
        async with asyncio.timeout(30):
            while "No request waits" not in (await terminal.run("inbox", "--tenant", team)).out:
                await asyncio.sleep(0.5)
        await chatting.finish()
