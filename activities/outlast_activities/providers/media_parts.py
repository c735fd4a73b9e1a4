"""Images and files in requests: where they stand between texts, and what an API accepts of them."""

from collections.abc import Mapping
from dataclasses import dataclass

from outlast.contracts.media import references_in
from outlast.errors import ModelError, ModelFailure
from outlast.model_server import Prompt
from outlast.turns import MediaPart


@dataclass(frozen=True)
class MediaLimits:
    """What an API accepts: types of files besides text, and bounds of a request.

    Bytes are those of the files themselves. In base64 they are a third more.
    """

    max_parts: int
    max_part_bytes: int
    max_total_bytes: int
    files: tuple[str, ...] = ("application/pdf",)

    def check(self, prompt: Prompt) -> None:
        """Raise `ModelError` if the API would reject the images and files of a prompt."""
        problem = self._problem([part for part in prompt.media.values() if not part.is_text])
        if problem is not None:
            raise ModelError(
                f"{problem}: send fewer, or smaller ones", kind=ModelFailure.BAD_REQUEST
            )

    def _problem(self, parts: list[MediaPart]) -> str | None:
        if len(parts) > self.max_parts:
            return f"the prompt has {len(parts)} images and files; the API takes {self.max_parts}"
        total = sum(len(part.data) for part in parts)
        if total > self.max_total_bytes:
            return (
                f"the images and files of the prompt have {total:,} bytes; the API takes "
                f"{self.max_total_bytes:,}"
            )
        for part in parts:
            if not part.is_image and part.media_type not in self.files:
                known = ", ".join((*self.files, "text/…"))
                return f"the API takes no file of the type {part.media_type!r}; it takes {known}"
            if len(part.data) > self.max_part_bytes:
                return (
                    f"{part.reference} has {len(part.data):,} bytes; the API takes "
                    f"{self.max_part_bytes:,} for one"
                )
        return None


class PartSplitter:
    """Splits the texts of one prompt where images and files come. Each is shown once."""

    def __init__(self, media: Mapping[str, MediaPart]) -> None:
        self._left = dict(media)

    def split(self, text: str) -> list[str | MediaPart]:
        """Return a text and the images and files that it is the first to name, each after its name."""
        parts: list[str | MediaPart] = []
        begin = 0
        for end, reference in references_in(text) if self._left else ():
            part = self._left.pop(reference.text, None)
            if part is None:
                continue
            parts += [text[begin:end], _text_of(part) if part.is_text else part]
            begin = end
        rest = text[begin:]
        return [*parts, rest] if rest or not parts else parts


def _text_of(part: MediaPart) -> str:
    name = part.name or "file"
    return f"\n--- {name} begins ---\n{part.data.decode(errors='replace')}\n--- {name} ends ---\n"
