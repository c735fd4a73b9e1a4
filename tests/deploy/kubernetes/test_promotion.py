"""The Job of the chart that promotes a build, as the command reads its options."""

import argparse

from outlast_workers.builds.arguments import add_build_commands, plan_of
from outlast_workers.builds.commands import EXIT_STOPPED
from outlast_workers.builds.plan import Gate

from tests.deploy.kubernetes.chart import BUILD, Pod, rendered


def promotion_of(*options: str, tag: str = BUILD) -> Pod:
    (job,) = [
        pod for pod in rendered("promotion", *options, tag=tag).pods if "promotion" in pod.name
    ]
    return job


def test_the_job_promotes_the_build_of_the_tag() -> None:
    parser = argparse.ArgumentParser()
    add_build_commands(parser.add_subparsers(dest="command"))
    options = parser.parse_args(promotion_of().main["args"])
    assert (options.command, options.deployment) == ("promote", "outlast")
    plan = plan_of(options, workflow_queue="agents")
    assert plan.build_id == BUILD
    assert plan.ramp == (5, 50)
    assert plan.gates == (Gate("refund-desk", "Where is order A-1042?"),)
    assert (plan.min_runs, plan.hold_s, plan.max_failure_rate) == (20, 300, 0.05)
    assert plan.added_queues == {"agents", "tools", "generate"}


def test_workers_of_all_builds_are_not_waited_for() -> None:
    args = promotion_of("workers.generate.versioned=false").main["args"]
    assert "generate" not in args


def test_another_build_has_another_job_and_the_same_has_the_same() -> None:
    assert promotion_of().name == promotion_of().name
    names = {
        promotion_of().name,
        promotion_of(tag="v2").name,
        promotion_of("promotion.holdS=9").name,
    }
    assert len(names) == 3


def test_a_build_that_was_stopped_is_not_tried_again() -> None:
    spec = promotion_of().owner["spec"]
    fails, ignored = spec["podFailurePolicy"]["rules"]
    assert (fails["action"], fails["onExitCodes"]["values"]) == ("FailJob", [2, EXIT_STOPPED])
    assert ignored["action"] == "Ignore"
    assert promotion_of().spec["restartPolicy"] == "Never"
