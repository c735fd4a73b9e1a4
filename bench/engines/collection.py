"""`python -m bench.engines.collection DIR`: how outlast copes with the JSON Schemas of a collection.

`DIR` holds JSON files. A file is a schema, or has the fields `schema` and `tests`, as in JSONSchemaBench
(https://github.com/guidance-ai/jsonschemabench). Each schema is defined as an output type, divided for each
engine, and compiled by the engine. xgrammar also says which of the valid values it would not admit. The
check of answers is compared with the labels of the tests.
"""

import argparse
import asyncio
import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from outlast_activities.constraints.constraints import constraint_for
from outlast_activities.constraints.engines import Engine
from outlast_activities.policies.schema_checker import SchemaChecker
from outlast_workers.local.ports import free_port
from outlast_workers.local.servers import EmbeddedModel

from bench.engines.prompts import pinned
from bench.engines.value_forms import forms
from bench.engines.vllm_install import install
from bench.processes import LOGS
from outlast import Agent
from outlast.errors import DefinitionError, ModelError
from outlast.jsonschema.decision_schema import decision_schema

EXAMPLES = 12
XGRAMMAR_SCRIPT = Path(__file__).parent / "grammar_process.py"
REQUEST_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Compiled:
    """What an engine made of a schema: why it cannot compile it, and which values it does not admit."""

    problem: str | None = None
    tried: int = 0
    refused: tuple[int, ...] = ()


Compile = Callable[[dict[str, Any], Sequence[Any]], Compiled]
"""Compiles a schema, and tries valid values with it if the engine can do that here."""


@dataclass(frozen=True)
class Entry:
    """A schema of the collection, with values that are valid or not."""

    name: str
    schema: Any
    tests: tuple[dict[str, Any], ...] = ()


@dataclass
class Counts:
    """What happened to the schemas. The examples name a schema and a reason."""

    schemas: int = 0
    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    enforced: Counter[Engine] = field(default_factory=Counter)
    failed: dict[Engine, list[str]] = field(default_factory=dict)
    tried: Counter[Engine] = field(default_factory=Counter)
    excluded: dict[Engine, list[str]] = field(default_factory=dict)
    agreed: int = 0
    differing: list[str] = field(default_factory=list)


def entries(folder: Path, limit: int) -> Iterator[Entry]:
    """Yield the schemas below a folder, at most `limit`."""
    for path in sorted(folder.rglob("*.json"))[:limit]:
        content = json.loads(path.read_text(errors="replace"))
        if isinstance(content, dict) and "schema" in content and "tests" in content:
            yield Entry(path.name, content["schema"], tuple(content["tests"]))
        else:
            yield Entry(path.name, content)


def measure(found: Iterable[Entry], compilers: dict[Engine, Compile]) -> Counts:
    """Define, divide and compile each schema, and check the values of its tests."""
    counts = Counts(
        failed={engine: [] for engine in compilers}, excluded={engine: [] for engine in compilers}
    )
    for entry in found:
        counts.schemas += 1
        began = time.process_time()
        try:
            agent = Agent(name="bench", instructions="Answer.", output=entry.schema)
        except DefinitionError as error:
            counts.refused[_kind_of(str(error))] += 1
            continue
        finally:
            counts.slowest_s = max(counts.slowest_s, time.process_time() - began)
        counts.accepted += 1
        decision = decision_schema(pinned(agent))
        for engine, compile_ in compilers.items():
            _compile(entry, decision, engine, compile_, counts)
        _check(entry, decision, counts)
    return counts


def _kind_of(reason: str) -> str:
    """Return the reason without the path and the values that are in it."""
    words = reason.partition(": ")[2] or reason
    return " ".join(word for word in words.split() if "'" not in word and not word.isdigit())[:80]


def _compile(
    entry: Entry, decision: dict[str, Any], engine: Engine, compile_: Compile, counts: Counts
) -> None:
    constraint = constraint_for(decision, engine)
    values = [{"answer": test["data"]} for test in entry.tests if test["valid"]]
    compiled = compile_(constraint.schema, values)
    if compiled.problem is not None:
        counts.failed[engine].append(f"{entry.name}: {compiled.problem}")
    elif not constraint.checked_after:
        counts.enforced[engine] += 1
    counts.tried[engine] += compiled.tried
    counts.excluded[engine] += [
        f"{entry.name}: {json.dumps(values[at])[:150]}" for at in compiled.refused
    ]


def _check(entry: Entry, decision: dict[str, Any], counts: Counts) -> None:
    checker = SchemaChecker()
    for test in entry.tests:
        try:
            problem = checker.problem({"answer": test["data"]}, decision, key=entry.name)
        except ModelError as error:
            problem = f"ModelError: {error}"
        if (problem is None) == test["valid"]:
            counts.agreed += 1
        else:
            label = "valid" if test["valid"] else "invalid"
            counts.differing.append(f"{entry.name}: {label}: {problem or 'accepted'}"[:200])


