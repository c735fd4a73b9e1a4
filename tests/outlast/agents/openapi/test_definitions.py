"""Tools from OpenAPI documents: what they are, and which documents are rejected."""

import copy
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from outlast import Agent, DefinitionError, tools_from_openapi
from outlast.agents.catalog import Catalog
from outlast.agents.openapi.openapi_tools import OpenApiTool

URL = "https://api.example.com/v1"

PET: dict[str, Any] = {
    "type": "object",
    "required": ["id", "name"],
    "properties": {
        "id": {"type": "integer", "readOnly": True},
        "name": {"type": "string", "nullable": True, "example": "Rex", "x-order": 1},
        "parents": {"type": "array", "items": {"$ref": "#/components/schemas/Pet"}},
    },
}

PETS: dict[str, Any] = {
    "openapi": "3.0.3",
    "servers": [{"url": "https://elsewhere.example"}],
    "paths": {
        "/pets/{petId}": {
            "parameters": [
                {"name": "petId", "in": "path", "required": True, "schema": {"type": "integer"}}
            ],
            "get": {"operationId": "getPet", "summary": "Read a pet.", "description": "One pet."},
            "put": {"requestBody": {"$ref": "#/components/requestBodies/Pet"}},
            "delete": {"operationId": "deletePet"},
        },
        "/pets": {
            "get": {
                "operationId": "pets/list",
                "parameters": [
                    {
                        "name": "tags",
                        "in": "query",
                        "description": "any of them",
                        "schema": {"type": "array", "items": {"type": "string"}},
                    },
                    {"name": "Authorization", "in": "header", "schema": {"type": "string"}},
                ],
            },
            "post": {
                "operationId": "createPet",
                "parameters": [{"name": "Idempotency-Key", "in": "header", "required": True}],
                "requestBody": {"$ref": "#/components/requestBodies/Pet"},
            },
        },
    },
    "components": {
        "schemas": {"Pet": PET},
        "requestBodies": {
            "Pet": {
                "required": True,
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}},
            }
        },
    },
}


def tools(document: Any = PETS, **options: Any) -> dict[str, OpenApiTool]:
    made = tools_from_openapi(document, **{"servers": URL, **options})
    return {tool.name: tool for tool in made if isinstance(tool, OpenApiTool)}


def with_operation(operation: dict[str, Any], path: str = "/x", **parts: Any) -> dict[str, Any]:
    return {"openapi": "3.1.0", "paths": {path: {"post": operation}}, **parts}


def test_operations_are_tools_with_the_effects_of_their_methods() -> None:
    assert {name: tool.spec.effect for name, tool in tools().items()} == {
        "getPet": "read",
        "put_pets_petId": "idempotent",
        "deletePet": "idempotent",
        "pets_list": "read",
        "createPet": "write",
    }


def test_arguments_are_one_object() -> None:
    made = tools()
    assert made["getPet"].spec.description == "Read a pet. One pet."
    assert made["put_pets_petId"].spec.parameters == {
        "type": "object",
        "properties": {"petId": {"type": "integer"}, "body": {"$ref": "#/$defs/Pet"}},
        "additionalProperties": False,
        "required": ["petId", "body"],
        "$defs": {
            "Pet": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": {"type": ["string", "null"]},
                    "parents": {"type": "array", "items": {"$ref": "#/$defs/Pet"}},
                },
            }
        },
    }
    listed: Any = made["pets_list"].spec.parameters["properties"]
    assert listed == {
        "tags": {"type": "array", "items": {"type": "string"}, "description": "any of them"}
    }
    assert made["createPet"].operation.idempotency_header == "Idempotency-Key"


@pytest.mark.parametrize("form", ["dict", "text", "path", "Path"])
def test_a_document_is_a_dict_or_text_or_a_file(tmp_path: Path, form: str) -> None:
    file = tmp_path / "pets.json"
    file.write_text(json.dumps(PETS))
    forms = {"dict": PETS, "text": json.dumps(PETS), "path": str(file), "Path": file}
    assert set(tools(forms[form])) == set(tools())


