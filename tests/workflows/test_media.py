"""Images in real runs: their bytes stay out of the history, and tools and models see the same ones."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from outlast_activities.generation.endpoint import Endpoint
from outlast_workers.settings import Settings
from outlast_workers.settings_sections.media import MediaSettings
from temporalio.client import Client

import outlast
from outlast import Agent, BadRequest, File, Image, Leg, Route, RunFailed
from outlast.testing import ScriptedModel, answer, call
from outlast.turns import MediaPart
from tests.stage import Stage, on_stage, staged_settings

PNG = b"\x89PNG\r\n\x1a\n"
FIVE_MB = PNG + bytes(range(256)) * 19_531
SMALL = PNG + b"dot"
seen: list[str] = []


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@outlast.tool(effect="read")
def scan(data: str) -> list[str | Image]:
    """Return a scan, and what it is."""
    return ["a scan", Image.from_bytes(FIVE_MB if data == "large" else SMALL, name="scan.png")]


@outlast.tool(effect="read")
def rotate(image: Image) -> int:
    """Look at an image, in a plain function."""
    seen.append(digest(image.data))
    return image.size


@outlast.tool(effect="read")
async def crop(image: Image, report: File | None = None) -> Image:
    """Look at an image, in an async function."""
    seen.append(digest(image.data))
    return image


clerk = Agent("clerk", "Look at images.", [scan, rotate, crop], output=Image)


def with_media(settings: Settings, folder: Path, **options: Any) -> Settings:
    return settings.model_copy(update={"media": MediaSettings(store=folder.as_uri(), **options)})


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return with_media(staged_settings(cached=1000), tmp_path)


async def history_bytes(stage: Stage) -> int:
    return sum(len(event.SerializeToString()) for event in (await stage.last()).events)


@pytest.mark.parametrize("cached", [1000, 0])
async def test_history_has_references_and_all_see_the_same_bytes(
    temporal: Client, tmp_path: Path, cached: int
) -> None:
    photo = Image.from_bytes(FIVE_MB)
    sizes: list[int] = []
    for image, size in ((Image.from_bytes(SMALL), "small"), (photo, "large")):
        seen.clear()
        again = Image.from_bytes(image.data, name="scan.png").reference
        model = ScriptedModel(
            [
                call("scan", data=size),
                call("rotate", image=again),
                call("crop", image=again),
                answer(again),
            ]
        )
        settings = with_media(staged_settings(cached=cached), tmp_path)
        async with on_stage(temporal, model, [clerk], settings=settings, cached=cached) as stage:
            result = await stage.run(clerk, ["What is it?", image])
            sizes.append(await history_bytes(stage))
            assert isinstance(result.output, Image)
            assert await stage.client.download(result.output) == image.data
        assert seen == [digest(image.data)] * 2
        media = [digest(part.data) for part in model.prompts[-1].media.values()]
        assert media == [digest(image.data)] * 2
    print(f"history: {sizes[0]} bytes with images of 11 bytes, {sizes[1]} with images of 5 MB")
    assert sizes[1] - sizes[0] < 2_048


async def test_a_message_has_images(temporal: Client, settings: Settings) -> None:
    model = ScriptedModel([answer("A dog."), answer("A cat.")])
    agent = Agent("viewer", "Look.")
    async with on_stage(temporal, model, [agent], settings=settings) as stage:
        run = await stage.start(agent, "Hello", mode="conversation")
        await run.reply()
        await run.say(["And this?", Image.from_bytes(SMALL)])
        assert await run.reply() == "A cat."
        await run.finish()
        await run.result()
    (part,) = model.prompts[-1].media.values()
    assert part.data == SMALL


async def test_a_run_reads_only_the_images_of_its_tenant(
    temporal: Client, settings: Settings
) -> None:
    seen.clear()
    image = Image.from_bytes(SMALL)
    steps = [call("rotate", image=image.reference), answer(image.reference)]
    model = ScriptedModel([*steps, *steps])
    async with on_stage(temporal, model, [clerk], settings=settings) as stage:
        own = await stage.start(clerk, ["What is it?", image], tenant="acme")
        assert (await own.result()).status == "completed"
        assert len(model.prompts[-1].media) == 1
        assert seen == [digest(SMALL)]
        foreign = await stage.run(clerk, f"What is {image.reference}?", tenant="zeta")
        assert foreign.tool_calls == 1
        assert model.prompts[-1].media == {}
        assert "are not in the media store" in str(model.prompts[-1].messages)
        assert seen == [digest(SMALL)]
        with pytest.raises(BadRequest, match="not in the media store of the tenant 'zeta'"):
            await stage.client.download(image, tenant="zeta")
        assert await stage.client.download(image, tenant="acme") == SMALL
        assert await stage.client.download(image.reference, tenant="acme") == SMALL
        wrong: Any = 5
        for value in (wrong, "a.png", "media:image/png;bytes=1;id=0"):
            with pytest.raises(
                BadRequest, match="media: .* is not an image, a file or the reference"
            ):
                await stage.client.download(value, tenant="acme")


async def test_a_message_to_a_run_of_another_tenant_is_stored_for_it(
    temporal: Client, settings: Settings
) -> None:
    model = ScriptedModel([answer("A dog."), answer("A cat.")])
    async with on_stage(temporal, model, [Agent("viewer", "Look.")], settings=settings) as stage:
        started = await stage.start("viewer", "Hello", mode="conversation", tenant="acme")
        await started.reply()
        await stage.client.get(started.id).say(["And this?", Image.from_bytes(SMALL)])
        assert await started.reply() == "A cat."
        await started.finish()
        await started.result()
    assert len(model.prompts[-1].media) == 1


async def test_a_model_without_images_fails_by_name_before_the_call(
    temporal: Client, settings: Settings
) -> None:
    model = ScriptedModel([])
    endpoints = {"": Endpoint(model, 100, images=False, model="tiny-1")}
    async with on_stage(temporal, endpoints, [clerk], settings=settings) as stage:
        with pytest.raises(
            RunFailed, match="model 'tiny-1' takes no images; choose a model that does"
        ):
            await stage.run(clerk, Image.from_bytes(SMALL))


async def test_a_model_without_images_passes_the_step_to_the_next_leg(
    temporal: Client, tmp_path: Path
) -> None:
    blind, sees = ScriptedModel([]), ScriptedModel([answer("A dog.")])
    settings = with_media(staged_settings(cached=1000), tmp_path)
    assert settings.routes.generate is not None
    queue = settings.routes.generate.legs[0].task_queue
    route = Route(legs=tuple(Leg(task_queue=queue, server=name) for name in ("blind", "sees")))
    routes = settings.routes.model_copy(update={"generate": route})
    settings = settings.model_copy(update={"routes": routes})
    endpoints = {
        "blind": Endpoint(blind, 100, images=False, model="tiny-1"),
        "sees": Endpoint(sees, 100, model="large-1"),
    }
    agent = Agent("viewer", "Look.")
    async with on_stage(temporal, endpoints, [agent], settings=settings) as stage:
        result = await stage.run(agent, Image.from_bytes(SMALL))
    assert result.output == "A dog."
    assert blind.prompts == []


async def test_references_that_nobody_may_use_stay_text(temporal: Client, tmp_path: Path) -> None:
    unknown = f"media:image/png;bytes=5;id={'0' * 32}"
    known = Image.from_url("https://images.example.com/a.png")
    other = Image.from_url("https://169.254.169.254/a.png")
    model = ScriptedModel([answer("Nothing.")])
    agent = Agent("viewer", "Look.")
    settings = with_media(staged_settings(cached=1000), tmp_path, url_hosts=("images.example.com",))
    async with on_stage(temporal, model, [agent], settings=settings) as stage:
        await stage.run(agent, ["Look", unknown, known, other])
    (part,) = model.prompts[0].media.values()
    assert part == MediaPart(known.reference, "image/png", url=known.url or "")
    assert unknown in model.prompts[0].messages[-1]["content"]


async def test_an_argument_that_is_not_stored_is_an_error_of_the_call(
    temporal: Client, settings: Settings
) -> None:
    lost = f"media:image/png;bytes=5;id={'0' * 32}"
    photo = Image.from_bytes(SMALL)
    model = ScriptedModel([call("rotate", image=lost), answer(photo.reference)])
    async with on_stage(temporal, model, [clerk], settings=settings) as stage:
        await stage.run(clerk, ["Look", photo])
    assert "names bytes that are not in the media store" in model.prompts[1].messages[-1]["content"]


async def test_without_a_store_tools_and_clients_say_what_is_missing(
    temporal: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OUTLAST_MEDIA__STORE", raising=False)
    photo = Image.from_bytes(SMALL)
    model = ScriptedModel([call("scan", data="small")])
    async with on_stage(temporal, model, [clerk]) as stage:
        with pytest.raises(
            RunFailed, match=r"scan \(call 1.1\): .* set media\.store in the settings"
        ):
            await stage.run(clerk, "Look")
        with pytest.raises(outlast.errors.NotReady, match="set OUTLAST_MEDIA__STORE"):
            await stage.client.start(clerk, photo)
