"""`call: http` and `call: openapi` with a real server: outputs, errors, credentials, retries and limits."""

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from temporalio.client import Client

from outlast.testing import ScriptedModel
from tests.stage import Stage, local_settings, on_stage
from tests.workflows.pipelines.petstore import PASSWORD, USER, PetStore, settings_for
from tests.workflows.pipelines.staging import document, failure_of, output_of

NO_MODEL = ScriptedModel([])
COMMUNICATION = "https://serverlessworkflow.io/spec/1.0.0/errors/communication"
AUTHORIZATION = "https://serverlessworkflow.io/spec/1.0.0/errors/authorization"


@pytest_asyncio.fixture(scope="module")
async def store() -> AsyncIterator[PetStore]:
    async with PetStore().open() as opened:
        yield opened


@pytest_asyncio.fixture(scope="module")
async def staged(temporal: Client, store: PetStore) -> AsyncIterator[Stage]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PETSTORE_LOGIN", f"{USER}:{PASSWORD}")
        patch.setenv("PETSTORE_TOKEN", PASSWORD)
        settings = settings_for(store, cached=0, has_secrets=True)
        async with on_stage(temporal, NO_MODEL, settings=settings) as opened:
            yield opened


@pytest.fixture
def stage(staged: Stage, store: PetStore) -> Stage:
    store.reset()
    return staged


def http(uri: Any, method: str = "get", **more: Any) -> dict[str, Any]:
    return {"call": "http", "with": {"method": method, "endpoint": uri, **more}}


async def test_a_request_has_all_its_parts(stage: Stage, store: PetStore) -> None:
    task = http(
        f"{store.url}/echo?from={{start}}",
        "post",
        query={"tags": ["a", "b c"], "none": None, "n": "${ .start }"},
        headers={"X-Trace": "${ .trace }"},
        body={"pet": "${ .name }"},
    )
    got = await output_of(
        stage, document({"echo": task}), {"start": "1&2", "trace": "t", "name": "Zoë"}
    )
    assert got["query"] == "from=1%262&tags=a&tags=b%20c&n=1%262"
    assert got["headers"]["x-trace"] == "t"
    assert json.loads(got["body"]) == {"pet": "Zoë"}
    assert len(got["headers"]["idempotency-key"]) == 36
    form = http(
        {"uri": f"{store.url}/echo"},
        "POST",
        headers={"content-type": "application/x-www-form-urlencoded"},
        body={"a": "b&c"},
    )
    assert (await output_of(stage, document({"form": form})))["body"] == "a=b%26c"


async def test_outputs_are_the_content_the_response_or_its_bytes(
    stage: Stage, store: PetStore
) -> None:
    tasks = document(
        {"content": {**http(f"{store.url}/bytes"), "export": {"as": "${ [.] }"}}},
        {
            "raw": {
                **http(f"{store.url}/v2/pet/3", output="raw"),
                "export": {"as": "${ $context + [.] }"},
            }
        },
        {"response": http(f"{store.url}/moved", output="response", redirect=True)},
        {"all": {"set": {"earlier": "${ $context }", "response": "${ . }"}}},
    )
    got = await output_of(stage, tasks)
    assert got["earlier"][0] == "AP8="
    assert got["earlier"][1].startswith("eyJpZCI6M")
    assert got["response"]["statusCode"] == 200
    assert got["response"]["content"]["id"] == 7
    assert got["response"]["request"]["method"] == "get"


async def test_secrets_stay_on_the_worker(stage: Stage, store: PetStore) -> None:
    uri = f"{store.url}/basic-auth/{USER}"
    pipeline = document(
        {"basic": http({"uri": uri, "authentication": {"use": "byLogin"}}, output="response")},
        {"bearer": http({"uri": uri, "authentication": {"bearer": {"use": "token"}}})},
        use={
            "secrets": ["login", "token"],
            "authentications": {"byLogin": {"basic": {"use": "login"}}},
        },
    )
    assert (await output_of(stage, pipeline))["authenticated"] is True
    history = b"".join(event.SerializeToString() for event in (await stage.last()).events)
    login = base64.b64encode(f"{USER}:{PASSWORD}".encode())
    assert PASSWORD.encode() not in history
    assert login not in history
    assert b"***" in history
    missing = document(
        {"get": http({"uri": uri, "authentication": {"bearer": {"use": "other"}}})},
        use={"secrets": ["other"]},
    )
    failure = await failure_of(stage, missing)
    assert "'other': add it to http.secrets" in failure.message


