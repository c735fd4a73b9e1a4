"""Reading calls: the functions `agent`, `tool` and `ask`, calls of other servers, and `run: workflow`."""

from collections.abc import Callable, Collection

from pydantic import BaseModel, JsonValue, ValidationError

from outlast.contracts.human import MAX_WAIT_S, SHORTEST_WAIT_S, Approval, Escalation
from outlast.contracts.limits import Limits
from outlast.contracts.names import NAME_RULE, mcp_tool_name
from outlast.contracts.requests import AgentSpec
from outlast.pipelines.a2a_tasks import read_a2a
from outlast.pipelines.fields import NAME, Fields, quoted
from outlast.pipelines.http_tasks import read_http, read_openapi
from outlast.pipelines.places import Problems, below
from outlast.pipelines.task_context import TaskContext
from outlast.pipelines.tasks import A2aCall, AgentCall, AskCall, HttpCall, OpenApiCall, ToolCall
from outlast.pipelines.templates import Template
from outlast.validation import explain

Variables = Collection[str]

Call = AgentCall | ToolCall | AskCall | HttpCall | OpenApiCall | A2aCall

AGENTS_NAMESPACE = "agents"
"""The namespace of `run: workflow` whose names are the agents of the workers."""

DEFAULT_AUDIENCE = "operators"
DEFAULT_EXPIRY_S = 86_400.0

_NOT_SUPPORTED = {
    "grpc": "gRPC calls are not supported",
    "asyncapi": "AsyncAPI calls are not supported",
}


def read_call(context: TaskContext) -> Call | None:
    """Return the call of a task, or None with a problem."""
    task = context.fields
    function = task.text("call", required=True)
    if function in _NOT_SUPPORTED:
        task.raw("with")
        task.problems.add(task.at("call"), _NOT_SUPPORTED[function])
        return None
    reader = _READERS.get(function)
    if reader is None:
        task.raw("with")
        if function:
            task.problems.unknown(task.at("call"), "function", function, list(_READERS))
        return None
    if "with" not in task:
        task.raw("with", required=True)
        return None
    arguments = Fields(
        task.problems, task.raw("with"), task.at("with"), f"the input of {function!r}"
    )
    call = reader(arguments, context)
    arguments.close()
    return call


def _read_agent(fields: Fields, task: TaskContext) -> AgentCall:
    if "spec" in fields:
        fields.reject("agent", "an agent has either a registered name or a 'spec'")
        name = _spec_name(fields)
    else:
        name = fields.matching("agent", NAME, NAME_RULE)
    fields.template("input", task.variables, required=True)
    if "limits" in fields:
        _validate(fields, "limits", Limits)
    wanted: dict[str, JsonValue] = {
        key: fields.value[key] for key in ("agent", "spec", "input", "limits") if key in fields
    }
    return AgentCall(
        name, _compiled(fields, wanted, task.variables), is_registered="spec" not in fields
    )


def _spec_name(fields: Fields) -> str:
    spec = fields.raw("spec")
    _validate(fields, "spec", AgentSpec)
    name = spec.get("name") if isinstance(spec, dict) else None
    return name if isinstance(name, str) else "spec"


def _validate(fields: Fields, name: str, model: type[BaseModel]) -> None:
    try:
        model.model_validate(fields.raw(name))
    except ValidationError as error:
        fields.problems.add(fields.at(name), explain(error, model))


def _compiled(fields: Fields, value: dict[str, JsonValue], variables: Variables) -> Template:
    """Compile some of the fields, whose problems are known already: they are not added again."""
    whole = Fields(Problems(), {"with": value}, fields.place, "the input")
    fixed: dict[str, JsonValue] = {key: value[key] for key in ("spec", "limits") if key in value}
    compiled = whole.template("with", variables)
    if any("${" in str(each) for each in fixed.values()):
        fields.problems.add(fields.place, "'spec' and 'limits' cannot have expressions")
    return compiled


def read_agent_run(run: Fields, variables: Variables) -> AgentCall | None:
    """Return the agent of `run: workflow`, which is another spelling of `call: agent`."""
    for kind in ("container", "script", "shell"):
        run.reject(kind, "runs a program on a worker, which is not supported; use a tool")
    if not run.flag("await", default=True):
        run.problems.add(
            run.at("await"), "only true is supported: a pipeline waits for what it starts"
        )
    run.reject("return", "belongs to programs, which are not supported")
    fields = run.inner("workflow", "a workflow")
    run.close()
    if fields is None:
        if "container" not in run and "script" not in run and "shell" not in run:
            run.raw("workflow", required=True)
        return None
    namespace = fields.text("namespace", required=True)
    if namespace and namespace != AGENTS_NAMESPACE:
        fields.problems.add(
            fields.at("namespace"),
            f"{quoted(namespace)} is not known; only {AGENTS_NAMESPACE!r}, with the agents of the workers",
        )
    name = fields.matching("name", NAME, NAME_RULE)
    fields.text("version", required=True)
    fields.template("input", variables, required=True)
    value = fields.value.get("input")
    fields.close()
    request: dict[str, JsonValue] = {"agent": name, "input": value}
    return AgentCall(name, _compiled(fields, request, variables))


