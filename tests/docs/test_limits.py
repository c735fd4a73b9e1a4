"""docs/limits.md has every bound that a user can reach, with the value that the code has."""

from collections.abc import Iterator

import pytest
from annotated_types import Le
from outlast_workers.settings import Settings
from pydantic import BaseModel

from outlast.contracts.agents import ToolSpec
from outlast.contracts.human import Approval
from outlast.contracts.limits import Limits
from tests.docs.bounds import PAGE, Row, constants, numbers, rows

INTERNAL: dict[str, tuple[str, ...]] = {
    "bounds the text that a message, a log line or the UI shows": (
        "api_containers.MAX_NAME",
        "base.MAX_EXAMPLE_CHARACTERS",
        "prompts.MAX_NAME",
        "store.MAX_REASON",
        "hook_calls.MAX_REASON",
        "media.ID_CHARACTERS",
        "tools.MAX_REASON_BYTES",
        *("cards.MAX_INTERFACES_SHOWN", "failures.MAX_MESSAGE_BYTES"),
        "api_nodes.MAX_DESCRIPTION",
        "api_references.MAX_NAME",
        "answer_check.MAX_PROBLEM",
        "hints.MAX_KNOWN_BYTES",
        "chat_probe.MAX_VERSION",
        "error_bodies.MAX_WORDS",
        "error_bodies.MAX_DEPTH",
        "error_bodies.MAX_ENTRIES",
        "streams.MAX_MODEL_NAME",
        "decision_text.MAX_MARKS",
        "decision_text.MAX_OBJECTS",
        "error_classes.MAX_WAIT_CHARACTERS",
        "redaction.MIN_PREFIX",
        "bounded_body.PIECE_BYTES",
        "activity.MAX_ERROR",
        "attempt.MAX_QUOTED_CHARACTERS",
        "channels.MAX_OUTPUT",
        "client.MAX_SUMMARY_BYTES",
        "connection.MAX_REASON_BYTES",
        "decision_check.MAX_DECISION_PROBLEM",
        "decision_check.MAX_NAME_BYTES",
        "decisions.MAX_QUOTED_BYTES",
        "run_commands.MAX_TYPE_BYTES",
        "deletion_costs.MAX_REASON_CHARS",
        "demo.MAX_TEXT_BYTES",
        "answer_text.MAX_HEAD_CHARACTERS",
        "answer_text.MAX_BEGIN_CHARACTERS",
        "answer_text.MAX_MARK_CHARACTERS",
        "answer_streams.ATTEMPT_STEP",
        "answer_hub.REPLACED",
        "response_items.LAST_EVENTS",
        "response_items.TEXT_STEP",
        "answer_streams.MILLISECONDS",
        "display_text.MAX_ARGUMENTS",
        "bounds.MAX_PROBLEMS",
        "fields.MAX_VALUE_SHOWN",
        "places.MAX_KEY_BYTES",
        "places.MAX_KNOWN",
        "templates.MAX_SHOWN",
        "uri_templates.MAX_SHOWN",
        "payload_store.MAX_SEGMENT",
        "values.MAX_SHOWN",
        "tokens.MAX_QUOTED",
        "graph.MAX_LABEL_BYTES",
        *("svg.MAX_LANES", "svg.MAX_WAY_BYTES", "svg.LINE", "svg.GAP", "svg.PAD", "svg.LANE"),
        "svg_canvas.LETTER",
        *("paths.MAX_PATH_SHOWN", "machine.MAX_NAMES_BYTES"),
        "pipeline_files.MAX_PROBLEM_BYTES",
        "error_text.MAX_ERROR_TEXT",
        "error_text.MAX_GROUP_DEPTH",
        "error_text.MAX_GROUP_ERRORS",
        "display_text.MAX_AUDIENCE_BYTES",
        "display_text.MAX_EXCHANGE",
        "display_text.MAX_EXCHANGE_BYTES",
        "display_text.MAX_SUMMARY_BYTES",
        "display_text.MAX_TIMER_BYTES",
        "display_text.MAX_WHY_BYTES",
        "error_classes.MAX_MESSAGE",
        "error_classes.MAX_SEARCHED",
        "inbox.MAX_REASON_BYTES",
        "inbox.MAX_SUMMARY_BYTES",
        "waiting.MAX_ASKED_BYTES",
        "run_view.LABEL_WIDTH",
        "api_containers.MAX_NAME",
        "api_references.MAX_NAME",
        "connections.MAX_REASON_BYTES",
        "texts.MAX_SHOWN_BYTES",
        "openapi_tools.MAX_PROBLEM_BYTES",
        "openapi_tools.MAX_NAMED",
        "failures.MAX_ERROR_BYTES",
        "failures.MAX_REASON_BYTES",
        "answers.MAX_REASON_BYTES",
        "tools.MAX_ERROR_BYTES",
        "service.MAX_DESCRIPTION_BYTES",
        "run_view.MIN_TEXT_BYTES",
        "commands.MAX_LINE_BYTES",
        "gate_runs.MAX_REASON_BYTES",
        "arguments.MAX_QUOTED_BYTES",
        "outcome.MAX_REASON_BYTES",
        "payloads.MAX_ENCODING_BYTES",
        "inbox.MIN_SUMMARY_BYTES",
        "notify.MAX_NAME_BYTES",
        "notify.MAX_SUBJECT_BYTES",
        "output_check.MAX_PROBLEM_BYTES",
        "plugin.MAX_MESSAGE",
        "plugin.MAX_STACK_TRACE",
        "registry.MAX_REASON",
        "structured_outputs.MAX_REASON",
        "model_servers.MAX_PROFILE_NAME",
        "run_display.MAX_DESCRIPTION",
        "run_display.MAX_DOING",
        "state.MAX_USER_MESSAGE",
        "safe_text.MAX_MARKS",
        "schema_checker.MAX_PROBLEM",
        "agent_environment.POLL_S",
        "output_check.MAX_RETURNED_BYTES",
        "plausible_values.MAX_DEPTH",
        "schema_checks.MAX_PATH",
        "schema_checks.MAX_QUOTED",
        "schema_checks.MAX_REMARKS",
        "schema_checks.MAX_UNKNOWN_KEYWORDS",
        "servers.MAX_TAIL_BYTES",
        "settings_errors.MAX_SHOWN_CHARS",
        "settings_errors.MAX_PLACES",
        "step_failures.MAX_CAUSE",
        "streams.MAX_QUOTED_CHARACTERS",
        "texts.MAX_VALUE_BYTES",
        "start_requests.MAX_QUOTED_BYTES",
        "validation.MAX_PATH_BYTES",
        "base.MAX_EXAMPLE_CHARACTERS",
        "validation.MAX_REASONS",
    ),
    "bounds a cache that is filled again": (
        "prompts.MAX_SCHEMAS_BYTES",
        "leg_checks.MAX_VERDICT_BYTES",
        "activity.MAX_MEMORIES",
        "metrics.MAX_SERIES",
        "trace_interceptor.MAX_CACHED_CONTEXTS",
        "chat_client.MAX_IDLE_CONNECTIONS",
        "chat_client.MAX_URLS",
        "chat_client.REST_TIMEOUT_S",
        "prompts.MAX_REMEMBERED_CHARACTERS",
        "prompts.MAX_REMEMBERED_DECISIONS",
        "chat_completions.MAX_CONSTRAINT_BYTES",
        "chat_completions.MAX_PROFILES",
        "run_start.MAX_SHARED_AGENT_BYTES",
        "patterns.MAX_CACHED_BYTES",
        "patterns.MAX_CACHED_PATTERNS",
        "schema_checker.MAX_CACHED_SCHEMAS",
        "schema_checker.MAX_CACHED_SCHEMA_BYTES",
        "schema_evaluation.MAX_MATCHERS",
        "transcript_cache.ENTRY_OVERHEAD_BYTES",
        "transcripts.OPAQUE_OVERHEAD_BYTES",
        "transcripts.USAGE_BYTES",
        "transcript_cache.MAX_AGENT_BYTES",
        "activity.MAX_SCHEMA_BYTES",
    ),
    "weighs what counts under a bound on the page": ("answers.ENTRY_CHARACTERS",),
    "estimates tokens or prices": (
        "server.MESSAGE_TOKENS",
        "prompt_memory.TEMPLATE_TOKENS",
        "chat_completions.MESSAGE_TOKENS",
        "packing.ENTRY_BYTES",
        "generation.MILLION",
        "streams.BYTES_PER_TOKEN",
        "streams.IN_FLIGHT_TOKENS",
        "testing.CHARACTERS_PER_TOKEN",
    ),
    "tunes how a loop in a completion is found": (
        "attempt.LOOP_TOKENS_FACTOR",
        "loops.CHECK_EVERY",
        "loops.MAX_PERIODS",
        "loops.PROBE_CHARACTERS",
        "loops.REPEATS",
        "loops.WINDOW",
        "request_fields.MIN_BLANKS",
    ),
    "tunes a retry of a completion": (
        "chat_completions.MAX_TEMPERATURE",
        "chat_completions.TEMPERATURE_STEP",
    ),
    "sizes the prompt that probes a model server": ("chat_probe.PROBE_TOKENS",),
    "is a code of JSON-RPC": ("transports.NOT_SENT", "transports.SESSION_ENDED"),
    "is an exit status of a command": (
        "pipeline_commands.EXIT_INVALID",
        "pipeline_view.EXIT_FAILED",
        "pipeline_view.EXIT_STOPPED",
        "run_commands.EXIT_FAILED",
        "console.EXIT_INTERRUPTED",
        "commands.EXIT_DRAINING",
        "commands.EXIT_FAILED",
        "commands.EXIT_INTERRUPTED",
        "commands.EXIT_STOPPED",
        "run_commands.EXIT_STOPPED",
    ),
    "is the share of all runs": ("plan.ALL_PERCENT",),
    "is a parameter of the planner's model, which runs nothing": (
        "actions.ACTIONS_PER_RUN",
        "actions.ACTIONS_PER_TURN",
        "break_even.BISECTIONS",
        "break_even.RESOLUTION",
        "cold_claims.LOST_S",
        "cold_claims.SEED",
        "team_claims.TRANSITIONS_PER_STEP",
        "estimate.MIN_RUNS",
        "estimate.SMALLEST_PART",
        "estimate.TURN_OVERHEAD_S",
        "price_list.HOURS_A_MONTH",
        "price_list.MAX_AGE_DAYS",
        "report.SHOWN_SWINGS",
        "settings_files.HEADROOM",
        "settings_files.LAST_LEG_WITHIN_S",
        "scaling.CONTROLLER_POLL_S",
        "scaling.COOLOFF_S",
        "simulation.PATIENCE_S",
        "workload.DAY_H",
    ),
    "keeps a limit above zero": ("budget.SMALLEST_WAIT_S",),
    "is an interval at which a process looks again": (
        "pipeline_view.LOOK_EVERY_S",
        "attempt_protocol.BEATS_PER_TIMEOUT",
        "activity.FIRST_BEAT",
        "attempt_protocol.HAND_BACK_DELAY",
        "connection.RETRY_INTERVAL_S",
        "deletion_costs.RELEVANT_FACTOR",
        "plan.INTERVAL_S",
        "promotion.CHANGE_INTERVAL_S",
        "embedded_model.PARENT_POLL_S",
        "idle.CHECK_INTERVAL_S",
        "modal_dispatch.INTERVAL_S",
        "modal_lease.CHECK_INTERVAL_S",
        "model_servers.PROBE_EVERY_S",
        "model_servers.REPORT_EVERY_S",
        "servers.POLL_INTERVAL_S",
        "servers.PROBE_TIMEOUT_S",
        "telemetry.HEARTBEAT_INTERVAL",
        "tool_loop.TICK_S",
        "tool_code.CHECK_S",
        "telemetry.METRICS_INTERVAL",
        "temporal_source.DEFAULT_HEARTBEAT_INTERVAL",
        "dev.WAIT_NOTICE_S",
        "worker_process.CHECK_INTERVAL_S",
    ),
    "bounds passes of an event loop": ("effect_calls.LOOP_PASSES",),
    "counts what a task costs beside its expressions": ("gate.TASK_STEPS",),
    "is the shortest timer, which ends a workflow task": ("gate.PAUSE",),
    "tunes how a transcript is packed": (
        "packing.COMPRESSION_LEVEL",
        "packing.MAX_ROUNDS",
        "packing.SAFETY",
    ),
    "leaves a margin below a bound on the page": (
        "service.GRPC_GRACE_S",
        "tool_activity.TIMEOUT_MARGIN_S",
        "client.MARGIN_S",
    ),
    "never ends first: the platform kills the container earlier": (
        "vllm_container.WORKER_STOP_TIMEOUT_S",
    ),
    "is a port, or a size of the local demonstration": (
        "__main__.UI_PORT",
        "demo.PAUSE_S",
        "embedded_model.CACHED_PROMPTS_MIB",
        "embedded_model.CONTEXT_PER_SLOT",
        "embedded_model.PARALLEL",
        "idle.DEFAULT_WORKFLOW_TASKS",
        "servers.MODEL_PORT",
        "servers.TEMPORAL_PORT",
    ),
}
"""Bounds that are not on the page, as `module.NAME`, by the reason."""

