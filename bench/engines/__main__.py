"""`python -m bench.engines`: measures keywords on engines, and writes the table in docs/generation.md."""

import argparse
import asyncio
import sys
from collections import deque
from collections.abc import Sequence

from bench.engines.cases import CASES, Case
from bench.engines.engines import ENGINES, Engine, EngineClient, Server
from bench.engines.judge import Answer, Finding, judge, prompt_of
from bench.engines.keyword_table import (
    DOCUMENT,
    Column,
    load,
    markdown,
    merged,
    save,
    today,
    write_between,
)
from bench.engines.vllm_install import Installation, install
from bench.processes import LOGS
from outlast.errors import NotReady

SAMPLES = 4
"""Answers to a case: one at temperature 0, the others at 1."""

CRASHES: frozenset[str] = frozenset({"failed", "timed out"})


async def measure(engine: Engine, cases: Sequence[Case], *, samples: int) -> list[Finding]:
    """Measure the cases on an engine. After a case that crashes the server, start a new one."""
    installation = install() if engine.backend is not None else None
    findings: list[Finding] = []
    left = deque(cases)
    # Each server takes at least one of the remaining cases.
    while left:
        findings += await _until_crash(engine, installation, left, samples=samples)
    return findings


async def _until_crash(
    engine: Engine, installation: Installation | None, left: deque[Case], *, samples: int
) -> list[Finding]:
    findings: list[Finding] = []
    server: Server = engine.server(installation, LOGS)
    async with server:
        client = EngineClient(engine, server.url)
        while left:
            case = left.popleft()
            answers, crashed = await _measure_case(client, case, samples=samples)
            findings.append(judge(case, *answers))
            print(_line(engine, findings[-1]), flush=True)
            if crashed:
                break
    return findings


async def _measure_case(
    client: EngineClient, case: Case, *, samples: int
) -> tuple[tuple[list[Answer], list[Answer]], bool]:
    """Return the answers and those to the control, and whether the server crashed."""
    control = await client.complete(case.control, prompt_of(case), samples=samples)
    answers = (
        []
        if _crashed(control)
        else await client.complete(case.sent, prompt_of(case), samples=samples)
    )
    # After a control that crashes the server, the case has no answers.
    return (answers or control, control), _crashed([*control, *answers])


def _crashed(answers: Sequence[Answer]) -> bool:
    return any(answer.outcome in CRASHES for answer in answers)


def _line(engine: Engine, finding: Finding) -> str:
    totals = finding.counts
    counts = f"{totals.broke}/{totals.ended} broke, {totals.provoked} without"
    return f"{engine.name:13} {finding.case:38} {finding.verdict:13} {counts:21} {finding.note}"


def main() -> int:
    """Measure the options engines, and write the table of all results. Return the exit status."""
    known = {engine.name: engine for engine in ENGINES}
    parser = argparse.ArgumentParser(prog="python -m bench.engines", description=__doc__)
    parser.add_argument(
        "--engines",
        nargs="*",
        choices=list(known),
        default=list(known),
        help="engines to measure; without a name, only the table is written",
    )
    parser.add_argument(
        "--cases",
        nargs="+",
        default=[""],
        metavar="WORD",
        help="only cases with one of these words",
    )
    parser.add_argument("--samples", type=int, default=SAMPLES, help="answers to a case")
    options = parser.parse_args()
    cases = [case for case in CASES if any(word in case.name for word in options.cases)]
    try:
        for name in options.engines:
            findings = asyncio.run(measure(known[name], cases, samples=options.samples))
            result = Column(name, known[name].version(), today(), options.samples, findings)
            save(merged(load(name), result))
    except NotReady as error:
        print(f"outlast: {error}", file=sys.stderr)
        return 1
    columns = [column for name in known if (column := load(name))]
    write_between(DOCUMENT, markdown([case.name for case in CASES], columns))
    print(f"written to {DOCUMENT}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