def test_the_developer_chooses_operations_and_their_options() -> None:
    made = tools(
        include=["get*", "createPet", "pets/*"],
        exclude=["pets/list"],
        effects={"createPet": "irreversible"},
        approvals={"getPet": "leads"},
        idempotency_header="X-Key",
        prefix="shop_",
        timeout=timedelta(seconds=7),
    )
    assert set(made) == {"shop_getPet", "shop_createPet"}
    create, get = made["shop_createPet"], made["shop_getPet"]
    assert create.spec.approval is not None
    assert create.spec.approval.audience == "operators"
    assert get.spec.approval is not None
    assert get.spec.approval.audience == "leads"
    assert get.spec.timeout_s == 7
    assert get.operation.idempotency_header is None
    agent = Agent("desk", "Help.", tools=list(made.values()))
    assert [spec.name for spec in agent.tool_specs] == list(made)


def test_tools_are_in_the_catalog_once() -> None:
    made = list(tools().values())
    agents = [Agent(name, "Help.", tools=made) for name in ("one", "two")]
    module: Any = type("module", (), {"__name__": "m"})
    for agent in agents:
        setattr(module, agent.name, agent)
    assert set(Catalog.of([module]).tools) == set(tools())


def test_no_server_of_the_document_is_used_by_itself() -> None:
    assert {tool.operation.server for tool in tools().values()} == {URL}
    document = copy.deepcopy(PETS)
    document["paths"]["/pets"]["servers"] = [
        {"url": "https://{region}.example.com", "variables": {"region": {"default": "eu"}}}
    ]
    with pytest.raises(DefinitionError, match="'pets/list'.*https://eu.example.com.*servers="):
        tools(document)
    made = tools(document, servers=[URL, "https://eu.example.com/"])
    assert made["createPet"].operation.server == "https://eu.example.com"
    assert made["getPet"].operation.server == URL


def test_variables_do_not_multiply_the_url_of_a_server() -> None:
    """In a document of 2 MB, a variable of 1 MB could be a million times in a URL."""
    document = copy.deepcopy(PETS)
    server = {"url": "https://{a}" * 9, "variables": {"a": {"default": "x" * 1_000}}}
    document["paths"]["/pets"]["servers"] = [server]
    with pytest.raises(DefinitionError, match="more than 4,000 characters"):
        tools(document)
    server |= {
        "url": "https://h/{a}",
        "variables": {"a": {"default": "{b}" * 1_300}, "b": {"default": "yyyy"}},
    }
    with pytest.raises(DefinitionError, match="more than 4,000 characters"):
        tools(document)


def test_names_of_two_places_get_two_arguments() -> None:
    node = [{"name": "id", "in": place} for place in ("query", "header", "cookie")]
    node += [{"name": "body", "in": "query"}, {"name": "filter[a b]", "in": "query"}]
    body = {"content": {"application/json": {"schema": {"type": "integer"}}}}
    (tool,) = tools(with_operation({"parameters": node, "requestBody": body})).values()
    properties: Any = tool.spec.parameters["properties"]
    assert list(properties) == [
        *("id", "id_header", "id_cookie", "body", "filter_a_b_", "request_body"),
    ]


SCHEMES = {
    "key": {"type": "apiKey", "in": "query", "name": "api_key"},
    "header": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
    "basic": {"type": "http", "scheme": "Basic"},
    "oauth": {"type": "oauth2", "flows": {}},
    "tls": {"type": "mutualTLS"},
}


