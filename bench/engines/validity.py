"""`python -m bench.engines.validity`: how many answers are valid, with and without constraint.

Each engine generates values of many types: with `GenerationAttempt`, as in a run; and once more without a
schema in the request, with the schema in the prompt instead. Pydantic decides what is valid.
"""

import argparse
import asyncio
import json
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeVar

import httpx2
from outlast_activities.generation.decision_text import decision_value
from outlast_activities.generation.endpoint import Endpoint
from outlast_activities.providers.chat_completions import ChatCompletions

from bench.engines.engines import ENGINES, Engine
from bench.engines.keyword_table import AUTO, DOCUMENT, today, write_between
from bench.engines.prompts import generate_value, is_of, unconstrained_messages
from bench.engines.types import MAX_TOKENS, TYPES, OutputType
from bench.engines.vllm_install import install
from bench.processes import LOGS
from bench.tables import RESULTS
from outlast.errors import ModelError, NotReady
from outlast.model_server import ServerOptions

GENERATIONS = 200
TEMPERATURE = 0.7

DEFAULT = (AUTO, "llama.cpp")

CONCURRENCY = {"llama.cpp": 2}
"""Concurrent requests. Other engines get as many as vLLM decodes at the same time."""

DEFAULT_CONCURRENCY = 4
ANSWER_TIMEOUT_S = 120.0

COMMAND = "make validity"

Result = TypeVar("Result")

Verdict = Literal["first", "later", "wrong", "failed"]


@dataclass(frozen=True)
class Constrained:
    """The result of one model call as in a run. `reasons` are the failures before the last completion.

    `wrong` is an answer that is valid for the schema but not for the type.
    """

    type: str
    verdict: Verdict
    completions: int
    reasons: Sequence[str]
    answers: Sequence[str]


@dataclass(frozen=True)
class Free:
    """One answer to a prompt without a constraint."""

    type: str
    parses: bool
    valid: bool
    answer: str


@dataclass(frozen=True)
class Report:
    """The results of one engine."""

    engine: str
    version: str
    date: str
    constrained: Sequence[Constrained]
    free: Sequence[Free]


async def measure(engine: Engine, generations: int) -> Report:
    """Serve an engine, and generate `generations` values with a constraint and as many without."""
    installation = install() if engine.backend is not None else None
    async with engine.server(installation, LOGS) as server:
        concurrency = CONCURRENCY.get(engine.name, DEFAULT_CONCURRENCY)
        kinds = [TYPES[number % len(TYPES)] for number in range(generations)]
        constrained = await with_constraint(engine, server.url, kinds, concurrency=concurrency)
        free = await _all(kinds, lambda kind: _free(server.url, kind), concurrency)
    return Report(engine.name, engine.version(), today(), constrained, free)


async def with_constraint(
    engine: Engine, url: str, kinds: Sequence[OutputType], *, concurrency: int
) -> list[Constrained]:
    """Generate one value of each type, after the same probe that a worker makes."""
    api = "openai-chat" if engine.backend is None else "vllm"
    options = ServerOptions(url, api=api, engine=_backend(engine), temperature=TEMPERATURE)
    model = ChatCompletions(options)
    try:
        facts = await model.probe()
        print(f"{engine.name}: {facts}", flush=True)
        endpoint = Endpoint(model, MAX_TOKENS, constrained=facts.constrained)
        return await _all(kinds, lambda kind: _constrained(endpoint, kind), concurrency)
    finally:
        await model.aclose()


def _backend(engine: Engine) -> str | None:
    """Return the engine for the adapter's options, if the backend is not vLLM's own choice."""
    return None if engine.backend == "auto" else engine.backend


async def _constrained(endpoint: Endpoint, kind: OutputType) -> Constrained:
    try:
        generation, recording = await generate_value(kind, endpoint)
    except ModelError as error:
        print(f"  {kind.name}: {error.kind}: {error.message}", flush=True)
        return Constrained(kind.name, "failed", 0, [error.kind], [error.text])
    answer = generation.decision.answer if generation.decision else None
    verdict: Verdict = "first" if len(recording.answers) == 1 else "later"
    if not is_of(kind, answer):
        verdict = "wrong"
    if verdict != "first":
        print(f"  {kind.name}: {recording.reasons()} {recording.answers}", flush=True)
    reasons = recording.reasons()
    return Constrained(kind.name, verdict, generation.completions, reasons, recording.answers)


