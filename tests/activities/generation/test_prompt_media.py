"""Images and files of prompts: a reference in an untrusted text does no harm."""

from urllib.parse import quote

import pytest
from outlast_activities.generation.prompt_media import PromptMedia

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