@pytest.mark.parametrize(
    ("security", "credentials", "sent"),
    [
        (None, None, []),
        (None, "env:T", [("header", "authorization", "Bearer", "T")]),
        ([], "env:T", []),
        ([{}], "env:T", []),
        ([{"key": []}], "env:T", [("query", "api_key", "", "T")]),
        (
            [{"key": []}, {"basic": []}],
            {"basic": "env:B"},
            [("header", "authorization", "Basic", "B")],
        ),
        (
            [{"header": [], "oauth": []}],
            {"header": "env:H", "oauth": "env:O"},
            [("header", "X-Api-Key", "", "H"), ("header", "authorization", "Bearer", "O")],
        ),
        ([{"tls": []}, {}], {"key": "env:K"}, []),
    ],
)
def test_credentials_follow_the_security_of_an_operation(
    security: Any, credentials: Any, sent: list[tuple[str, ...]]
) -> None:
    operation = {} if security is None else {"security": security}
    document = with_operation(operation, components={"securitySchemes": SCHEMES})
    (tool,) = tools(document, credentials=credentials).values()
    found = [(c.place, c.name, c.scheme, c.variable) for c in tool.operation.credentials]
    assert found == sent


def body_of(schema: Any, kind: str = "application/json") -> dict[str, Any]:
    return {"requestBody": {"content": {kind: {"schema": schema}}}}


def parameter(**fields: Any) -> dict[str, Any]:
    return {"parameters": [{"name": "a", "in": "query", **fields}]}


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (body_of({"$ref": "https://evil.example/a.json"}), "other documents are not read"),
        (body_of({"$ref": "#/components/schemas/Nothing"}), "names nothing"),
        (body_of({"$ref": "#/components/schemas/Many/anyOf/1"}), "names nothing"),
        (body_of({"$ref": "#/components/schemas/Many/anyOf/0000000001"}), "names nothing"),
        (body_of({"$ref": "#/components/schemas/Many/anyOf/0"}), None),
        (body_of({"$ref": "#/components/schemas/Loop"}), "Loop"),
        (body_of({"$dynamicRef": "#x"}), "not supported"),
        (body_of({"type": "strin"}), "'strin'"),
        (body_of({"type": "string", "pattern": "("}), "regular expression"),
        (body_of({"type": "object"}, "multipart/form-data"), "multipart/form-data.*not supported"),
        (body_of({"type": "string"}, "application/x-www-form-urlencoded"), "needs properties"),
        (
            body_of({"properties": {"a": {"type": "object"}}}, "application/x-www-form-urlencoded"),
            None,
        ),
        ({"requestBody": {"$ref": "#/components/requestBodies/Loop"}}, "leads to more than"),
        (parameter(style="pipeDelimited"), "style: 'pipeDelimited'"),
        (parameter(**{"in": "body"}), "must be path, query"),
        (parameter(**{"in": "path"}), "does not contain the parameter 'a'"),
        (parameter(**{"in": "header", "name": "Host"}), "belongs to the HTTP client"),
        (parameter(**{"in": "header", "name": "a b"}), "not the name of a header"),
        (parameter(name=""), "not a name"),
        (parameter(required="yes"), "must be true or false"),
        (parameter(schema={"type": "array", "items": {"type": "object"}}), "objects in a query"),
        (parameter(content={"text/xml": {}}), "text/xml"),
        ({"parameters": {"a": 1}}, "not a list"),
        ({"operationId": "1"}, "cannot be the name"),
        ({"operationId": "x" * 65}, "cannot be the name"),
        ({"operationId": "generate"}, "cannot be the name"),
        ({"security": [{"key": []}]}, "credentials for 'key'"),
        ({"security": [{"tls": []}]}, "credentials for 'tls'"),
        ({"security": 3}, "security"),
    ],
)
def test_an_operation_that_cannot_work_is_named(operation: Any, message: str | None) -> None:
    components = {
        "securitySchemes": SCHEMES,
        "schemas": {
            "Loop": {"$ref": "#/components/schemas/Loop"},
            "Many": {"anyOf": [{"type": "string"}]},
        },
        "requestBodies": {"Loop": {"$ref": "#/components/requestBodies/Loop"}},
    }
    document = with_operation({"operationId": "make", **operation}, components=components)
    if message is None:
        assert tools(document)
        return
    with pytest.raises(DefinitionError, match=message) as caught:
        tools(document)
    name = operation.get("operationId", "make")
    assert repr(name)[:40] in str(caught.value)
    assert "exclude=" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "path", ["x", "/x?a=1", "/a/../b", "/{a", "/{missing}", "/a b", "/ü", "/a\\b", "//{a}}"]
)
def test_a_path_that_cannot_work_is_named(path: str) -> None:
    with pytest.raises(DefinitionError, match="'make'"):
        tools(with_operation({"operationId": "make"}, path=path))


