"""The names of spans, attributes and metrics: those of OpenTelemetry's conventions, and outlast's own.

The names under `gen_ai.` are in both `CONVENTIONS` and v0.1.0 of the conventions' new repository,
`open-telemetry/semantic-conventions-genai`. Names that differ between them are left out: for example, the
new repository renames the attribute of tokens that a cache took in. `tests/activities/telemetry` compares
them with the package.
"""

from typing import Final

CONVENTIONS: Final = "opentelemetry-semantic-conventions 0.66b2"
"""The pinned release of the conventions, as a Python package."""

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"
"""The schema that this release describes. Spans and metrics carry it."""

SCOPE: Final = "outlast"
"""The instrumentation scope of all spans and metrics."""

INVOKE_AGENT: Final = "invoke_agent"
CHAT: Final = "chat"
EXECUTE_TOOL: Final = "execute_tool"
"""The values of `OPERATION`, and the first words of the names of spans."""

OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
AGENT_NAME: Final = "gen_ai.agent.name"
CONVERSATION: Final = "gen_ai.conversation.id"
OUTPUT_TYPE: Final = "gen_ai.output.type"
REQUEST_MODEL: Final = "gen_ai.request.model"
REQUEST_MAX_TOKENS: Final = "gen_ai.request.max_tokens"
RESPONSE_MODEL: Final = "gen_ai.response.model"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
CACHED_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
REASONING_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"
TOKEN_TYPE: Final = "gen_ai.token.type"  # noqa: S105 no secret
TOOL_NAME: Final = "gen_ai.tool.name"
TOOL_CALL_ID: Final = "gen_ai.tool.call.id"
TOOL_TYPE: Final = "gen_ai.tool.type"
SYSTEM_INSTRUCTIONS: Final = "gen_ai.system_instructions"
INPUT_MESSAGES: Final = "gen_ai.input.messages"
OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
TOOL_ARGUMENTS: Final = "gen_ai.tool.call.arguments"
TOOL_RESULT: Final = "gen_ai.tool.call.result"
"""The last five hold content. They are recorded only with the setting `trace_content`."""

ERROR_TYPE: Final = "error.type"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
HTTP_METHOD: Final = "http.request.method"
HTTP_ROUTE: Final = "http.route"
HTTP_STATUS: Final = "http.response.status_code"
"""Of the general conventions, which are stable."""

WORKFLOW_ID: Final = "temporalWorkflowID"
WORKFLOW_RUN_ID: Final = "temporalRunID"
ACTIVITY_ID: Final = "temporalActivityID"
"""As the tracing of all Temporal SDKs names them."""

ATTEMPT: Final = "outlast.attempt"
"""The number of the activity attempt. One attempt makes each of its spans once."""
IS_LOCAL: Final = "outlast.local"
"""Whether a tool call is a local activity."""
PROMPT_NUMBER: Final = "outlast.prompt_number"
"""The number of the prompt in its attempt: above 1, it repeats a prompt after a wrong answer."""
TURN: Final = "outlast.turn"
MODEL_SERVER: Final = "outlast.model_server"
"""The name of the model server in the settings."""
QUEUE_WAIT_S: Final = "outlast.queue_wait_s"
"""Seconds that the attempt waited for a worker."""

REQUEST_ID: Final = "outlast.request_id"
REQUEST_KIND: Final = "outlast.request_kind"
"""`approval` or `question`."""
AUDIENCE: Final = "outlast.audience"
OUTCOME: Final = "outlast.outcome"
"""The outcome of a request: `approved`, `denied`, `answered`, `expired`, or `moot` without one."""
NOTICE_REASON: Final = "outlast.notice_reason"
"""Why a notice was sent: the request was `opened`, `reminded` or `escalated`."""
TASK: Final = "outlast.task"
"""The place of a task in the document of its pipeline."""

WAIT_FOR_PERSON: Final = "wait_for_person"
NOTIFY: Final = "notify"
"""The first words of the names of outlast's own spans."""

OPERATION_DURATION: Final = "gen_ai.client.operation.duration"
TOKEN_USAGE: Final = "gen_ai.client.token.usage"  # noqa: S105 no secret
"""The metrics of the conventions."""

TOOL_DURATION: Final = "outlast_tool_duration_seconds"
QUEUE_WAIT: Final = "outlast_queue_wait_seconds"
PROMPTS_REPEATED: Final = "outlast_prompts_repeated"
COST: Final = "outlast_model_cost_usd"
SPILLOVERS: Final = "outlast_spillovers"
REQUESTS_OPENED: Final = "outlast_requests_opened"
REQUEST_WAIT: Final = "outlast_request_wait_seconds"
"""outlast's own metrics. No label has an unlimited number of values: tenants and runs are not labels."""