def _read_tool(fields: Fields, task: TaskContext) -> ToolCall:
    tool = fields.matching("tool", NAME, NAME_RULE)
    return ToolCall(tool, _arguments(fields, task))


def _arguments(fields: Fields, task: TaskContext) -> Template:
    value = fields.value.get("arguments", {})
    if not isinstance(value, dict) and not (isinstance(value, str) and "${" in value):
        fields.problems.add(
            fields.at("arguments"), f"{quoted(value)} is not an object of arguments"
        )
    if "arguments" not in fields:
        return Template({}, {})
    return fields.template("arguments", task.variables)


def _read_mcp(fields: Fields, task: TaskContext) -> ToolCall:
    """Return the call of a tool of an MCP server, which an agent or the catalog of the workers defines."""
    fields.choice("method", ("tools/call",))
    fields.reject("transport", "is not supported: name a server of the workers with 'server'")
    fields.reject("timeout", "is not supported; give the task a 'timeout'")
    server = fields.matching("server", NAME, NAME_RULE)
    parameters = fields.inner("parameters", "the parameters of 'tools/call'")
    if parameters is None:
        fields.raw("parameters", required=True)
        return ToolCall(server, Template({}, {}))
    tool = parameters.text("name", required=True)
    arguments = _arguments(parameters, task)
    parameters.close()
    name = mcp_tool_name(server, tool)
    if server and tool and not NAME.fullmatch(name):
        parameters.problems.add(
            parameters.at("name"), f"{quoted(tool)} makes the name {quoted(name)}; {NAME_RULE}"
        )
    return ToolCall(name, arguments)


def _read_ask(fields: Fields, task: TaskContext) -> AskCall:
    question = fields.template("question", task.variables, required=True)
    if not isinstance(question.value, str | None):
        fields.problems.add(fields.at("question"), f"{quoted(question.value)} is not a text")
    audience = fields.audience(default=DEFAULT_AUDIENCE)
    answer = fields.raw("answer")
    schema = None
    if "answer" in fields:
        schema = fields.checked_schema(answer, fields.at("answer"))
    expires_s = fields.seconds("expires_s", default=DEFAULT_EXPIRY_S, least=SHORTEST_WAIT_S)
    remind_s = fields.seconds("remind_s", default=None, least=SHORTEST_WAIT_S)
    call = AskCall(
        question=question,
        audience=audience,
        answer_schema=schema or {"type": "string"},
        expires_s=expires_s or MAX_WAIT_S,
        remind_s=remind_s,
        escalate=_read_escalations(fields),
    )
    try:
        approval_of(call)
    except ValidationError as error:
        fields.problems.add(fields.place, explain(error))
    return call


def approval_of(call: AskCall) -> Approval:
    """Return who answers a question, and until when. Raises pydantic's `ValidationError`."""
    return Approval(
        audience=call.audience,
        expires_s=call.expires_s,
        remind_s=call.remind_s,
        escalate=tuple(Escalation(audience=name, after_s=after) for name, after in call.escalate),
    )


def _read_escalations(fields: Fields) -> tuple[tuple[str, float], ...]:
    value = fields.raw("escalate")
    if "escalate" not in fields:
        return ()
    if not isinstance(value, list):
        fields.problems.add(fields.at("escalate"), f"{quoted(value)} is not an array")
        return ()
    steps = []
    for number, each in enumerate(value):
        step = Fields(fields.problems, each, below(fields.at("escalate"), number), "an escalation")
        name = step.audience(required=True)
        after_s = step.seconds("after_s", default=None, least=SHORTEST_WAIT_S)
        if after_s is None:
            step.raw("after_s", required=True)
        step.close()
        if name and after_s is not None:
            steps.append((name, after_s))
    return tuple(steps)


_READERS: dict[str, Callable[[Fields, TaskContext], Call]] = {
    "agent": _read_agent,
    "tool": _read_tool,
    "ask": _read_ask,
    "mcp": _read_mcp,
    "http": read_http,
    "openapi": read_openapi,
    "a2a": read_a2a,
}
"""The functions that a task can call."""