@pytest.mark.parametrize(
    ("document", "options", "message"),
    [
        ({"swagger": "2.0", "paths": {}}, {}, "'2.0'.*convert"),
        ({}, {}, "not a supported version"),
        ({"openapi": "3.1.0"}, {}, "no operation is left"),
        ({"openapi": "3.1.0", "paths": []}, {}, "paths"),
        ({"openapi": "3.1.0", "paths": {"/a": 3}}, {}, "paths./a"),
        ({"openapi": "3.1.0", "paths": {"/a": {"get": 3}}}, {}, "paths./a.get"),
        ("{", {}, "not JSON.*yaml"),
        ("no_such_file.json", {}, "neither JSON text nor a file"),
        ("\0", {}, "neither JSON text nor a file"),
        (3, {}, "dict, JSON text"),
        (PETS, {"servers": ()}, "servers"),
        (PETS, {"servers": "api.example.com"}, "http://"),
        (PETS, {"servers": "https://user:pw@api.example.com"}, "password"),
        (PETS, {"servers": "https://api.example.com/?a"}, "query"),
        (PETS, {"servers": "https://api.example.com/../a"}, "'..'"),
        (PETS, {"servers": "https://:443"}, "host"),
        (PETS, {"servers": "https://a:99999"}, "host"),
        (PETS, {"include": ["getPets"]}, "did you mean 'getPet'"),
        (PETS, {"include": "getPet"}, "list of names"),
        (PETS, {"exclude": ["*"]}, "no operation is left"),
        (PETS, {"effects": {"getPets": "read"}}, "did you mean 'getPet'"),
        (PETS, {"effects": {"getPet": "reads"}}, "did you mean 'read'"),
        (PETS, {"approvals": {"getPet": 3}}, "approval 3"),
        (PETS, {"credentials": "secret"}, "env:NAME"),
        (PETS, {"credentials": {"key": "env:K"}}, "not a security scheme"),
        (PETS, {"credentials": 3}, "env:NAME"),
        (PETS, {"idempotency_header": "a b"}, "idempotency_header"),
        (PETS, {"prefix": "1"}, "cannot be the name"),
        (PETS, {"timeout": 3}, "timedelta"),
    ],
)
def test_wrong_documents_and_options_are_one_line(
    document: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(DefinitionError, match=message) as caught:
        tools(document, **options)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value) or "holds the secret" in str(caught.value)


def test_all_operations_that_cannot_work_are_named_together() -> None:
    paths = {f"/{at}": {"post": {"operationId": f"make{at}", "security": 3}} for at in range(20)}
    with pytest.raises(DefinitionError, match="19 other operations.*'make1'.*9 more"):
        tools({"openapi": "3.1.0", "paths": paths})


def test_two_operations_of_one_name_are_rejected() -> None:
    paths = {path: {"get": {"operationId": "get"}} for path in ("/a", "/b")}
    with pytest.raises(DefinitionError, match="two tools are named 'get'"):
        tools({"openapi": "3.1.0", "paths": paths})


def test_more_operations_than_an_agent_takes_are_chosen_by_name() -> None:
    paths: dict[str, Any] = {f"/{at}": {"get": {}} for at in range(65)}
    with pytest.raises(DefinitionError, match="65 operations.*at most 64"):
        tools({"openapi": "3.1.0", "paths": paths})