def llguidance_compiler() -> Compile:
    """Return a compiler of the engine `guidance`. The package `llguidance` must be installed."""
    from llguidance import LLMatcher  # type: ignore[import-not-found]  # noqa: PLC0415

    def compile_(schema: dict[str, Any], _: Sequence[Any]) -> Compiled:
        grammar = LLMatcher.grammar_from_json_schema(json.dumps(schema))
        return Compiled(LLMatcher.validate_grammar(grammar) or None)

    return compile_


def outlines_compiler() -> Compile:
    """Return a compiler of the engine `outlines`: the schema becomes a regular expression."""
    from outlines.types.dsl import JsonSchema, to_regex  # noqa: PLC0415

    def compile_(schema: dict[str, Any], _: Sequence[Any]) -> Compiled:
        try:
            to_regex(JsonSchema(json.dumps(schema)))
        except (TypeError, ValueError) as error:
            return Compiled(str(error))
        return Compiled()

    return compile_


@contextmanager
def xgrammar_compiler() -> Iterator[Compile]:
    """Yield a compiler of the engine `xgrammar`, which runs in vLLM's environment."""
    command = [str(install().python), "-P", str(XGRAMMAR_SCRIPT)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def compile_(schema: dict[str, Any], values: Sequence[Any]) -> Compiled:
            assert process.stdin is not None
            assert process.stdout is not None
            question = {"schema": schema, "values": [forms(value, schema) for value in values]}
            process.stdin.write(json.dumps(question) + "\n")
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())
            return Compiled(answer["problem"], len(values), tuple(answer["refused"]))

        yield compile_


def server_compiler(url: str) -> Compile:
    """Return a compiler of a running llama.cpp server, which compiles the schema of each request."""
    client = httpx2.Client(trust_env=False, timeout=REQUEST_TIMEOUT_S)

    def compile_(schema: dict[str, Any], _: Sequence[Any]) -> Compiled:
        named = {"name": "x", "strict": True, "schema": schema}
        body = {
            "messages": [{"role": "user", "content": "x"}],
            "max_tokens": 2,
            "response_format": {"type": "json_schema", "json_schema": named},
        }
        response = client.post(f"{url}/chat/completions", json=body)
        if response.is_success:
            return Compiled()
        return Compiled(f"{response.status_code} {response.text[:150]}")

    return compile_


def shown(counts: Counts) -> str:
    """Return the counts as text."""
    lines = [
        f"schemas: {counts.schemas}",
        f"accepted: {counts.accepted} ({counts.accepted / max(1, counts.schemas):.1%})",
        f"slowest definition: {counts.slowest_s * 1000:.0f} ms of CPU",
        *(f"  refused: {number} x {kind}" for kind, number in counts.refused.most_common(EXAMPLES)),
    ]
    for engine, failed in counts.failed.items():
        lines.append(
            f"{engine}: {len(failed)} do not compile, {counts.enforced[engine]} are enforced whole"
        )
        lines += [f"  {example}" for example in failed[:EXAMPLES]]
        excluded = counts.excluded[engine]
        if counts.tried[engine]:
            lines.append(
                f"{engine}: {len(excluded)} of {counts.tried[engine]} valid values excluded"
            )
            lines += [f"  {example}" for example in excluded]
    total = counts.agreed + len(counts.differing)
    lines.append(f"values: {total}, checked as labelled: {counts.agreed}")
    lines += [f"  {example}" for example in counts.differing[:EXAMPLES]]
    return "\n".join(lines)


async def main() -> None:
    """Measure the collection that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m bench.engines.collection")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--engines", nargs="*", default=["outlines"])
    parser.add_argument("--limit", type=int, default=1_000_000)
    options = parser.parse_args()
    compilers: dict[Engine, Compile] = {}
    if "outlines" in options.engines:
        compilers["outlines"] = outlines_compiler()
    if "guidance" in options.engines:
        compilers["guidance"] = llguidance_compiler()
    found = entries(options.folder, options.limit)
    async with AsyncExitStack() as opened:
        if "xgrammar" in options.engines:
            compilers["xgrammar"] = opened.enter_context(xgrammar_compiler())
        if "llama.cpp" in options.engines:
            server = await opened.enter_async_context(EmbeddedModel(log_dir=LOGS, port=free_port()))
            compilers["llama.cpp"] = server_compiler(server.url)
        print(shown(await asyncio.to_thread(measure, found, compilers)))


if __name__ == "__main__":
    asyncio.run(main())
