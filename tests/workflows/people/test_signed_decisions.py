"""Requests whose audience decides by signature, as they run."""

import asyncio
import base64

import pytest
from outlast_workers.public_keys import SMALL_ORDER_KEYS
from outlast_workers.settings import Settings
from outlast_workers.settings_sections.people import AudienceSettings
from temporalio.client import Client

from outlast import Agent, Approval, BadRequest, Escalation, RunFailed, tool
from outlast.client.runs import Run
from outlast.contracts.human import HumanDecision, PendingRequest
from outlast.signing import SigningKey
from outlast.testing import ScriptedModel, answer, call
from tests.stage import Stage, on_stage, pending, staged_settings

ANN, BOB, FAY = (SigningKey.generate(name) for name in ("ann", "bob", "fay"))
paid: list[float] = []


@pytest.fixture(autouse=True)
def _nothing_paid() -> None:
    paid.clear()


def desk(approval: Approval) -> Agent:
    @tool(effect="irreversible", approval=approval)
    def refund(amount_usd: float) -> str:
        """Refund."""
        paid.append(amount_usd)
        return "paid"

    return Agent(name="desk", instructions="Refund.", tools=[refund])


def model() -> ScriptedModel:
    return ScriptedModel([call("refund", amount_usd=80), answer("done")], repeat_last=True)


def settings(cached: int = 1000, **audiences: SigningKey) -> Settings:
    keys = {name: AudienceSettings(keys={key.name: key.public}) for name, key in audiences.items()}
    leads = AudienceSettings(keys={"ann": ANN.public, "bob": BOB.public})
    return staged_settings(cached=cached).model_copy(update={"audiences": {"leads": leads, **keys}})


async def opened(stage: Stage) -> tuple[Run, PendingRequest]:
    run = await stage.start("desk")
    return run, await pending(run)


async def test_a_call_is_made_once_somebody_of_the_audience_has_signed(
    temporal: Client, cached: int
) -> None:
    leads = Approval(audience="leads", expires_s=3600)
    async with on_stage(temporal, model(), [desk(leads)], settings=settings(cached)) as stage:
        run, request = await opened(stage)
        assert request.signers == ["ann", "bob"]
        with pytest.raises(BadRequest, match=r"leads must sign its decisions \(ann, bob\)"):
            await run.approve(request, by="ann")
        with pytest.raises(BadRequest, match="'fay' may not decide this; ann, bob may"):
            await run.approve(request, signer=FAY)
        with pytest.raises(BadRequest, match="not only its id"):
            await run.approve("1.1", signer=ANN)
        other = request.model_copy(update={"nonce": "of another run"})
        with pytest.raises(BadRequest, match="another request"):
            await run.approve(other, signer=ANN)
        assert paid == []
        assert await run.approve(request, signer=ANN) == "approved 1.1"
        (settled,) = (await run.result()).decisions
    assert settled.by == "ann"
    assert paid == [80]


async def test_a_vote_is_not_replayed_once_the_call_was_edited_there_and_back(
    temporal: Client,
) -> None:
    both = Approval(audience="leads", quorum=2, expires_s=3600, signed=True)
    async with on_stage(temporal, model(), [desk(both)], settings=settings()) as stage:
        run, request = await opened(stage)
        approval = HumanDecision(
            request_id="1.1", decision="approve", arguments_hash=request.arguments_hash
        )
        by_ann = ANN.sign(approval, request, run_id=run.id)
        await run.decide(by_ann)
        await run.edit(request, {"amount_usd": 5}, signer=BOB)
        await run.edit(await pending(run), {"amount_usd": 80}, signer=BOB)
        with pytest.raises(BadRequest, match="before it was edited"):
            await run.decide(by_ann)
        assert paid == []
        assert await run.approve(await pending(run), signer=ANN) == "approved 1.1"
        await run.result()
    assert paid == [80]


async def test_who_was_asked_before_an_escalation_may_no_longer_decide(temporal: Client) -> None:
    clock = Approval(
        audience="leads",
        escalate=(Escalation(audience="finance", after_s=1),),
        expires_s=3600,
        signed=True,
    )
    chosen = settings(finance=FAY)
    async with on_stage(temporal, model(), [desk(clock)], settings=chosen) as stage:
        run, request = await opened(stage)
        async with asyncio.timeout(30):
            while not (escalated := await pending(run)).escalations:
                await asyncio.sleep(0.1)
        assert (escalated.signers, escalated.nonce) == (["fay"], request.nonce)
        with pytest.raises(BadRequest, match="'ann' may not decide this; fay may"):
            await run.approve(request, signer=ANN)
        assert await run.approve(escalated, signer=FAY) == "approved 1.1"
        await run.result()
    assert paid == [80]


async def test_an_agent_that_nobody_could_sign_for_is_refused_at_the_start(
    temporal: Client,
) -> None:
    clock = Approval(
        audience="leads", escalate=(Escalation(audience="cfo", after_s=1),), signed=True
    )
    async with on_stage(temporal, model(), [desk(clock)], settings=settings()) as stage:
        with pytest.raises(
            RunFailed, match="tool 'refund' asks 'leads', which signs its decisions, and 'cfo'"
        ):
            await stage.run("desk")


def test_time_does_not_sign() -> None:
    with pytest.raises(ValueError, match="on_expiry must be 'deny'"):
        Approval(audience="leads", signed=True, on_expiry="approve")


@pytest.mark.parametrize(
    "keys",
    [
        {"ann": ANN.public, "Ann ": BOB.public},
        {"ann": ANN.public, "bob": ANN.public},
        {"ann": f" {ANN.public}"},
        {"ann": ANN.public.replace("-", "+").replace("_", "/") + "="},
        {"ann": "A" * 42},
        # Everybody can sign for a point of small order, with or without the sign.
        *(
            {"ann": base64.urlsafe_b64encode(key[:-1] + bytes([key[-1] | sign])).decode()[:-1]}
            for key in SMALL_ORDER_KEYS
            for sign in (0, 0x80)
        ),
    ],
)
def test_keys_that_are_none_or_of_one_person_twice_are_refused(keys: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="one person twice|must be an Ed25519 public key"):
        AudienceSettings(keys=keys)
