"""The parameters and the body of an operation, and the schema of its arguments."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, get_args

from pydantic import JsonValue

from outlast.agents.openapi.documents import Document, Unusable
from outlast.agents.openapi.operations import Body, Parameter, Place, Style
from outlast.agents.openapi.schemas import SchemaReader
from outlast.jsonschema.schemas import Schema
from outlast.text.texts import shown

MAX_PARAMETERS = 200
"""Parameters of one operation."""

IDEMPOTENCY_HEADERS = ("idempotency-key", "x-idempotency-key")
"""Header parameters that a worker fills in, in lower case."""

_IGNORED_HEADERS = ("accept", "content-type", "authorization")
"""Header parameters that OpenAPI says to ignore."""

FORBIDDEN_HEADERS = frozenset(
    {
        *("host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer"),
        *("cookie", "keep-alive", "proxy-authorization", "proxy-connection", "expect"),
        *("accept-encoding", "content-encoding"),
    }
)
"""Headers that belong to the HTTP client."""

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")

_DEFAULT_STYLES: dict[Place, Style] = {
    "path": "simple",
    "query": "form",
    "header": "simple",
    "cookie": "form",
}

_STYLES: dict[Place, tuple[Style, ...]] = {
    "path": ("simple",),
    "query": ("form", "deepObject"),
    "header": ("simple",),
    "cookie": ("form",),
}

_FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class Inputs:
    """What a model gives an operation. `schema` is the JSON Schema of all arguments as one object."""

    parameters: tuple[Parameter, ...]
    body: Body | None
    schema: Schema
    key_header: str | None
    """The header of the idempotency key."""


def read_inputs(
    document: Document,
    item: Mapping[str, Any],
    operation: Mapping[str, Any],
    path: str,
    idempotency_header: str | None,
) -> Inputs:
    """Return the inputs of an operation at a path of the document. Raises `Unusable`."""
    schemas = SchemaReader(document)
    parameters: list[Parameter] = []
    fields: dict[str, JsonValue] = {}
    key_header = idempotency_header
    for node, place in _parameter_nodes(document, item, operation, path):
        parameter = _parameter(node, place, fields)
        lower = parameter.name.lower()
        if parameter.place == "header" and lower in _IGNORED_HEADERS:
            continue
        if parameter.place == "header" and lower in (
            *IDEMPOTENCY_HEADERS,
            (idempotency_header or "").lower(),
        ):
            key_header = parameter.name
            continue
        schema, is_json = _parameter_schema(schemas, node, parameter, place)
        parameters.append(replace(parameter, is_json=is_json))
        fields[parameter.argument] = schema
    body = None
    if operation.get("requestBody") is not None:
        body, schema = _body(document, schemas, operation["requestBody"], path, fields)
        fields[body.argument] = schema
    required = [each.argument for each in parameters if each.required]
    required += [body.argument] if body is not None and body.required else []
    whole: Schema = {"type": "object", "properties": fields, "additionalProperties": False}
    if required:
        whole["required"] = [*required]
    if schemas.definitions:
        whole["$defs"] = schemas.definitions
    return Inputs(tuple(parameters), body, whole, key_header)


def _parameter_nodes(
    document: Document, item: Mapping[str, Any], operation: Mapping[str, Any], path: str
) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the parameters of a path and an operation. Those of the operation take precedence."""
    found: dict[tuple[str, str], tuple[dict[str, Any], str]] = {}
    for owner, where in ((item, path.rpartition(".")[0]), (operation, path)):
        nodes = owner.get("parameters") or []
        if not isinstance(nodes, list):
            raise Unusable(f"{where}.parameters: {shown(nodes)} is not a list")
        if len(nodes) > MAX_PARAMETERS:
            raise Unusable(f"{where}.parameters: more than {MAX_PARAMETERS} parameters")
        for at, each in enumerate(nodes):
            place = f"{where}.parameters.{at}"
            node = document.resolved(each, place)
            found[str(node.get("in")), str(node.get("name"))] = (node, place)
    yield from found.values()


def _parameter(node: Mapping[str, Any], path: str, taken: Mapping[str, object]) -> Parameter:
    name: Any = node.get("name")
    place: Any = node.get("in")
    if not isinstance(name, str) or not name:
        raise Unusable(f"{path}.name: {shown(name)} is not a name")
    if place not in get_args(Place):
        raise Unusable(f"{path}.in: {shown(place)} must be path, query, header or cookie")
    if place in {"header", "cookie"} and not _HEADER_NAME.fullmatch(name):
        raise Unusable(f"{path}.name: {shown(name)} is not the name of a {place}")
    if place == "header" and name.lower() in FORBIDDEN_HEADERS:
        raise Unusable(f"{path}.name: the header {shown(name)} belongs to the HTTP client")
    style = node.get("style", _DEFAULT_STYLES[place])
    if style not in _STYLES[place]:
        allowed = ", ".join(_STYLES[place])
        raise Unusable(
            f"{path}.style: {shown(style)} is not supported for a {place}; use {allowed}"
        )
    return Parameter(
        name=name,
        argument=_argument(name, place, taken),
        place=place,
        style=style,
        explode=_flag(node, "explode", f"{path}.explode", default=style != "simple"),
        required=_flag(node, "required", f"{path}.required", default=place == "path"),
    )


def _argument(name: str, place: str, taken: Mapping[str, object]) -> str:
    """Return a name for models, whose APIs take letters, digits, `_`, `.` and `-`."""
    base = re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:50]
    numbered = (f"{base}_{place}_{number}" for number in range(2, MAX_PARAMETERS + 3))
    return next(each for each in (base, f"{base}_{place}", *numbered) if each not in taken)