NO_BOUNDS = frozenset({"port", "grpc_port", "temperature"})
"""Settings with numbers that bound nothing."""


def on_page() -> dict[tuple[str, str], float]:
    return {(row.source, row.name): row.value for row in rows(PAGE.read_text())}


def internal() -> set[str]:
    return {name for names in INTERNAL.values() for name in names}


def short_name(source: str, name: str) -> str:
    return f"{source.removesuffix('.py').rpartition('/')[2]}.{name}"


def defaults() -> dict[tuple[str, str], float]:
    """Return the bounds that people set, and the largest limits that they can set, by place and name."""
    limits = {
        ("limits", name): float(rule.le)
        for name, field in Limits.model_fields.items()
        for rule in field.metadata
        if isinstance(rule, Le) and isinstance(rule.le, int | float)
    }
    settings = _numbers_of(Settings())
    approval = _numbers_of(Approval(audience="support-leads"))
    return {
        **limits,
        **{("outlast.toml", name): value for name, value in settings},
        **{("Approval", name): value for name, value in approval},
        ("@tool", "timeout"): float(ToolSpec.model_fields["timeout_s"].default),
    }


def _numbers_of(model: BaseModel, table: str = "") -> Iterator[tuple[str, float]]:
    fields: dict[str, object] = dict(model)
    for name, value in fields.items():
        if isinstance(value, bool) or name in NO_BOUNDS:
            continue
        if isinstance(value, int | float):
            yield f"{table}{name}", float(value)
        elif isinstance(value, BaseModel) and not table:
            yield from _numbers_of(value, f"{name}.")


