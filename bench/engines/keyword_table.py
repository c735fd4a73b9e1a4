"""The measured table of keywords: kept as JSON for each engine, written as Markdown into the docs."""

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
"""Of a file that does not exist yet."""


AUTO = "vLLM auto"

ABOUT_AUTO = (
    "With `auto`, vLLM checks each schema by the rules of the backend that it would choose for it. But the "
    "first constrained request after its start decides which backend serves all requests (here xgrammar). "
    "A keyword that xgrammar rejects is then accepted and ignored, even if another backend enforces it. "
    "So name a backend with `--structured-outputs-config.backend`."
)


@dataclass(frozen=True)
class Column:
    """All that one run found of one engine."""

    engine: str
    version: str
    date: str
    asks: int
    findings: Sequence[Finding]


def today() -> str:
    """Return the date, as it is written in the table."""
    return time.strftime("%Y-%m-%d", time.gmtime())


def save(column: Column, folder: Path = RESULTS) -> Path:
    """Write what was found of an engine over what its last run found."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{_file_name(column.engine)}.json"
    path.write_text(json.dumps(asdict(column), indent=2, ensure_ascii=False) + "\n")
    return path


def merged(before: Column | None, column: Column) -> Column:
    """Return a column with what was found before of cases that it lacks, if the engine was the same."""
    if before is None or before.version != column.version:
        return column
    known = {finding.case: finding for finding in (*before.findings, *column.findings)}
    return replace(column, findings=list(known.values()))


def load(engine: str, folder: Path = RESULTS) -> Column | None:
    """Return what the last run found of an engine, if there was one."""
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
    """Return the table of the cases named, with what was measured, when and how."""
    found: list[Mapping[str, Finding]] = [
        {finding.case: finding for finding in column.findings} for column in columns
    ]
    lines = [
        _row(["", *(column.engine for column in columns)]),
        "| --- " * (len(columns) + 1) + "|",
    ]
    for name in names:
        cells = [of[name].verdict if name in of else "-" for of in found]
        lines.append(_row([f"`{name}`", *cells]))
    used = {finding.verdict for column in columns for finding in column.findings}
    lines += ["", *(f"- **{word}**: {said}" for word, said in MEANINGS.items() if word in used), ""]
    lines += [f"- {_provenance(column)}" for column in columns]
    if any(column.engine == AUTO for column in columns):
        lines += ["", ABOUT_AUTO]
    return "\n".join([*lines, "", f"Measured with `{COMMAND}`, on SmolLM2-135M-Instruct."])


def write_between(path: Path, content: str, *, name: str = NAME) -> None:
    """Put `content` between the markers of a file, which are added at its end if it has none."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    text = path.read_text() if path.is_file() else HEADER
    if begin not in text:
        text = f"{text.rstrip()}\n\n{begin}\n{end}\n"
    before, _, rest = text.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"{path} has {begin} without {end}")
    path.write_text(f"{before}{begin}\n\n{content}\n\n{end}{after}")


def _provenance(column: Column) -> str:
    return f"{column.engine}: {column.version}, {column.asks} answers a case, {column.date}"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _file_name(engine: str) -> str:
    return f"engine-{engine.lower().replace(' ', '-')}"
