"""The table `media`: images and files."""

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from outlast.contracts.base import InputModel
from outlast.errors import NotReady
from outlast.media.store import media_store
from outlast_workers.settings_sections.setting_types import Host, distinct, split


def _known_store(url: str) -> str:
    """Reject a URL that names no media store, or one whose package is not installed."""
    try:
        media_store(url)
    except NotReady as error:
        raise PydanticCustomError("store", "{reason}", {"reason": str(error)}) from None
    return url


class MediaSettings(InputModel):
    """Where the bytes of images and files are, and from which hosts model servers may fetch them."""

    store: Annotated[str, Field(max_length=1_000), AfterValidator(_known_store)] | None = None
    """`file:///folder`, `s3://bucket/prefix` or `gs://bucket/prefix`. Clients need the same one."""
    url_hosts: Annotated[tuple[Host, ...], BeforeValidator(split), AfterValidator(distinct)] = ()
    """Hosts whose URLs are passed on to model servers. Other URLs stay text."""
