"""Checks of what a model, or a worker with the role `generate`, returns as a decision.

Both the worker and the workflow use them. The worker prompts the model again; the workflow fails the run
by name, because only a broken or compromised worker returns such a decision. The functions are pure and
take time that is linear in the size of the decision.
"""

import json

from pydantic import JsonValue

from outlast.contracts.agents import PinnedAgent
from outlast.contracts.generation import GenerateInput
from outlast.contracts.messages import Decision
from outlast.jsonschema.decision_schema import MAX_CALLS_PER_TURN
from outlast.text.json_text import to_json
from outlast.text.texts import cut
from outlast.transcripts import decision_json
from outlast_activities.policies.schema_checker import MAX_ANSWER_DEPTH, is_deeper

MAX_DECISION_BYTES = 1_900_000
"""Bytes of a decision as JSON. The Temporal server rejects payloads above 2 MB."""

MAX_NAME_BYTES = 80
"""Bytes of a name in a problem: a model or a worker can write any name."""


MAX_DECISION_PROBLEM = 300
"""Bytes of a problem, which a failure or a prompt quotes."""


def size_problem(value: JsonValue) -> str | None:
    """Return why the payload codec or the Temporal server cannot carry a value, or None."""
    if is_deeper(value, MAX_ANSWER_DEPTH):
        return f"it is nested deeper than {MAX_ANSWER_DEPTH - 4} levels; give a flatter value"
    try:
        size = len(to_json(value).encode())
    except UnicodeEncodeError:
        return "it has half of a surrogate pair, which is not a character"
    except ValueError:
        return "it has a number that JSON cannot represent"
    if size > MAX_DECISION_BYTES:
        return f"it has {size:,} bytes, and at most {MAX_DECISION_BYTES:,} are allowed; be shorter"
    return None


def decision_problem(
    decision: Decision,
    agent: PinnedAgent,
    wanted: GenerateInput,
) -> str | None:
    """Return why a decision is not one that the model call `wanted` allows, or None.

    It checks the size, whether an answer is allowed, the number of calls and the names of their tools.
    It does not check schemas. For that, check `decision_json(decision)` against `decision_schema`.
    """
    if not decision.tool_calls:
        if not wanted.answer and _allowed(agent, wanted):
            return "the final answer is not allowed yet"
        return size_problem(decision_json(decision))
    most = MAX_CALLS_PER_TURN if wanted.max_calls is None else wanted.max_calls
    most = min(most, MAX_CALLS_PER_TURN)
    if len(decision.tool_calls) > most:
        return f"it has {len(decision.tool_calls)} tool calls, and at most {most} are allowed"
    if decision.answer is not None:
        return "it has both tool calls and an answer"
    allowed = _allowed(agent, wanted)
    for call in decision.tool_calls:
        if call.tool not in allowed:
            name = json.dumps(cut(call.tool, MAX_NAME_BYTES))
            known = ", ".join(sorted(allowed)) or "none"
            return cut(f"the tool {name} is not allowed; allowed: {known}", MAX_DECISION_PROBLEM)
    return size_problem(decision_json(decision))


def _allowed(agent: PinnedAgent, wanted: GenerateInput) -> set[str]:
    names = {tool.name for tool in agent.tools}
    return names if wanted.tools is None else names & set(wanted.tools)