def _flag(node: Mapping[str, Any], key: str, path: str, *, default: bool) -> bool:
    value = node.get(key, default)
    if not isinstance(value, bool):
        raise Unusable(f"{path}: {shown(value)} must be true or false")
    return value


def _parameter_schema(
    schemas: SchemaReader, node: Mapping[str, Any], parameter: Parameter, path: str
) -> tuple[JsonValue, bool]:
    """Return the schema of a parameter, and whether its value is JSON text."""
    content = node.get("content")
    if content is not None:
        media_type = next(iter(content), None) if isinstance(content, Mapping) else None
        if media_type is None or not _is_json(str(media_type)):
            raise Unusable(f"{path}.content: {shown(media_type)} is not supported; use JSON")
        node = {"description": node.get("description"), **_object(content[media_type], path)}
    given = node.get("schema", {"type": "string"} if content is None else True)
    schema = schemas.read(given, f"{path}.schema")
    if content is None:
        _check_flat(schemas, schema, parameter, f"{path}.schema")
    return _described(schema, node.get("description")), content is not None


def _check_flat(schemas: SchemaReader, schema: JsonValue, parameter: Parameter, path: str) -> None:
    """Raise `Unusable` for a schema whose values have no form in the style of the parameter."""
    schema = _followed(schemas, schema)
    if not isinstance(schema, dict):
        return
    if parameter.style == "deepObject" and schema.get("type") not in ("object", None):
        raise Unusable(f"{path}: the style deepObject is for objects")
    parts: dict[str, JsonValue] = {"items": schema.get("items")}
    properties = schema.get("properties")
    if isinstance(properties, dict):
        parts |= {f"properties.{name}": part for name, part in properties.items()}
    for name, part in parts.items():
        inner = _followed(schemas, part)
        if isinstance(inner, dict) and inner.get("type") in ("object", "array"):
            raise Unusable(
                f"{path}.{name}: {inner['type']}s in a {parameter.place} parameter are not supported"
            )


def _followed(schemas: SchemaReader, schema: JsonValue) -> JsonValue:
    for _ in range(len(schemas.definitions)):
        reference = schema.get("$ref") if isinstance(schema, dict) else None
        if not isinstance(reference, str):
            break
        schema = schemas.definitions.get(reference.removeprefix("#/$defs/"))
    return schema


def _described(schema: JsonValue, description: object) -> JsonValue:
    if not isinstance(description, str) or not description or not isinstance(schema, dict):
        return schema
    return schema if "description" in schema else {**schema, "description": description}


def _object(node: object, path: str) -> Mapping[str, Any]:
    if not isinstance(node, Mapping):
        raise Unusable(f"{path}: {shown(node)} is not an object")
    return node


def _is_json(media_type: str) -> bool:
    kind = media_type.partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")


def _body(
    document: Document,
    schemas: SchemaReader,
    node: object,
    path: str,
    taken: Mapping[str, object],
) -> tuple[Body, JsonValue]:
    path = f"{path}.requestBody"
    body = document.resolved(node, path)
    content = document.mapping(body, "content", path)
    media_type, kind = _media_type(content, path)
    media = _object(content[media_type], f"{path}.content.{media_type}")
    where = f"{path}.content.{media_type}.schema"
    given = media.get("schema", {"type": "string"} if kind == "text" else {})
    schema = schemas.read(given, where)
    fields: tuple[Parameter, ...] = ()
    if kind == "form":
        fields = _form_fields(schemas, schema, media, where)
    names = (name for name in ("body", "request_body", "request_body_2") if name not in taken)
    return (
        Body(
            argument=next(names),
            media_type="application/json" if media_type == "*/*" else media_type,
            kind=kind,
            required=_flag(body, "required", f"{path}.required", default=False),
            fields=fields,
        ),
        _described(schema, body.get("description")),
    )


def _media_type(content: Mapping[str, Any], path: str) -> tuple[str, Any]:
    """Return the first supported type of a body, and its kind: JSON, a form or text."""
    kinds = (
        ("json", lambda name: _is_json(name) or name in {"*/*", "application/*"}),
        ("form", lambda name: name.partition(";")[0].strip().lower() == _FORM),
        ("text", lambda name: name.partition(";")[0].strip().lower() == "text/plain"),
    )
    for kind, matches in kinds:
        for name in content:
            if matches(name):
                if not re.fullmatch(r"[\x20-\x7e]+", name):
                    raise Unusable(f"{path}.content: {shown(name)} is not a media type")
                return ("application/json" if "*" in name else name), kind
    raise Unusable(
        f"{path}.content: {shown(', '.join(content))} is not supported; JSON, {_FORM} and text/plain are"
    )


def _form_fields(
    schemas: SchemaReader, schema: JsonValue, media: Mapping[str, Any], path: str
) -> tuple[Parameter, ...]:
    """Return the fields of a form, with their styles."""
    followed = _followed(schemas, schema)
    properties = followed.get("properties") if isinstance(followed, dict) else None
    if not isinstance(properties, dict):
        raise Unusable(f"{path}: the schema of a form needs properties")
    encodings = media.get("encoding")
    found = []
    for name, part in properties.items():
        encoding = encodings.get(name) if isinstance(encodings, Mapping) else None
        given = encoding if isinstance(encoding, Mapping) else {}
        where = f"{path}.properties.{name}"
        node = {**{key: given[key] for key in ("style", "explode") if key in given}}
        field = _parameter({"name": name, "in": "query", **node}, where, {})
        _check_flat(schemas, part, field, where)
        found.append(replace(field, argument=name))
    return tuple(found)
