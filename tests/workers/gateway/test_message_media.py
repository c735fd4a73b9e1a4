"""Images and files through each interface of the gateway: stored for the tenant, or refused by name."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from outlast_activities.generation.endpoint import Endpoint
from outlast_workers.gateway.message_media import MAX_MESSAGE_MEDIA
from outlast_workers.settings_sections.media import MediaSettings
from temporalio.client import Client as TemporalClient

from outlast import Agent, Image
from outlast.testing import ScriptedModel, answer
from tests.workers.gateway.doors import Doors, doors

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8_000
"""More than the body of a request without images may have."""

DATA_URL = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
CSV = base64.b64encode(b"a,b").decode()
URL = "https://images.example/a.png"
viewer = Agent("viewer", "Look.")


@asynccontextmanager
async def gateway_with_media(
    temporal: TemporalClient, model: ScriptedModel, folder: Path
) -> AsyncIterator[Doors]:
    media = MediaSettings(store=folder.as_uri(), url_hosts=("images.example",))
    async with doors(temporal, model, [viewer], media=media) as gateway:
        yield gateway


async def ended(client: Any, run_id: str) -> Any:
    async with asyncio.timeout(40):
        while True:
            response = await client.get(f"/runs/{run_id}")
            if response.status_code == 200 and {"output", "error"} & response.json().keys():
                return response.json()
            await asyncio.sleep(0.05)


def seen_by(model: ScriptedModel) -> list[tuple[bytes, str]]:
    return [(part.data, part.url) for part in model.prompts[-1].media.values()]


def stored_for(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


ALL = [(PNG, ""), (b"", URL), (b"a,b", "")]


async def test_runs_take_images_and_files(temporal: TemporalClient, tmp_path: Path) -> None:
    model = ScriptedModel([answer("A dog.")])
    media = [{"image": DATA_URL}, {"image": URL}, {"file": CSV, "name": "a.csv"}]
    async with gateway_with_media(temporal, model, tmp_path) as gateway, gateway.client() as ann:
        body = {"agent": "viewer", "input": "What is it?", "media": media}
        response = await ann.post("/runs", json=body)
        assert response.status_code == 201, response.text
        assert (await ended(ann, response.json()["id"]))["output"] == "A dog."
    assert seen_by(model) == ALL
    assert stored_for(tmp_path) == {"tenant-acme"}


async def test_responses_take_images_and_files(temporal: TemporalClient, tmp_path: Path) -> None:
    model = ScriptedModel([answer("A dog."), answer("A cat.")])
    content = [
        {"type": "input_text", "text": "What is it?"},
        {"type": "input_image", "image_url": DATA_URL, "detail": "auto"},
        {"type": "input_image", "image_url": URL},
        {"type": "input_file", "filename": "a.csv", "file_data": CSV},
    ]
    async with gateway_with_media(temporal, model, tmp_path) as gateway, gateway.client() as ann:
        body: dict[str, Any] = {"model": "viewer", "input": [{"role": "user", "content": content}]}
        first = await ann.post("/v1/responses", json=body)
        assert first.status_code == 200, first.text
        assert seen_by(model) == ALL
        body |= {"previous_response_id": first.json()["id"]}
        body["input"] = [{"role": "user", "content": [content[1]]}]
        second = await ann.post("/v1/responses", json=body)
        assert second.json()["output"][-1]["content"][0]["text"] == "A cat."
    assert seen_by(model) == ALL


async def test_chat_front_ends_send_images_and_documents(
    temporal: TemporalClient, tmp_path: Path
) -> None:
    model = ScriptedModel([answer("A dog.")])
    content = [
        {"type": "text", "text": "What is it?"},
        {
            "type": "image",
            "source": {
                "type": "data",
                "value": DATA_URL.partition(",")[2],
                "mimeType": "image/png",
            },
        },
        {"type": "image", "source": {"type": "url", "value": URL}},
        {"type": "document", "source": {"type": "data", "value": CSV, "mimeType": "text/csv"}},
    ]
    message = {"id": "u1", "role": "user", "content": content}
    body: dict[str, Any] = {"threadId": "t1", "runId": "r1", "messages": [message]}
    async with gateway_with_media(temporal, model, tmp_path) as gateway, gateway.client() as ann:
        response = await ann.post("/agui/viewer", json=body)
        assert response.status_code == 200, response.text
        assert "[image 2.0 MB image/png]" in response.text
        assert "media:" not in response.text
    assert seen_by(model) == ALL


REFUSED_MEDIA: list[tuple[Any, str]] = [
    ([{"image": "http://x.example/a.png"}], "media.0.image: Image: 'http://x.example/a.png' must"),
    ([{"image": "https://other.example/a.png"}], "the host 'other.example' of an image or a file"),
    ([{"image": "!"}], "media.0.image: is not base64, and no https URL"),
    ([{"image": CSV}], "media.0.image: Image"),
    ([{"image": "data:image/png,abc"}], "media.0.image: the data URL has no base64"),
    ([{"file": CSV, "image": CSV}], "media.0: give either 'image' or 'file'"),
    ([{}], "media.0: give either 'image' or 'file'"),
    ([{"file": CSV}], "media.0.file: File: the media type is unknown"),
    ([{"file": CSV, "name": "a.csv"}] * (MAX_MESSAGE_MEDIA + 1), "media"),
]
REFUSED_PARTS: list[tuple[Any, str]] = [
    ({"type": "input_image", "file_id": "f1"}, "input.0.content.0.file_id: is not supported"),
    ({"type": "input_audio"}, "input.0.content.0: only input_text, input_image and input_file"),
    ({"type": "input_image"}, "input.0.content.0.image_url: must be an https URL"),
    ({"type": "input_text", "text": 3}, "input.0.content.0.text: must be text"),
]


async def test_what_cannot_be_used_is_refused_by_name(
    temporal: TemporalClient, tmp_path: Path
) -> None:
    model = ScriptedModel([])
    async with gateway_with_media(temporal, model, tmp_path) as gateway, gateway.client() as ann:
        for media, reason in REFUSED_MEDIA:
            body: Any = {"agent": "viewer", "input": "What is it?", "media": media}
            response = await ann.post("/runs", json=body)
            assert (response.status_code, reason in response.text) == (400, True), response.text
        for part, reason in REFUSED_PARTS:
            body = {"model": "viewer", "input": [{"role": "user", "content": [part]}]}
            response = await ann.post("/v1/responses", json=body)
            assert (response.status_code, reason in response.text) == (400, True), response.text
    assert list(tmp_path.iterdir()) == []


async def test_without_a_store_images_are_refused(temporal: TemporalClient) -> None:
    small = base64.b64encode(PNG[:20]).decode()
    async with doors(temporal, ScriptedModel([]), [viewer]) as gateway, gateway.client() as ann:
        body = {"agent": "viewer", "input": "?", "media": [{"image": small}]}
        refused = await ann.post("/runs", json=body)
        assert refused.status_code == 400
        assert "images and files need a media store: set media.store" in refused.text
        large = await ann.post("/runs", json=body | {"media": [{"image": DATA_URL}]})
        assert large.status_code == 413


async def test_a_principal_cannot_read_the_images_of_another_tenant(
    temporal: TemporalClient, tmp_path: Path
) -> None:
    model = ScriptedModel([answer("A dog."), answer("Nothing.")])
    reference = Image.from_bytes(PNG).reference
    async with gateway_with_media(temporal, model, tmp_path) as gateway:
        async with gateway.client() as ann:
            body = {"agent": "viewer", "input": "What?", "media": [{"image": DATA_URL}]}
            await ended(ann, (await ann.post("/runs", json=body)).json()["id"])
        assert len(seen_by(model)) == 1
        async with gateway.client("eve") as eve:
            body = {"agent": "viewer", "input": f"What is {reference}?"}
            await ended(eve, (await eve.post("/runs", json=body)).json()["id"])
        assert seen_by(model) == []


async def test_a_model_without_images_fails_by_name(
    temporal: TemporalClient, tmp_path: Path
) -> None:
    model = ScriptedModel([])
    endpoints = {"": Endpoint(model, 1_024, images=False, model="blind")}
    media = MediaSettings(store=tmp_path.as_uri())
    async with (
        doors(temporal, endpoints, [viewer], media=media) as gateway,
        gateway.client() as ann,
    ):
        body = {"agent": "viewer", "input": "What?", "media": [{"image": DATA_URL}]}
        result = await ended(ann, (await ann.post("/runs", json=body)).json()["id"])
    assert result["status"] == "failed"
    assert "model 'blind' takes no images" in result["error"]
    assert model.prompts == []


IN_OTHER_INTERFACES: list[tuple[str, Any]] = [
    (
        "/ai/viewer",
        {
            "id": "media-ai",
            "messages": [
                {
                    "id": "u1",
                    "role": "user",
                    "parts": [
                        {"type": "file", "mediaType": "image/png", "url": DATA_URL},
                        {"type": "file", "mediaType": "image/png", "url": URL},
                        {
                            "type": "file",
                            "mediaType": "text/csv",
                            "url": f"data:text/csv;base64,{CSV}",
                        },
                        {"type": "text", "text": "What is it?"},
                    ],
                }
            ],
        },
    ),
    (
        "/v1/chat/completions",
        {
            "model": "viewer",
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": DATA_URL}},
                        {"type": "image_url", "image_url": {"url": URL}},
                        {"type": "file", "file": {"filename": "a.csv", "file_data": CSV}},
                        {"type": "text", "text": "What is it?"},
                    ],
                }
            ],
        },
    ),
    (
        "/a2a/viewer",
        {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "SendMessage",
            "params": {
                "message": {
                    "messageId": "m1",
                    "role": "ROLE_USER",
                    "parts": [
                        {"mediaType": "image/png", "raw": DATA_URL.partition(",")[2]},
                        {"mediaType": "image/png", "url": URL},
                        {"mediaType": "text/csv", "raw": CSV, "filename": "a.csv"},
                        {"text": "What is it?"},
                    ],
                }
            },
        },
    ),
]


async def test_the_other_interfaces_take_images_and_files(
    temporal: TemporalClient, tmp_path: Path
) -> None:
    model = ScriptedModel([answer("A dog.")], repeat_last=True)
    async with (
        gateway_with_media(temporal, model, tmp_path) as gateway,
        gateway.client(**{"a2a-version": "1.0"}) as ann,
    ):
        for path, body in IN_OTHER_INTERFACES:
            response = await ann.post(path, json=body)
            assert response.status_code == 200, response.text
            assert "A dog." in response.text, (path, response.text)
            assert seen_by(model) == ALL, path
    assert len(model.prompts) == len(IN_OTHER_INTERFACES)