async def test_errors_of_a_server_are_those_of_the_dsl(stage: Stage, store: PetStore) -> None:
    failure = await failure_of(stage, document({"get": http(f"{store.url}/status/422")}))
    error = failure.details[0]
    assert (error["type"], error["status"]) == (COMMUNICATION, 422)
    assert error["instance"] == "/do/0/get"
    assert error["detail"] == f"GET {store.url}/status/422: the server answered 422: as told"
    moved = await failure_of(stage, document({"get": http(f"{store.url}/moved")}))
    assert moved.details[0]["status"] == 302
    away = await output_of(
        stage, document({"get": http(f"{store.url}/away", redirect=True, output="response")})
    )
    assert away["statusCode"] == 302


async def test_only_calls_that_may_be_repeated_are_retried(stage: Stage, store: PetStore) -> None:
    keyed = {
        **http(f"{store.url}/flaky", "post"),
        "metadata": {"outlast": {"effect": "idempotent"}},
    }
    assert await output_of(stage, document({"post": keyed})) == {"fails": 2}
    keys = [request.headers["idempotency-key"] for request in store.requests]
    assert len(keys) == 2
    assert keys[0] == keys[1]
    store.reset()
    failure = await failure_of(stage, document({"post": http(f"{store.url}/flaky", "post")}))
    assert failure.details[0]["status"] == 503
    assert "the call may have happened" in failure.message
    assert store.fails == 1


async def test_an_operation_of_an_openapi_document_is_called(stage: Stage, store: PetStore) -> None:
    place = {"endpoint": {"uri": f"{store.url}/openapi.json"}}
    add = {
        "call": "openapi",
        "with": {
            "document": place,
            "operationId": "addPet",
            "parameters": {"body": {"name": "${ .name }"}},
        },
    }
    added = await output_of(stage, document({"add": add}), {"name": "Rex"})
    assert added["name"] == "Rex"
    assert len(added["key"]) == 36
    assert await stage.activities() == ["find_openapi_operation", "call_http_write"]
    wrong = {"call": "openapi", "with": {"document": place, "operationId": "addPets"}}
    failure = await failure_of(stage, document({"add": wrong}))
    assert "'addPets' is not an operation; did you mean 'addPet'?" in failure.message


@pytest.mark.parametrize(
    ("uri", "value", "reason"),
    [
        ("https://api.example.com/", None, "add it to http.hosts"),
        ("${ .uri }", {"uri": "http://localhost:{port}/"}, "add it to http.hosts"),
        ("http://127.0.0.1:{port}/v2/pet/{id}", {"id": ".."}, "cannot be part of a path"),
        ("http://127.0.0.1:{port}/v2/pet/{id}", {"id": [1]}, "must be a text, a number"),
    ],
)
async def test_calls_that_are_not_allowed_reach_nothing(
    stage: Stage, store: PetStore, uri: str, value: Any, reason: str
) -> None:
    port = str(store.port)
    filled = json.loads(json.dumps(value).replace("{port}", port))
    failure = await failure_of(stage, document({"get": http(uri.replace("{port}", port))}), filled)
    assert reason in failure.message


async def test_without_the_setting_the_error_names_it(temporal: Client) -> None:
    caught = {
        "try": [{"get": http("https://api.example.com/pets/{id}")}],
        "catch": {
            "errors": {"with": {"type": AUTHORIZATION, "status": 403}},
            "as": "e",
            "do": [{"note": {"set": {"why": "${ $e.detail }"}}}],
        },
    }
    async with on_stage(temporal, NO_MODEL, settings=local_settings()) as stage:
        got = await output_of(stage, document({"safe": caught}))
    assert got["why"] == "HTTP calls are not allowed: set http.hosts in the settings of the workers"


async def test_an_answer_that_is_too_large_fails(stage: Stage, store: PetStore) -> None:
    failure = await failure_of(stage, document({"get": http(f"{store.url}/big?size=300000")}))
    assert failure.details[0]["status"] == 502
    assert "at most 256,000 are allowed" in failure.message