async def _free(url: str, kind: OutputType) -> Free:
    body = {
        "model": "smollm2",
        "messages": unconstrained_messages(kind),
        "max_tokens": MAX_TOKENS,
        "temperature": TEMPERATURE,
    }
    async with httpx2.AsyncClient(trust_env=False, timeout=ANSWER_TIMEOUT_S) as client:
        response = await client.post(f"{url}/chat/completions", json=body)
    text = response.raise_for_status().json()["choices"][0]["message"]["content"] or ""
    try:
        value = decision_value(text)
    except ValueError:
        return Free(kind.name, parses=False, valid=False, answer=text)
    # Either a whole decision, or the answer by itself.
    values = [value, *([value["answer"]] if isinstance(value, dict) and "answer" in value else [])]
    return Free(
        kind.name, parses=True, valid=any(is_of(kind, value) for value in values), answer=text
    )


async def _all(
    kinds: Sequence[OutputType], ask: Callable[[OutputType], Awaitable[Result]], concurrency: int
) -> list[Result]:
    slots = asyncio.Semaphore(concurrency)

    async def limited(kind: OutputType) -> Result:
        async with slots:
            return await ask(kind)

    return await asyncio.gather(*(limited(kind) for kind in kinds))


def save(report: Report) -> None:
    """Write the results of an engine, over those of its last run."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"validity-{report.engine.lower().replace(' ', '-')}.json"
    path.write_text(json.dumps(asdict(report), indent=2, ensure_ascii=False) + "\n")


def load(engine: str) -> Report | None:
    """Return the results of the last run with an engine, or None."""
    path = RESULTS / f"validity-{engine.lower().replace(' ', '-')}.json"
    if not path.is_file():
        return None
    content: dict[str, Any] = json.loads(path.read_text())
    constrained = [Constrained(**entry) for entry in content.pop("constrained")]
    free = [Free(**entry) for entry in content.pop("free")]
    return Report(**content, constrained=constrained, free=free)


def markdown(reports: Sequence[Report]) -> str:
    """Return the table of all results, with the date and the conditions."""
    rows: list[tuple[str, Callable[[Report], str]]] = [
        ("types", lambda report: str(len({result.type for result in report.constrained}))),
        ("generations", lambda report: str(len(report.constrained))),
        ("**valid in the end**", lambda report: _share(_verdicts(report, "first", "later"))),
        ("valid in the first answer", lambda report: _share(_verdicts(report, "first"))),
        ("valid after asking again", lambda report: _share(_verdicts(report, "later"))),
        ("reasons for asking again", lambda report: _counted(_reasons(report, "later", "wrong"))),
        ("failed", lambda report: _counted(_reasons(report, "failed"))),
        ("passed validation, not of the type", lambda report: str(sum(_verdicts(report, "wrong")))),
        (
            "without constraint: JSON",
            lambda report: _share(answer.parses for answer in report.free),
        ),
        (
            "**without constraint: valid**",
            lambda report: _share(answer.valid for answer in report.free),
        ),
    ]
    head = ["", *(report.engine for report in reports)]
    lines = [_row(head), "| --- " * len(head) + "|"]
    lines += [_row([name, *(cell(report) for report in reports)]) for name, cell in rows]
    lines += [
        "",
        *(f"- {report.engine}: {report.version}, {report.date}" for report in reports),
        "",
    ]
    return "\n".join([*lines, f"Measured with `{COMMAND}`, on SmolLM2-135M-Instruct, {_HOW}"])


_HOW = (
    f"at temperature {TEMPERATURE}, with {MAX_TOKENS} tokens for the first answer. The constrained rows "
    "show the results of a run, which asks the model at most three times. In the rows without constraint, "
    "the prompt contains the schema and the model is asked once. These rows also accept "
    "code fences around the JSON and a missing `answer`."
)


def _verdicts(report: Report, *wanted: Verdict) -> list[bool]:
    return [result.verdict in wanted for result in report.constrained]


def _reasons(report: Report, *wanted: Verdict) -> list[str]:
    return [
        reason
        for result in report.constrained
        if result.verdict in wanted
        for reason in result.reasons
    ]


def _share(each: Iterable[bool]) -> str:
    values = list(each)
    return f"{sum(values)} ({sum(values) / len(values):.1%})" if values else "-"


def _counted(reasons: Sequence[str]) -> str:
    counts = Counter(reasons).most_common()
    return ", ".join(f"{count} `{reason}`" for reason, count in counts) or "0"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> int:
    """Measure the given engines, and write the table of all results. Return the exit status."""
    known = {engine.name: engine for engine in ENGINES}
    parser = argparse.ArgumentParser(prog="python -m bench.engines.validity", description=__doc__)
    parser.add_argument("--engines", nargs="*", choices=list(known), default=list(DEFAULT))
    parser.add_argument("--generations", type=int, default=GENERATIONS)
    given = parser.parse_args()
    try:
        for name in given.engines:
            save(asyncio.run(measure(known[name], given.generations)))
    except NotReady as error:
        print(f"outlast: {error}", file=sys.stderr)
        return 1
    reports = [report for name in known if (report := load(name))]
    write_between(DOCUMENT, markdown(reports), name="validity")
    print(f"written to {DOCUMENT}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