def test_every_bound_is_on_the_page_or_internal() -> None:
    page, hidden = on_page(), internal()
    missing = {
        f"{source}: {name} = {value:g}"
        for (source, name), value in constants().items()
        if (source, name) not in page and short_name(source, name) not in hidden
    }
    assert not missing, "add these to docs/limits.md, or to INTERNAL with a reason"


def test_the_page_has_the_values_of_the_code() -> None:
    known = constants() | defaults()
    assert {key: known.get(key) for key in on_page()} == on_page()


def test_every_default_is_on_the_page() -> None:
    assert set(defaults()) <= set(on_page())


def test_internal_bounds_exist_and_are_not_on_the_page() -> None:
    known = {short_name(source, name) for source, name in constants()}
    assert internal() <= known
    shown = {short_name(source, name) for source, name in on_page()}
    assert not internal() & shown


def test_no_bound_is_twice_on_the_page() -> None:
    names = [(row.source, row.name) for row in rows(PAGE.read_text())]
    assert len(names) == len(set(names))


def test_numbers_are_read_from_assignments() -> None:
    source = "A = 2\nB: int = A * 10**3\nC = timedelta(minutes=A)\nD = 'x'\nE = f(2)\nlower = 1\n"
    assert numbers(source) == {"A": 2, "B": 2_000, "C": 120}


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("| `A` | 1,000 | bytes | rejected | `outlast/a.py` |", 1_000),
        ("| `A` | 2 | min | expires | `outlast/a.py` |", 120),
    ],
)
def test_rows_are_read_in_their_unit(line: str, value: float) -> None:
    assert list(rows(line)) == [Row("A", value, "outlast/a.py")]
