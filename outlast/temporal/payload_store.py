"""The payload store: large payloads, which histories hold by reference (the SDK's external storage)."""

import asyncio
import hashlib
import os
import re
import uuid
from collections.abc import Sequence
from urllib.parse import quote

from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    ExternalStorage,
    StorageDriver,
    StorageDriverActivityInfo,
    StorageDriverClaim,
    StorageDriverRetrieveContext,
    StorageDriverStoreContext,
    StorageDriverWorkflowInfo,
)

from outlast.errors import Unavailable
from outlast.media.store import Objects, in_time, objects_of

STORE_VARIABLE = "OUTLAST_PAYLOADS__STORE"
"""The variable that names the payload store, for workers and clients."""

INLINE_BYTES = 32_768
"""Bytes of a payload from which on it is stored, by default."""

MAX_INLINE_BYTES = 1_000_000
"""The largest `payloads.inline_bytes`: the server rejects payloads of 2 MB."""

MAX_SEGMENT = 200
"""Characters of a folder's name. Most file systems allow 255 bytes."""

_DRIVER = "outlast"
_KEY = re.compile(r"[A-Za-z0-9%_-]{1,200}/[A-Za-z0-9%_-]{1,200}/[0-9a-f]{32}")


class PayloadStore(StorageDriver):
    """Stores payloads as a codec has encoded them, in a folder for each workflow id.

    Each payload is an object of its own: an object that two runs share could expire too early for one.
    """

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def name(self) -> str:
        """Return the name that references have."""
        return _DRIVER

    async def store(
        self, context: StorageDriverStoreContext, payloads: Sequence[Payload]
    ) -> list[StorageDriverClaim]:
        """Store payloads. Raises `Unavailable`, so that the task is retried."""
        folder = _folder(context.target)
        return list(await asyncio.gather(*(self._put(folder, payload) for payload in payloads)))

    async def retrieve(
        self, context: StorageDriverRetrieveContext, claims: Sequence[StorageDriverClaim]
    ) -> list[Payload]:
        """Return payloads. Raises `Unavailable`, so that the task is retried."""
        del context
        return list(await asyncio.gather(*(self._get(claim) for claim in claims)))

    async def _put(self, folder: str, payload: Payload) -> StorageDriverClaim:
        data, key = payload.SerializeToString(), f"{folder}/{uuid.uuid4().hex}"
        await in_time("payload", "written", self._objects.put(key, data))
        return StorageDriverClaim({"key": key, "sha256": hashlib.sha256(data).hexdigest()})

    async def _get(self, claim: StorageDriverClaim) -> Payload:
        key = claim.claim_data.get("key", "")
        # Strangers can write references too, so a key must not lead out of the store.
        if not _KEY.fullmatch(key):
            raise Unavailable("the reference of a payload is not valid")
        data = await in_time("payload", "read", self._objects.get(key))
        if data is None:
            raise Unavailable(f"the payload store has no object {key!r}")
        if hashlib.sha256(data).hexdigest() != claim.claim_data.get("sha256"):
            raise Unavailable(f"the object {key!r} of the payload store has been changed")
        payload = Payload()
        payload.ParseFromString(data)
        return payload


def payload_storage(url: str, inline_bytes: int = INLINE_BYTES) -> ExternalStorage:
    """Return the storage of a URL: `file:///folder`, `s3://bucket/prefix` or `gs://bucket/prefix`.

    Raises `NotReady` if the URL is wrong, or if the package of the store is not installed.
    """
    driver = PayloadStore(objects_of(url, "payload"))
    return ExternalStorage(drivers=[driver], payload_size_threshold=inline_bytes)


def storage_of_environment() -> ExternalStorage | None:
    """Return the storage of `STORE_VARIABLE`, or None if it is not set. Raises `NotReady`."""
    url = os.environ.get(STORE_VARIABLE)
    return payload_storage(url) if url else None


def _folder(target: StorageDriverActivityInfo | StorageDriverWorkflowInfo | None) -> str:
    """Return the folder of a run: its namespace and its workflow id."""
    names = (target.namespace, target.id or "") if target else ("", "")
    return "/".join(_segment(name) or "_" for name in names)


def _segment(name: str) -> str:
    """Return a name as one segment of a path. Long ones are replaced by their hash."""
    encoded = quote(name, safe="", errors="replace").replace(".", "%2E").replace("~", "%7E")
    return encoded if len(encoded) <= MAX_SEGMENT else hashlib.sha256(name.encode()).hexdigest()
