"""The media store: the bytes of images and files by their ids, in a directory, in S3 or in Google Cloud.

S3 and Google Cloud use the clients of the Temporal SDK's external storage. The codec of the Temporal client
encodes what is stored, so an encrypting codec encrypts it.
"""

import asyncio
import hashlib
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec

from outlast.contracts.media import ID_CHARACTERS, MAX_MEDIA_BYTES
from outlast.errors import NotReady, Unavailable
from outlast.media.media import Media
from outlast.text.error_text import error_text
from outlast.text.texts import cut

STORE_TIMEOUT_S = 30.0
"""How long one read or write of the store may take. After it, the activity is retried."""

STORE_VARIABLE = "OUTLAST_MEDIA__STORE"
"""The variable that names the store, for workers and clients."""

MAX_REASON = 300
"""Bytes of the error of a store."""

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_")
"""Characters of a tenant's name that its folder has as they are."""

_ID = re.compile(rf"[0-9a-f]{{{ID_CHARACTERS}}}")


class Objects(Protocol):
    """Where bytes are kept by key. An existing object never changes."""

    async def put(self, key: str, data: bytes) -> None:
        """Write an object, if there is none of this key."""
        ...

    async def get(self, key: str) -> bytes | None:
        """Return an object, or None if there is none."""
        ...


