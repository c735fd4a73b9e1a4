"""`python -m bench`: measures, prints tables with ratios, and writes JSON to bench/results/."""

import argparse
import asyncio

from bench.benchmarks import BENCHMARKS, Options
from bench.machine import NOISY_SHARE, OtherLoad
from bench.subjects import SUBJECTS
from bench.tables import write

ALL = "all"


def main() -> None:
    """Run the benchmarks that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "benchmarks",
        nargs="*",
        type=_benchmark,
        metavar="BENCHMARK",
        help=f"{', '.join(BENCHMARKS)}, or all, which is the default",
    )
    parser.add_argument(
        "--turns",
        type=int,
        nargs="+",
        default=[],
        metavar="N",
        help="turns of a run; history measures each of them, the others the first",
    )
    parser.add_argument("--quick", action="store_true", help="small numbers, to see that it works")
    parser.add_argument(
        "--subjects",
        nargs="+",
        choices=[subject.name for subject in SUBJECTS],
        default=[subject.name for subject in SUBJECTS],
    )
    given = parser.parse_args()
    chosen = [subject for subject in SUBJECTS if subject.name in given.subjects]
    options = Options(subjects=chosen, turns=tuple(given.turns), quick=given.quick)
    is_all = not given.benchmarks or ALL in given.benchmarks
    for name in BENCHMARKS if is_all else dict.fromkeys(given.benchmarks):
        load = OtherLoad()
        tables = asyncio.run(BENCHMARKS[name](options))
        others = load.share()
        for table in tables:
            print(table)
        path = write(name, tables, vars(given), others=others)
        noise = "; measure again when it is quiet" if others > NOISY_SHARE else ""
        print(f"other processes used {others:.0%} of the CPUs{noise}")
        print(f"written to {path}\n", flush=True)


def _benchmark(name: str) -> str:
    if name not in (*BENCHMARKS, ALL):
        known = ", ".join((*BENCHMARKS, ALL))
        raise argparse.ArgumentTypeError(f"no benchmark {name!r}: choose from {known}")
    return name


if __name__ == "__main__":
    main()
