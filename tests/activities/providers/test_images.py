"""Images and files in the requests of each API, against fakes that check them as the services do."""

from dataclasses import replace
from typing import Any

import pytest
from outlast_activities.providers.media_parts import PartSplitter

from outlast.contracts.agents import Way
from outlast.errors import ModelError, ModelFailure
from outlast.media.media import File, Image, Media
from outlast.model_server import Prompt
from outlast.turns import MediaPart, Turn, UserTurn
from tests.activities.providers.test_hosted_apis import (
    WAYS,
    clerk,
    complete,
    decision_in,
    fakes,
    in_way,
    service,
    skip_impossible,
)
from tests.fakes.media_rules import media_in
from tests.fakes.prompts import prompt_for, step
from tests.fakes.service import FakeService, Play

__all__ = ["fakes", "service"]

PNG = b"\x89PNG\r\n\x1a\n"
PHOTO = Image.from_bytes(PNG + b"photo", name="photo.png")
SCAN = Image.from_bytes(PNG + b"scan")
REPORT = File.from_bytes(b"%PDF-1.7 report", name="report.pdf")
NOTES = File.from_bytes("Prices: 5 €".encode(), "text/plain", "notes.txt")
LINK = Image.from_url("https://images.example.com/a.png")
DONE = Play(answer="done")

Service = tuple[str, str, FakeService]


def part_of(media: Media) -> MediaPart:
    data = b"" if media.url else media.data
    return MediaPart(
        media.reference, media.media_type, data=data, url=media.url or "", name=media.name
    )


def prompt_with(way: Way, turns: tuple[Turn, ...], *media: Media, **options: Any) -> Prompt:
    parts = {one.reference: part_of(one) for one in media}
    return replace(prompt_for(clerk, way, turns, **options), media=parts)


def a_run() -> tuple[Turn, ...]:
    """Return a request with an image and two files, and results of two tools with images."""
    said = f"Compare.\n{PHOTO.reference}\n{REPORT.reference}\n{NOTES.reference}"
    found = {"pages": [SCAN.reference, PHOTO.reference]}
    return (
        UserTurn(said),
        *step(("search", {"query": "a"}, found), ("open_file", {"path": "b"}, "plain")),
        UserTurn("And now?"),
    )


@pytest.mark.parametrize("way", WAYS)
async def test_each_model_sees_the_bytes_once_and_in_their_order(
    service: Service, way: Way
) -> None:
    _, model, fake = service
    skip_impossible(model, way)
    prompt = prompt_with(way, a_run(), PHOTO, REPORT, NOTES, SCAN)
    completion = await complete(service, prompt, in_way(way, DONE))
    assert fake.refusals == []
    assert decision_in(completion) == {"answer": "done"}
    assert list(media_in(fake.bodies()[-1])) == [
        ("image/png", PHOTO.data),
        ("application/pdf", REPORT.data),
        ("image/png", SCAN.data),
    ]
    assert (
        "Prices: 5 \\u20ac" in str(fake.bodies()[-1]).encode("ascii", "backslashreplace").decode()
    )


@pytest.mark.parametrize("way", WAYS)
async def test_a_url_is_passed_on_and_never_fetched(service: Service, way: Way) -> None:
    _, model, fake = service
    skip_impossible(model, way)
    prompt = prompt_with(way, (UserTurn(f"Look: {LINK.reference}"),), LINK)
    await complete(service, prompt, in_way(way, DONE))
    assert fake.refusals == []
    assert str(LINK.url) in str(fake.bodies()[-1])
    assert list(media_in(fake.bodies()[-1])) == []


async def test_too_large_images_fail_before_a_request(service: Service) -> None:
    _, _, fake = service
    large = Image.from_bytes(PNG + bytes(19_000_000))
    third = [Image.from_bytes(PNG + bytes([n]) + bytes(18_000_000)) for n in range(3)]
    said = UserTurn(" ".join(one.reference for one in (large, *third)))
    prompt = prompt_with("tools", (said,), large, *third)
    fake.received.clear()
    with pytest.raises(ModelError, match=r"bytes; the API takes [\d,]+.*: send fewer") as raised:
        await complete(service, prompt, DONE)
    assert raised.value.kind is ModelFailure.BAD_REQUEST
    assert fake.bodies() == []


async def test_a_file_that_no_api_takes_fails_before_a_request(service: Service) -> None:
    _, _, fake = service
    archive = File.from_bytes(b"PK", "application/zip")
    prompt = prompt_with("tools", (UserTurn(archive.reference),), archive)
    fake.received.clear()
    with pytest.raises(ModelError, match="takes no file of the type 'application/zip'"):
        await complete(service, prompt, DONE)
    assert fake.bodies() == []


def test_parts_follow_the_text_that_names_them() -> None:
    text = f"a {PHOTO.reference} b {SCAN.reference}"
    splitter = PartSplitter({PHOTO.reference: part_of(PHOTO), SCAN.reference: part_of(SCAN)})
    first, photo, second, scan = splitter.split(text)
    assert (first, second) == (f"a {PHOTO.reference}", f" b {SCAN.reference}")
    assert (photo, scan) == (part_of(PHOTO), part_of(SCAN))
    assert splitter.split(text) == [text]
    assert PartSplitter({}).split("") == [""]