class Directory:
    """Implements `Objects` with a directory, which all processes of one machine share."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def put(self, key: str, data: bytes) -> None:
        """Write a file. Readers never see half of it."""
        await asyncio.to_thread(self._write, self._folder / key, data)

    async def get(self, key: str) -> bytes | None:
        """Return a file, or None if there is none."""
        return await asyncio.to_thread(self._content, self._folder / key)

    @staticmethod
    def _write(file: Path, data: bytes) -> None:
        if file.exists():
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(f"{file.name}.{uuid.uuid4().hex}")
        try:
            partial.write_bytes(data)
            partial.replace(file)
        except BaseException:
            # On a full disk, each attempt would leave another part.
            partial.unlink(missing_ok=True)
            raise

    @staticmethod
    def _content(file: Path) -> bytes | None:
        try:
            return file.read_bytes()
        except FileNotFoundError:
            return None


class Bucket:
    """Implements `Objects` with a bucket. `connect` opens a client of the SDK's external storage.

    `key_name` is the name of its parameter for a key.
    """

    def __init__(
        self,
        connect: Callable[[], AbstractAsyncContextManager[Any]],
        bucket: str,
        prefix: str,
        key_name: str,
    ) -> None:
        self._connect = connect
        self._bucket = bucket
        self._prefix = prefix
        self._key_name = key_name

    async def put(self, key: str, data: bytes) -> None:
        """Write an object, if there is none of this key."""
        place = self._place(key)
        async with self._connect() as client:
            if not await client.object_exists(**place):
                await client.put_object(**place, data=data)

    async def get(self, key: str) -> bytes | None:
        """Return an object, or None if there is none."""
        place = self._place(key)
        async with self._connect() as client:
            if not await client.object_exists(**place):
                return None
            data: bytes = await client.get_object(**place)
            return data

    def _place(self, key: str) -> dict[str, Any]:
        return {"bucket": self._bucket, self._key_name: f"{self._prefix}{key}"}


class MediaStore:
    """Stores and loads images and files, apart for each tenant. Equal bytes of a tenant are stored once."""

    def __init__(self, objects: Objects, codec: PayloadCodec | None = None) -> None:
        self._objects = objects
        self._codec = codec

    async def save(self, media: Iterable[Media], tenant: str) -> None:
        """Store images and files of a tenant. Raises `Unavailable`, so that an activity is retried."""
        for one in media:
            payload = Payload(metadata={"encoding": b"binary/plain"}, data=one.data)
            if self._codec is not None:
                (payload,) = await self._codec.encode([payload])
            key = _key(tenant, one.id)
            await in_time("media", "written", self._objects.put(key, payload.SerializeToString()))

    async def load(self, media_id: str, tenant: str) -> bytes | None:
        """Return bytes of a tenant by their id, or None if the tenant has none. Raises `Unavailable`."""
        if not _ID.fullmatch(media_id):
            return None
        stored = await in_time("media", "read", self._objects.get(_key(tenant, media_id)))
        if stored is None:
            return None
        payload = Payload()
        try:
            payload.ParseFromString(stored)
            if self._codec is not None:
                (payload,) = await self._codec.decode([payload])
        except Exception as error:  # noqa: BLE001 codecs raise errors of their own, such as for a wrong key
            reason = cut(f"{type(error).__name__}: {error_text(error)}", MAX_REASON)
            raise Unavailable(f"the media {media_id} cannot be decoded: {reason}") from None
        is_intact = hashlib.sha256(payload.data).hexdigest()[:ID_CHARACTERS] == media_id
        return payload.data if is_intact and len(payload.data) <= MAX_MEDIA_BYTES else None


def _key(tenant: str, media_id: str) -> str:
    """Return the key of an object: `tenant-acme/0f/0f3c…`. Different tenants have different folders.

    Other characters than these are encoded, because some file systems do not tell cases apart.
    """
    letters = (
        chr(byte) if chr(byte) in _PLAIN else f"%{byte:02x}"
        for byte in tenant.encode("utf-8", "surrogatepass")
    )
    return f"tenant-{''.join(letters)}/{media_id[:2]}/{media_id}"


async def in_time(store: str, action: str, operation: Awaitable[Any]) -> Any:
    """Await an operation of the store. Raises `Unavailable` if it fails or takes too long."""
    try:
        async with asyncio.timeout(STORE_TIMEOUT_S):
            return await operation
    except TimeoutError:
        reason = f"it took longer than {STORE_TIMEOUT_S:g} s"
    except Exception as error:  # noqa: BLE001 clients of clouds raise errors of their own
        reason = cut(f"{type(error).__name__}: {error_text(error)}", MAX_REASON)
    raise Unavailable(f"the {store} store cannot be {action}: {reason}")


def media_store(url: str, codec: PayloadCodec | None = None) -> MediaStore:
    """Return the store of a URL: `file:///folder`, `s3://bucket/prefix` or `gs://bucket/prefix`.

    Raises `NotReady` if the URL is wrong, or if the package of the store is not installed.
    """
    return MediaStore(objects_of(url, "media"), codec)


def objects_of(url: str, store: str) -> Objects:
    """Return the objects of a URL. `store` is the name of the store in errors. Raises `NotReady`."""
    wrong = f"the {store} store {url!r} must be file:///folder, s3://bucket/prefix or gs://bucket/prefix"
    try:
        parts = urlsplit(url)
    except ValueError:
        raise NotReady(wrong) from None
    if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/"):
        return Directory(Path(unquote(parts.path)))
    prefix = parts.path.strip("/")
    prefix = f"{prefix}/" if prefix else ""
    if parts.scheme == "s3" and parts.netloc:
        return Bucket(_s3(store), parts.netloc, prefix, "key")
    if parts.scheme == "gs" and parts.netloc:
        return Bucket(_gcs(store), parts.netloc, prefix, "object_name")
    raise NotReady(wrong)


def _s3(store: str) -> Callable[[], AbstractAsyncContextManager[Any]]:
    try:
        import aioboto3  # type: ignore[import-not-found]  # noqa: PLC0415 an extra of the SDK
        from temporalio.contrib.aws.s3driver.aioboto3 import (  # noqa: PLC0415
            new_aioboto3_client,
        )
    except ImportError:
        raise NotReady(
            f"a {store} store in S3 needs a package: pip install 'temporalio[aioboto3]'"
        ) from None

    @asynccontextmanager
    async def connect() -> AsyncIterator[Any]:
        async with aioboto3.Session().client("s3") as client:
            yield new_aioboto3_client(client)

    return connect


def _gcs(store: str) -> Callable[[], AbstractAsyncContextManager[Any]]:
    try:
        from gcloud.aio.storage import (  # type: ignore[import-not-found]  # noqa: PLC0415
            Storage,
        )
        from temporalio.contrib.gcp.gcsdriver.gcloud_aio import (  # noqa: PLC0415
            new_gcloud_aio_client,
        )
    except ImportError:
        raise NotReady(
            f"a {store} store in Google Cloud needs a package: pip install 'temporalio[gcloud-aio-storage]'"
        ) from None

    @asynccontextmanager
    async def connect() -> AsyncIterator[Any]:
        async with Storage() as client:
            yield new_gcloud_aio_client(client)

    return connect
