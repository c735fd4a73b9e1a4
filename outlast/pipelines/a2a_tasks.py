"""Reading `call: a2a`."""

from pydantic import JsonValue

from outlast.contracts.a2a_calls import A2aMethod
from outlast.contracts.effects import Effect
from outlast.pipelines.a2a_parameters import check_parameters
from outlast.pipelines.fields import Fields
from outlast.pipelines.http_tasks import NO_ENDPOINT, read_endpoint
from outlast.pipelines.places import below
from outlast.pipelines.task_context import TaskContext
from outlast.pipelines.tasks import A2aCall, Endpoint
from outlast.pipelines.templates import Template

METHODS: dict[str, A2aMethod] = {
    "message/send": "SendMessage",
    "tasks/get": "GetTask",
    "tasks/cancel": "CancelTask",
    "SendMessage": "SendMessage",
    "GetTask": "GetTask",
    "CancelTask": "CancelTask",
}
"""The methods by their names in the DSL, which are those of A2A 0.3, and in A2A 1.0."""

_STREAMS = "streams are not supported; 'message/send' waits for the end of the task"
_NOT_SUPPORTED = {
    "message/stream": _STREAMS,
    "tasks/resubscribe": _STREAMS,
    "tasks/list": "lists of tasks are not supported",
    "agent/getAuthenticatedExtendedCard": "extended agent cards are not supported",
    **dict.fromkeys(
        (f"tasks/pushNotificationConfig/{verb}" for verb in ("set", "get", "list", "delete")),
        "push notifications are not supported: 'message/send' waits for the end of the task",
    ),
}


def read_a2a(fields: Fields, task: TaskContext) -> A2aCall:
    """Return `call: a2a`."""
    method = _method(fields)
    has_card = "agentCard" in fields
    endpoint = _card(fields, task) if has_card else _server(fields, task)
    effect, audience = _options(task, method)
    return A2aCall(
        method=method,
        endpoint=endpoint,
        has_card=has_card,
        parameters=_parameters(fields, method, task),
        effect=effect,
        audience=audience,
    )


def _method(fields: Fields) -> A2aMethod:
    name = fields.text("method", required=True)
    if name in _NOT_SUPPORTED:
        fields.problems.add(fields.at("method"), _NOT_SUPPORTED[name])
    elif name and name not in METHODS:
        fields.problems.unknown(fields.at("method"), "method", name, list(METHODS))
    return METHODS.get(name, "SendMessage")


def _card(fields: Fields, task: TaskContext) -> Endpoint:
    fields.reject("server", "an agent has either an 'agentCard' or a 'server'")
    resource = fields.inner("agentCard", "an external resource")
    if resource is None or not isinstance(fields.value["agentCard"], dict):
        return NO_ENDPOINT
    resource.text("name")
    endpoint = read_endpoint(resource, "endpoint", task)
    resource.close()
    return endpoint


def _server(fields: Fields, task: TaskContext) -> Endpoint:
    if "server" not in fields:
        fields.raw("server")
        fields.problems.add(fields.place, "needs 'agentCard' or 'server'")
        return NO_ENDPOINT
    return read_endpoint(fields, "server", task)


def _parameters(fields: Fields, method: A2aMethod, task: TaskContext) -> Template:
    value = fields.raw("parameters", required=True)
    if "parameters" not in fields:
        return Template({}, {})
    is_expression = isinstance(value, str) and "${" in value
    if not is_expression:
        what = "the parameters of a method"
        given = Fields(fields.problems, value, fields.at("parameters"), what)
        if isinstance(value, dict) and "method" in fields:
            check_parameters(method, given, has_expressions=True)
    return fields.template("parameters", task.variables)


def _options(task: TaskContext, method: A2aMethod) -> tuple[Effect, str]:
    """Return the effect of a message, and who answers what the agent asks."""
    effect: Effect = "read" if method == "GetTask" else "idempotent"
    metadata: JsonValue = task.fields.value.get("metadata")
    if not isinstance(metadata, dict) or "outlast" not in metadata:
        return effect, ""
    place = below(task.fields.at("metadata"), "outlast")
    options = Fields(task.fields.problems, metadata["outlast"], place, "metadata.outlast")
    audience = ""
    if method == "SendMessage":
        known: tuple[Effect, ...] = ("idempotent", "write")
        found = options.choice("effect", known, default=effect)
        effect = next(each for each in known if each == found)
        audience = options.audience()
    options.close()
    return effect, audience
