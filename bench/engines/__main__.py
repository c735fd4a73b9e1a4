"""`python -m bench.engines`: asks each engine about each keyword, and writes docs/generation.md's table."""

import argparse
import asyncio
import sys
from collections import deque
from collections.abc import Sequence

from bench.engines.cases import CASES, Case
from bench.engines.engines import ENGINES, Asker, Engine, Server
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

ASKS = 4

CRASHES: frozenset[str] = frozenset({"failed", "timed out"})


async def measure(engine: Engine, cases: Sequence[Case], *, asks: int) -> list[Finding]:
    """Ask an engine about each case, with a fresh server after a case that its server did not bear."""
    installation = install() if engine.backend is not None else None
    findings: list[Finding] = []
    left = deque(cases)
    # Each server takes at least one case from those left.
    while left:
        findings += await _until_crash(engine, installation, left, asks=asks)
    return findings


async def _until_crash(
    engine: Engine, installation: Installation | None, left: deque[Case], *, asks: int
) -> list[Finding]:
    findings: list[Finding] = []
    server: Server = engine.server(installation, LOGS)
    async with server:
        asker = Asker(engine, server.url)
        while left:
            case = left.popleft()
            answers, crashed = await _ask(asker, case, asks=asks)
            findings.append(judge(case, *answers))
            print(_line(engine, findings[-1]), flush=True)
            if crashed:
                break
    return findings


async def _ask(
    asker: Asker, case: Case, *, asks: int
) -> tuple[tuple[list[Answer], list[Answer]], bool]:
    """Return the answers and those of the control, and whether the server is to be replaced."""
    control = await asker.ask(case.control, prompt_of(case), asks=asks)
    answers = [] if _crashed(control) else await asker.ask(case.asked, prompt_of(case), asks=asks)
    # A control that the server does not bear leaves the case without answers.
    return (answers or control, control), _crashed([*control, *answers])


def _crashed(answers: Sequence[Answer]) -> bool:
    return any(answer.outcome in CRASHES for answer in answers)


def _line(engine: Engine, finding: Finding) -> str:
    of = finding.counts
    counts = f"{of.broke}/{of.ended} broke, {of.provoked} without"
    return f"{engine.name:13} {finding.case:38} {finding.verdict:13} {counts:21} {finding.note}"


def main() -> int:
    """Measure the engines named, and write the table of all that were measured; return the status."""
    known = {engine.name: engine for engine in ENGINES}
    parser = argparse.ArgumentParser(prog="python -m bench.engines", description=__doc__)
    parser.add_argument(
        "--engines",
        nargs="*",
        choices=list(known),
        default=list(known),
        help="measure these; without a name, only write the table anew",
    )
    parser.add_argument(
        "--cases",
        nargs="+",
        default=[""],
        metavar="WORD",
        help="only those with one of these words",
    )
    parser.add_argument("--asks", type=int, default=ASKS, help="answers to a case")
    given = parser.parse_args()
    cases = [case for case in CASES if any(word in case.name for word in given.cases)]
    try:
        for name in given.engines:
            findings = asyncio.run(measure(known[name], cases, asks=given.asks))
            found = Column(name, known[name].version(), today(), given.asks, findings)
            save(merged(load(name), found))
    except NotReady as error:
        print(f"outlast: {error}", file=sys.stderr)
        return 1
    columns = [column for name in known if (column := load(name))]
    write_between(DOCUMENT, markdown([case.name for case in CASES], columns))
    print(f"written to {DOCUMENT}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
