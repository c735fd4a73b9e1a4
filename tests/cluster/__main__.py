"""The command line of the suite: `python -m tests.cluster --kind outlast`."""

import argparse
import os
import secrets
import sys
from collections.abc import Sequence

from tests.cluster.cluster import Cluster, NotRunnable, Runner, Unexpected, run
from tests.cluster.scenarios import SCENARIOS, Scenario
from tests.cluster.stand import Stand, build_image, check_runnable

EXIT_FAILED = 1
EXIT_NOT_RUNNABLE = 2

KEDA = "scaledobjects.keda.sh"


def main(arguments: Sequence[str] | None = None, runner: Runner = run) -> int:
    """Run the suite, and return 0, 1 after a failure, or 2 if it cannot run here."""
    options = _parser().parse_args(arguments)
    if options.plan:
        for scenario in SCENARIOS:
            keda = " (needs KEDA)" if scenario.needs_keda else ""
            print(f"{scenario.name}{keda}: {scenario.plan}")
        return 0
    cluster = Cluster(options.namespace or f"outlast-test-{secrets.token_hex(3)}", runner)
    try:
        version = check_runnable(cluster, os.environ.get("KUBECONFIG"))
        stand = Stand(cluster, has_keda=cluster.has(KEDA))
        print(f"Kubernetes {version}, namespace {cluster.namespace}, KEDA: {_yes(stand.has_keda)}")
        stand.repository = options.image or build_image(
            cluster, kind=options.kind, push=options.push
        )
        return _run(stand, keep=options.keep)
    except NotRunnable as error:
        print(f"test-kubernetes: {error}", file=sys.stderr)
        return EXIT_NOT_RUNNABLE
    except Unexpected as error:
        print(f"test-kubernetes: {error}", file=sys.stderr)
        return EXIT_FAILED


def _yes(value: bool) -> str:
    return "yes" if value else "no, so the scenarios of scaling are skipped"


def _run(stand: Stand, *, keep: bool) -> int:
    """Run every scenario that can run, and return the exit status."""
    failed = False
    try:
        stand.prepare()
        for scenario in SCENARIOS:
            if scenario.needs_keda and not stand.has_keda:
                print(f"{scenario.name}: skipped, because the cluster has no KEDA")
            elif not _passes(scenario, stand):
                failed = True
                break  # those that follow need its release
    finally:
        if keep:
            print(f"the namespace {stand.cluster.namespace} stays")
        else:
            stand.remove()
    return EXIT_FAILED if failed else 0


def _passes(scenario: Scenario, stand: Stand) -> bool:
    began = stand.cluster.now()
    print(f"{scenario.name}: {scenario.plan}", flush=True)
    try:
        scenario.run(stand)
    except Unexpected as error:
        print(f"  FAILED: {error}", flush=True)
        return False
    print(f"  passed in {stand.cluster.now() - began:.0f} s", flush=True)
    return True


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.cluster",
        description="Test the chart in the cluster of KUBECONFIG, in a namespace of its own.",
    )
    parser.add_argument("--kind", metavar="NAME", help="load the image into this kind cluster")
    parser.add_argument("--push", metavar="REPOSITORY", help="push the image to this repository")
    parser.add_argument("--image", metavar="REPOSITORY", help="use the image that is there already")
    parser.add_argument("--namespace", metavar="NAME", help="by default a new name")
    parser.add_argument("--keep", action="store_true", help="leave the namespace behind")
    parser.add_argument("--plan", action="store_true", help="print what would be tested, and stop")
    return parser


if __name__ == "__main__":
    sys.exit(main())
