"""Claims about which architecture fits which team: the same loads with other costs of people."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from outlast_workers.plan.actions import actions_per_run
from outlast_workers.plan.claims.verdicts import Case, Finding, case_of, judge
from outlast_workers.plan.estimate import ROUGH, simulated_all
from outlast_workers.plan.price_list import HOURS_A_MONTH, PriceList
from outlast_workers.plan.workload import ArchitectureName, Team, preset

TRANSITIONS_PER_STEP = 3
"""Of Step Functions: the call, the choice, and the loop."""


@dataclass(frozen=True)
class Profile:
    """A team with the hours that each architecture costs it, its load, and what is claimed for it."""

    claim: str
    expected: ArchitectureName
    workload: str
    loads: tuple[float, ...]
    hours: Mapping[ArchitectureName, float]
    usd_per_hour: float
    self_hosted_hours: float
    active: tuple[float, ...] = (24,)
    """Active hours a day."""


PROFILES = (
    Profile(
        "A platform team of 3 or more: Kubernetes with Argo and KEDA",
        "kubernetes",
        "steady",
        (20, 50, 100),
        # The cluster, KEDA and a database run for others already.
        {"serverless": 4, "managed": 4, "kubernetes": 6, "hybrid": 8},
        100,
        4,
    ),
    Profile(
        "AI engineers without DevOps: managed",
        "managed",
        "mixed",
        (10, 30, 50),
        {"serverless": 6, "managed": 6, "kubernetes": 80, "hybrid": 80},
        100,
        40,
        (12, 24),
    ),
    Profile(
        "Alone, and spiky: serverless",
        "serverless",
        "spiky",
        (0.5, 2, 5),
        {"serverless": 4, "managed": 6, "kubernetes": 40, "hybrid": 40},
        50,
        20,
        (4, 12),
    ),
    Profile(
        "Hybrid: Temporal and GPU workers on Kubernetes, for bursts",
        "hybrid",
        "bursty",
        (50, 100, 200),
        {"serverless": 4, "managed": 6, "kubernetes": 24, "hybrid": 28},
        100,
        16,
        (12, 24),
    ),
)


def team_findings(prices: PriceList) -> list[Finding]:
    """Return the findings on the four teams whose architectures are simulated."""
    return [_finding(profile, prices) for profile in PROFILES]


def _finding(profile: Profile, prices: PriceList) -> Finding:
    team = Team(
        usd_per_hour=profile.usd_per_hour,
        hours_per_month=dict(profile.hours),
        self_hosted_temporal_hours=profile.self_hosted_hours,
    )
    workload = preset(profile.workload).model_copy(update={"team": team})
    found: list[Case] = []
    for load in profile.loads:
        changed = workload.model_copy(update={"concurrent_runs": load})
        results = simulated_all(changed, ROUGH)
        found += [case_of(changed, results, prices, active=active) for active in profile.active]
    finding = judge(profile.claim, profile.expected, found)
    hours = ", ".join(f"{name} {value:g}" for name, value in profile.hours.items())
    assumed = (
        f". Assumed: {profile.workload} load, own GPUs, {profile.usd_per_hour:g} USD an hour; hours a"
        f" month: {hours}, and {profile.self_hosted_hours:g} for a self-hosted Temporal"
    )
    return replace(finding, decides=finding.decides + assumed)


def compliance(prices: PriceList) -> Finding:
    """Return the finding on Step Functions, by the price of its transitions beside Temporal's."""
    turns = 10
    steps = 2 * turns - 1
    transitions = TRANSITIONS_PER_STEP * steps * prices.usd("stepfunctions.transition") / 1e6
    actions = actions_per_run(turns) * 1.1 * prices.usd("temporal.action") / 1e6
    machines = 3 * prices.hourly("aws.m7g.large") + prices.hourly("aws.postgres")
    hosted = machines * HOURS_A_MONTH + Team().self_hosted_temporal_hours * 100
    rows: list[tuple[str, ...]] = [
        (
            "runs a month",
            "Step Functions",
            "Temporal Cloud",
            "Temporal in your own VPC, with people",
        )
    ]
    for runs in (10_000, 100_000, 1_000_000, 10_000_000):
        cells = (runs, runs * transitions, runs * actions, hosted)
        rows.append(tuple(f"{cell:,.0f}" for cell in cells))
    claim = "Compliance: Step Functions, and GPU workers isolated in a VPC"
    text = (
        f"runs a month: from {hosted / transitions:,.0f} runs of {turns} turns, the transitions cost more"
        " than a Temporal in your own VPC. Isolation decides nothing: workers connect outwards on both, and"
        " nothing connects to them. Payload encryption keeps content from Temporal Cloud. This row is"
        f" computed from prices and not simulated, with {TRANSITIONS_PER_STEP} transitions a step and"
        " without heartbeats"
    )
    return Finding(claim, "depends", text, tuple(rows))
