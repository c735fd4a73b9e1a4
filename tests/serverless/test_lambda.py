"""Lambda for real, but for Lambda: the server's controller invokes the handler, which runs agents."""

import asyncio
import statistics
import time
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import EventType

from bench.scripted_model_server import Step, Steps, turns
from outlast.client.runs import Run
from tests.conditions import until
from tests.serverless.fake_lambda import FakeLambda
from tests.serverless.fake_secrets import FakeSecrets
from tests.serverless.site import DRAIN_S, IDLE_EXIT_S, Site, register, site

ANSWER = '{"answer":"done"}'
COLD_STARTS = 10
AT_ONCE = 20

BUFFER_S = DRAIN_S + 5 + 5
"""Drain, the time to give up, and the flush of telemetry."""


async def first_step_at(on: Site, run: Run) -> float:
    history = await on.client.temporal.get_workflow_handle(run.id).fetch_history()
    event = next(
        one
        for one in history.events
        if one.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED
    )
    return event.event_time.ToNanoseconds() / 1e9


def all_done(function: FakeLambda) -> bool:
    return {one.outcome for one in function.invocations} == {"done"}


@pytest.mark.timeout(280)
async def test_a_run_starts_from_nothing(tmp_path: Path) -> None:
    steps, results = [], []
    async with site(tmp_path, turns(1)) as on:
        for _ in range(COLD_STARTS):
            await on.cool_down()
            before = len(on.function.invocations)
            started = time.time()
            run = await on.client.start("reader", "go")
            assert (await run.result()).status == "completed"
            results.append(time.time() - started)
            steps.append(await first_step_at(on, run) - started)
            assert on.function.invocations[before].is_cold
        await until(lambda: not on.function.running)
        assert all_done(on.function), on.function.log_text()
    print(
        f"\ncold start, median of {COLD_STARTS}: first completed step {statistics.median(steps):.2f} s"
        f" ({min(steps):.2f} to {max(steps):.2f}), result of a one-turn run"
        f" {statistics.median(results):.2f} s ({min(results):.2f} to {max(results):.2f})"
    )


@pytest.mark.timeout(120)
async def test_registering_again_changes_nothing(tmp_path: Path) -> None:
    async with site(tmp_path, turns(1)) as on:
        output = await register(on.temporal)
        run = await on.client.start("reader", "go")
        assert (await run.result()).status == "completed"
    assert "served by outlast v1" in output


@pytest.mark.timeout(120)
async def test_an_invocation_ends_when_it_is_idle(tmp_path: Path) -> None:
    async with site(tmp_path, turns(2)) as on:
        registering = on.function.invocations[0].took_s
        run = await on.client.start("reader", "go")
        await run.result()
        finished = time.time()
        await until(lambda: not on.function.running)
        last = on.function.invocations[-1]
        idle_s = last.ended_at - finished
        assert all_done(on.function), on.function.log_text()
        assert IDLE_EXIT_S - 0.5 < idle_s < 30
        assert on.function.log_text().count('"event": "worker.idle"') == len(
            on.function.invocations
        )
    print(
        f"\nidle exit after {IDLE_EXIT_S:g} s: a warm invocation of {last.took_s:.2f} s ended"
        f" {idle_s:.2f} s after its run, of 60 s; one with nothing to do took {registering:.2f} s from"
        " its cold start"
    )


@pytest.mark.timeout(180)
async def test_a_rotated_secret_is_used_by_the_next_invocation(tmp_path: Path) -> None:
    arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:model-key"
    async with FakeSecrets(**{arn: "key-of-monday"}).listening() as store:
        variables = {
            "SECRET_ARN__OUTLAST_MODEL__API_KEY": arn,
            "AWS_ENDPOINT_URL_SECRETS_MANAGER": store.url,
            "AWS_ACCESS_KEY_ID": "of-a-fake",
            "AWS_SECRET_ACCESS_KEY": "of-a-fake",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        async with site(tmp_path, turns(1), variables=variables) as on:
            keys = []
            for key in ("key-of-monday", "key-of-tuesday"):
                store.values[arn] = key
                run = await on.client.start("reader", "go")
                assert (await run.result()).status == "completed"
                keys.append(on.model.requests[-1].headers["authorization"])
                await until(lambda: not on.function.running)
            last = on.function.invocations[-1]
            assert all_done(on.function), on.function.log_text()
        assert keys == ["Bearer key-of-monday", "Bearer key-of-tuesday"]
        assert not last.is_cold, "the same environment took the new key"
        assert "key-of" not in on.function.log_text()
    print("\na rotated key: used by the next invocation of the same, warm environment")


@pytest.mark.timeout(180)
async def test_a_model_call_at_the_deadline_is_handed_back_and_paid_once_more_at_most(
    tmp_path: Path,
) -> None:
    script = Steps(Step(ANSWER, delay_s=60), ANSWER)
    async with site(tmp_path, script, timeout_s=BUFFER_S + 6) as on:
        run = await on.client.start("reader", "go")
        await until(lambda: script.taken == 1)
        cut_off = on.function.invocations[-1]
        await until(lambda: script.taken == 2)
        handed_back_s = time.time() - cut_off.began_at
        result = await run.result()
        await until(lambda: not on.function.running)
        assert (result.output, result.turns) == ("done", 1)
        assert all_done(on.function), on.function.log_text()
        assert cut_off.took_s < BUFFER_S + 6
        assert on.function.invocations[-1] is not cut_off
    assert script.taken == 2
    print(
        f"\ndeadline in a model call: called again {handed_back_s:.2f} s into an invocation of"
        f" {BUFFER_S + 6:g} s, by the next one; {script.taken} calls for 1 answer"
    )


@pytest.mark.timeout(180)
async def test_runs_at_once_all_finish(tmp_path: Path) -> None:
    async with site(tmp_path, turns(3)) as on:
        await on.cool_down()
        before = len(on.function.invocations)
        started = time.time()
        runs = await asyncio.gather(*(on.client.start("reader", "go") for _ in range(AT_ONCE)))
        results = await asyncio.gather(*(run.result() for run in runs))
        took_s = time.time() - started
        await until(lambda: not on.function.running)
        invocations = on.function.invocations[before:]
        assert [result.turns for result in results] == [3] * AT_ONCE
        assert all_done(on.function), on.function.log_text()
    cold = sum(one.is_cold for one in invocations)
    print(
        f"\n{AT_ONCE} runs of 3 turns at once: {took_s:.2f} s from nothing, {len(invocations)} invocations"
        f" ({cold} cold, 4 at once at most)"
    )
