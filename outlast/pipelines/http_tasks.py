"""Reading `call: http` and `call: openapi`."""

from typing import TYPE_CHECKING

from pydantic import JsonValue

from outlast.contracts.effects import Effect
from outlast.contracts.http_calls import HTTP_EFFECTS, HttpAuthentication, HttpOutput
from outlast.contracts.names import NAME_RULE
from outlast.pipelines.fields import NAME, Fields, quoted
from outlast.pipelines.places import below
from outlast.pipelines.tasks import Endpoint, HttpCall, OpenApiCall
from outlast.pipelines.templates import Template
from outlast.pipelines.uri_templates import uri_problem

if TYPE_CHECKING:
    from outlast.pipelines.task_context import TaskContext

MAX_OPERATION_ID = 200
"""Characters of the name of an OpenAPI operation."""

OUTPUTS: tuple[HttpOutput, ...] = ("content", "response", "raw")

_SECRET_HEADERS = ("authorization", "proxy-authorization", "cookie")
_RECORDED = (
    "the history would record it: name a secret of the workers in use.secrets, and give {use: NAME}"
)


def read_http(fields: Fields, task: "TaskContext") -> HttpCall:
    """Return `call: http`."""
    method = fields.text("method", required=True).upper()
    if method and method not in HTTP_EFFECTS:
        fields.problems.unknown(fields.at("method"), "method", method, list(HTTP_EFFECTS))
    endpoint = read_endpoint(fields, "endpoint", task)
    headers = read_object(fields, "headers", task)
    for name in headers.value if isinstance(headers.value, dict) else ():
        if name.lower() in _SECRET_HEADERS:
            place = below(fields.at("headers"), name)
            fields.problems.add(place, "use 'endpoint.authentication' with a secret instead")
    return HttpCall(
        method=method,
        effect=_effect(task, HTTP_EFFECTS.get(method, "write")),
        endpoint=endpoint,
        headers=headers,
        query=read_object(fields, "query", task),
        body=fields.template("body", task.variables),
        output=_output(fields),
        redirect=fields.flag("redirect", default=False),
    )


def read_openapi(fields: Fields, task: "TaskContext") -> OpenApiCall:
    """Return `call: openapi`."""
    resource = fields.inner("document", "an external resource")
    if resource is None:
        fields.raw("document", required=True)
        resource = Fields(fields.problems, {}, fields.at("document"), "an external resource")
        document = NO_ENDPOINT
    else:
        resource.text("name")
        document = read_endpoint(resource, "endpoint", task)
        resource.close()
    if document.authentication is not None:
        fields.problems.add(
            resource.at("endpoint"), "a document with 'authentication' is not supported"
        )
    operation_id = fields.text("operationId", required=True)
    if len(operation_id) > MAX_OPERATION_ID:
        fields.problems.add(
            fields.at("operationId"), f"has more than {MAX_OPERATION_ID} characters"
        )
    return OpenApiCall(
        document=document,
        operation_id=operation_id,
        arguments=read_object(fields, "parameters", task),
        authentication=_authentication(fields, task),
        output=_output(fields),
        redirect=fields.flag("redirect", default=False),
    )


_NOTHING = Template({}, {})
NO_ENDPOINT = Endpoint(_NOTHING, is_template=True, authentication=None)


def read_endpoint(fields: Fields, name: str, task: "TaskContext") -> Endpoint:
    """Return an endpoint: a URI, or an object with one and its credentials."""
    owner, field = fields, name
    authentication = None
    if isinstance(fields.value.get(name), dict):
        inner = fields.inner(name, "an endpoint")
        assert inner is not None  # noqa: S101 the field is an object
        owner, field = inner, "uri"
        authentication = _authentication(inner, task)
    uri = owner.text(field, required=True)
    endpoint = NO_ENDPOINT
    if "${" in uri:
        compiled = owner.template(field, task.variables)
        endpoint = Endpoint(compiled, is_template=False, authentication=authentication)
    elif uri:
        problem = uri_problem(uri)
        if problem is not None:
            owner.problems.add(owner.at(field), f"{quoted(uri)} {problem}")
        endpoint = Endpoint(Template(uri, {}), is_template=True, authentication=authentication)
    if owner is not fields:
        owner.close()
    return endpoint


def read_object(fields: Fields, name: str, task: "TaskContext") -> Template:
    """Return an object, or an expression for one."""
    if name not in fields:
        fields.raw(name)
        return _NOTHING
    value = fields.value[name]
    if not isinstance(value, dict) and not (isinstance(value, str) and "${" in value):
        fields.raw(name)
        fields.problems.add(fields.at(name), f"{quoted(value)} is not an object")
        return _NOTHING
    return fields.template(name, task.variables)


def _output(fields: Fields) -> HttpOutput:
    found = fields.choice("output", OUTPUTS, default="content")
    return next(each for each in OUTPUTS if each == found)


def _effect(task: "TaskContext", default: Effect) -> Effect:
    """Return the effect of a call: that of its method, or `metadata.outlast.effect`."""
    metadata = task.fields.value.get("metadata")
    if not isinstance(metadata, dict) or "outlast" not in metadata:
        return default
    place = below(task.fields.at("metadata"), "outlast")
    options = Fields(task.fields.problems, metadata["outlast"], place, "metadata.outlast")
    known: tuple[Effect, ...] = ("read", "idempotent", "write")
    found = options.choice("effect", known, default=default)
    options.close()
    return next(each for each in known if each == found)


def _authentication(fields: Fields, task: "TaskContext") -> HttpAuthentication | None:
    """Return the credentials of a call, which `use.authentications` may define."""
    value: JsonValue = fields.value.get("authentication")
    if isinstance(value, dict) and "use" in value:
        reference = fields.inner("authentication", "an authentication")
        assert reference is not None  # noqa: S101 the field is an object
        policy = task.definitions.fields(reference, "use", "authentications", "an authentication")
        reference.close()
    else:
        policy = task.definitions.fields(
            fields, "authentication", "authentications", "an authentication"
        )
    if policy is None:
        return None
    for name in ("digest", "oauth2", "oidc", "certificate"):
        policy.reject(name, "is not supported; 'basic' and 'bearer' are")
    found = [name for name in ("basic", "bearer") if name in policy]
    if len(found) != 1:
        if policy.value.keys() <= {"basic", "bearer"}:
            policy.problems.add(policy.place, "needs 'basic' or 'bearer'")
        policy.close()
        return None
    scheme = policy.inner(found[0], "a scheme")
    policy.close()
    return None if scheme is None else _secret(scheme, task, is_basic=found[0] == "basic")


def _secret(scheme: Fields, task: "TaskContext", *, is_basic: bool) -> HttpAuthentication:
    for name in ("username", "password") if is_basic else ("token",):
        scheme.reject(name, _RECORDED)
    if scheme.value and "use" not in scheme:
        scheme.close()
        return HttpAuthentication(scheme="Basic" if is_basic else "Bearer", secret="")
    secret = scheme.matching("use", NAME, NAME_RULE)
    if secret and secret not in task.definitions.secrets:
        scheme.problems.unknown(
            scheme.at("use"), "name in use.secrets", secret, task.definitions.secrets
        )
    scheme.close()
    return HttpAuthentication(scheme="Basic" if is_basic else "Bearer", secret=secret)
