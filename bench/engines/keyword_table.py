"""The table of keywords: the results of each engine as JSON, and the table as Markdown in the docs."""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from bench.engines.judge import MEANINGS, Counts, Finding
from bench.tables import RESULTS

NAME = "keywords"
BEGIN = f"<!-- {NAME}:begin -->"
END = f"<!-- {NAME}:end -->"

DOCUMENT = Path(__file__).parents[2] / "docs" / "generation.md"

COMMAND = "make keywords"

HEADER = "# Generation\n"
"""The heading of a new file."""


AUTO = "vLLM auto"

ABOUT_AUTO = (
    "With `auto`, vLLM checks each schema by the rules of the backend that it would choose for it. But the "
    "first constrained request after its start decides which backend serves all requests (here xgrammar). "
    "A keyword that xgrammar rejects is then accepted and ignored, even if another backend enforces it. "
    "So name a backend with `--structured-outputs-config.backend`."
)


@dataclass(frozen=True)
class Column:
    """The results of one run with one engine."""

    engine: str
    version: str
    date: str
    samples: int
    findings: Sequence[Finding]


def today() -> str:
    """Return today's date for the table."""
    return time.strftime("%Y-%m-%d", time.gmtime())


def save(column: Column, folder: Path = RESULTS) -> Path:
    """Write the results of an engine, over those of its last run."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{_file_name(column.engine)}.json"
    path.write_text(json.dumps(asdict(column), indent=2, ensure_ascii=False) + "\n")
    return path


def merged(before: Column | None, column: Column) -> Column:
    """Return a column with earlier results for its missing cases, if the engine version is the same."""
    if before is None or before.version != column.version:
        return column
    known = {finding.case: finding for finding in (*before.findings, *column.findings)}
    return replace(column, findings=list(known.values()))


def load(engine: str, folder: Path = RESULTS) -> Column | None:
    """Return the results of the last run with an engine, or None."""
    path = folder / f"{_file_name(engine)}.json"
    if not path.is_file():
        return None
    content = json.loads(path.read_text())
    findings = [
        Finding(**(finding | {"counts": Counts(**finding["counts"])}))
        for finding in content.pop("findings")
    ]
    return Column(**content, findings=findings)


def markdown(names: Iterable[str], columns: Sequence[Column]) -> str:
    """Return the table of the cases, with the date and the conditions."""
    by_case: list[Mapping[str, Finding]] = [
        {finding.case: finding for finding in column.findings} for column in columns
    ]
    lines = [
        _row(["", *(column.engine for column in columns)]),
        "| --- " * (len(columns) + 1) + "|",
    ]
    for name in names:
        cells = [known[name].verdict if name in known else "-" for known in by_case]
        lines.append(_row([f"`{name}`", *cells]))
    used = {finding.verdict for column in columns for finding in column.findings}
    lines += [
        "",
        *(
            f"- **{verdict}**: {meaning}"
            for verdict, meaning in MEANINGS.items()
            if verdict in used
        ),
        "",
    ]
    lines += [f"- {_provenance(column)}" for column in columns]
    if any(column.engine == AUTO for column in columns):
        lines += ["", ABOUT_AUTO]
    return "\n".join([*lines, "", f"Measured with `{COMMAND}`, on SmolLM2-135M-Instruct."])


def write_between(path: Path, content: str, *, name: str = NAME) -> None:
    """Write `content` between the markers of a file. Missing markers are added at its end."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    text = path.read_text() if path.is_file() else HEADER
    if begin not in text:
        text = f"{text.rstrip()}\n\n{begin}\n{end}\n"
    before, _, rest = text.partition(begin)
    _, separator, after = rest.partition(end)
    if not separator:
        raise ValueError(f"{path} has {begin} without {end}")
    path.write_text(f"{before}{begin}\n\n{content}\n\n{end}{after}")


def _provenance(column: Column) -> str:
    return f"{column.engine}: {column.version}, {column.samples} answers a case, {column.date}"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _file_name(engine: str) -> str:
    return f"engine-{engine.lower().replace(' ', '-')}"
