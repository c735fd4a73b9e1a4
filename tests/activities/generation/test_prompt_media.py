"""Images and files of prompts: a reference in an untrusted text does no harm."""

from pathlib import Path
from urllib.parse import quote

import pytest
from outlast_activities.generation import prompt_media
from outlast_activities.generation.prompt_media import PromptMedia

from outlast import File
from outlast.errors import ModelError, ModelFailure
from outlast.media.store import Directory, MediaStore
from outlast.turns import UserTurn


@pytest.mark.parametrize(
    "url", ["https://[", "https://[::1", "https://a]b/x", "https://", "http://files.example/x", "x"]
)
async def test_a_reference_whose_url_cannot_be_used_stays_text(url: str) -> None:
    media = PromptMedia(None, ["files.example"])
    turn = UserTurn(f"see media:image/png;url={quote(url)} please")
    assert await media.of([turn], "acme") == {}


async def test_a_reference_to_a_host_of_the_settings_is_passed_on() -> None:
    url = "https://Files.example/x.png"
    (part,) = (
        await PromptMedia(None, ["files.example"]).of(
            [UserTurn(f"media:image/png;url={quote(url)}")], "acme"
        )
    ).values()
    assert (part.url, part.media_type) == (url, "image/png")


async def test_a_prompt_loads_no_more_bytes_than_an_api_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompt_media, "MAX_PROMPT_MEDIA_BYTES", 2_500)
    loaded: list[str] = []

    class Store(MediaStore):
        async def load(self, media_id: str, tenant: str) -> bytes | None:
            loaded.append(media_id)
            return await super().load(media_id, tenant)

    store = Store(Directory(tmp_path))
    files = [File.from_bytes(bytes([65 + number]) * 1_000, "text/plain") for number in range(10)]
    await store.save(files, "acme")
    media = PromptMedia(store)
    two = UserTurn(" ".join(file.reference for file in files[:2]))
    ten = UserTurn(" ".join(file.reference for file in files))

    assert len(await media.of([two], "acme")) == 2
    with pytest.raises(ModelError, match="2,500 bytes: send fewer") as failure:
        await PromptMedia(store).of([ten], "acme")

    assert failure.value.kind is ModelFailure.BAD_REQUEST
    assert len(loaded) == 2 + 3
