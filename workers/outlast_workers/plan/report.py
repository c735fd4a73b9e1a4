"""A plan as text for a terminal."""

from collections.abc import Iterable, Sequence

from outlast_workers.plan.estimate import Estimate
from outlast_workers.plan.planning import Plan
from outlast_workers.plan.workload import Workload

SHOWN_SWINGS = 5
"""Inputs that the report shows: the ones that change most."""

Row = Sequence[str]


def report(made: Plan) -> str:
    """Return the text of a plan."""
    best = made.cheapest
    parts = [
        _load(made.workload),
        _table(_rows(made, best)),
        _choice(made, best),
        "Break-even (the rest of the workload stays the same):",
        *_indented(_break_evens(made)),
        "What decides (each input halved, and doubled):",
        *_indented(_swings(made)),
    ]
    return "\n".join(parts)


def _load(workload: Workload) -> str:
    model = workload.model
    where = f"on {model.gpu}" if model.kind == "gpu" else "behind an API"
    arrivals = workload.arrivals
    spikes = f", spikes of {arrivals.spike_factor:g} times" if arrivals.spike_factor > 1 else ""
    return (
        f"{workload.concurrent_runs:g} runs at a time, {workload.active_hours_per_day:g} h a day"
        f"{spikes}: {workload.runs_per_month:,.0f} runs a month. A run has {workload.turns} turns of"
        f" {workload.model_s:g} s model {where} and {workload.tool_s:g} s tools.\n"
    )


def _rows(made: Plan, best: Estimate) -> list[Row]:
    head = ("", "USD a month", "compute", "Temporal", "tokens", "people", "USD a run")
    rows: list[Row] = [(*head, "start p50", "p95", "run p50", "p95")]
    for name, one in made.estimates.items():
        cost = one.cost
        parts = (cost.total, cost.compute, cost.temporal, cost.tokens, cost.people)
        times = (one.start_p50_s, one.start_p95_s, one.completion_p50_s, one.completion_p95_s)
        rows.append(
            (
                f"{name} *" if one is best else name,
                *(f"{usd:,.0f}" for usd in parts),
                f"{one.usd_per_run:.4f}",
                *(f"{seconds:,.0f} s" for seconds in times),
            )
        )
    return rows


def _choice(made: Plan, best: Estimate) -> str:
    late = [name for name, one in made.estimates.items() if not one.starts_in_time]
    bound = f"{made.workload.start_p95_s:g} s"
    lines = [
        f"\n* Cheapest: {best.architecture.name} ({best.architecture.summary}).",
        f"  19 of 20 runs must start within {bound}: start_p95_s of the workload.",
    ]
    if not best.starts_in_time:
        lines.append("  No architecture starts its runs in time.")
    elif late:
        lines.append(f"  Not considered, because their runs start too late: {', '.join(late)}.")
    team = made.workload.team
    hours = ", ".join(f"{name} {value:g}" for name, value in team.hours_per_month.items())
    lines.append(
        f"  People are an assumption: {team.usd_per_hour:g} USD an hour; hours a month: {hours};"
        f" {team.self_hosted_temporal_hours:g} more for a self-hosted Temporal.\n"
    )
    return "\n".join(lines)


def _break_evens(made: Plan) -> Iterable[str]:
    if not made.break_evens:
        yield "none between a sixteenth of the load and four times the load"
    for point in made.break_evens:
        yield (
            f"from {point.concurrent_runs:,.0f} runs at a time, about"
            f" {point.usd_per_month:,.0f} USD a month: {point.cheaper} is cheaper than {point.dearer}"
        )


def _swings(made: Plan) -> Iterable[str]:
    for swing in made.swings[:SHOWN_SWINGS]:
        yield (
            f"{swing.input}: {swing.low_cheapest} {swing.low_usd:,.0f} USD, and"
            f" {swing.high_cheapest} {swing.high_usd:,.0f} USD"
        )


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def _table(rows: Sequence[Row]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
