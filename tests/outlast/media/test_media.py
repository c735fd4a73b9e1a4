"""Images and files: their references, their types, and the store of their bytes."""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError
from temporalio.api.common.v1 import Payload
from temporalio.contrib.aws.s3driver import S3StorageDriverClient
from temporalio.converter import PayloadCodec

from outlast import File, Image
from outlast.contracts.media import MediaReference, references_in, with_labels
from outlast.errors import NotReady, Unavailable
from outlast.media import store as stores
from outlast.media.media import (
    collected_uploads,
    loaded_media,
    takes_media,
    with_references,
)
from outlast.media.store import Bucket, Directory, MediaStore, media_store

PNG = b"\x89PNG\r\n\x1a\n12345"


def test_a_reference_reads_back() -> None:
    for media in (
        Image.from_bytes(PNG, name="a b;c=€.png"),
        Image.from_bytes(PNG),
        File.from_bytes(b"%PDF-1", name="r.pdf"),
        Image.from_url("https://example.com/a.png?x=1;y=2&z=ü"),
    ):
        parsed = MediaReference.parse(media.reference)
        assert parsed is not None
        assert (parsed.text, parsed.url) == (media.reference, media.url or "")
        assert (parsed.name, parsed.media_type) == (media.name, media.media_type)
        found = [reference for _, reference in references_in(f'["x {media.reference}"]')]
        assert found == [parsed]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "media:",
        "media:image/png",
        "media:image/png;bytes=1;id=12",
        "media:image;bytes=1;id=" + "a" * 32,
    ],
)
def test_other_text_is_no_reference(text: str) -> None:
    assert MediaReference.parse(text) is None
    assert list(references_in(f"see {text}")) == []


def test_people_see_labels() -> None:
    image = Image.from_bytes(PNG + bytes(1_200_000), name="receipt.png")
    assert with_labels(f"see {image.reference}!") == "see [image 1.2 MB image/png receipt.png]!"
    assert repr(image) == "<outlast.Image [image 1.2 MB image/png receipt.png]>"
    assert with_labels("no media: here") == "no media: here"


def test_the_first_bytes_tell_the_type(tmp_path: Path) -> None:
    assert Image.from_bytes(b"\xff\xd8\xff0").media_type == "image/jpeg"
    assert Image.from_bytes(b"GIF89a0").media_type == "image/gif"
    assert Image.from_bytes(b"RIFF0000WEBP").media_type == "image/webp"
    assert File.from_bytes(b"%PDF-1").media_type == "application/pdf"
    (tmp_path / "a.txt").write_text("text")
    assert File.from_path(tmp_path / "a.txt").media_type == "text/plain"
    (tmp_path / "wrong.jpg").write_bytes(PNG)
    assert Image.from_path(tmp_path / "wrong.jpg").media_type == "image/png"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Image.from_bytes(b""), "there are no bytes"),
        (lambda: Image.from_bytes(b"??"), "the media type is unknown; pass media_type="),
        (
            lambda: Image.from_bytes(b"II*", "image/tiff"),
            "'image/tiff'; an image is one of image/png",
        ),
        (lambda: Image.from_bytes(b"12", "png"), "'png' is not a media type"),
        (lambda: Image.from_bytes(b"12", "image/png"), "the bytes are not image/png"),
        (lambda: File.from_bytes(PNG), "is an image; use Image"),
        (lambda: Image.from_bytes(PNG + bytes(20_000_000)), "at most 20,000,000 are allowed"),
        (lambda: Image.from_url("http://example.com/a.png"), "must be an https URL"),
        (lambda: Image.from_url("https://me:pw@example.com/a.png"), "without a password"),
        (lambda: Image.from_url("file:///etc/passwd"), "must be an https URL"),
        (lambda: Image.from_url("https://example.com/a"), "the media type is unknown"),
    ],
)
def test_wrong_media_are_rejected(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words.replace("?", r"\?")):
        make()


class Claim(BaseModel):
    photo: Image
    report: File | None = None


def test_json_holds_references_and_gives_values_back() -> None:
    claim = Claim(photo=Image.from_bytes(PNG), report=File.from_bytes(b"%PDF-1"))
    with collected_uploads() as uploads:
        text = claim.model_dump_json()
    assert {media.data for media in uploads.pending.values()} == {PNG, b"%PDF-1"}
    read = Claim.model_validate_json(text)
    assert read == claim
    with pytest.raises(ValueError, match="the bytes of media:image/png;.* are not here"):
        _ = read.photo.data
    with (
        loaded_media({claim.photo.id: PNG, "0": b""}),
        pytest.raises(ValidationError, match="names bytes that are not in the media store"),
    ):
        Claim.model_validate_json(text)
    with pytest.raises(ValidationError, match="must be the reference of an image"):
        Claim.model_validate({"photo": "photo.png"})
    with pytest.raises(Exception, match="needs a media store"):
        claim.model_dump_json()
    assert takes_media(Claim.model_json_schema())
    assert not takes_media(TypeAdapter(str).json_schema())


def test_a_message_is_one_text() -> None:
    photo = Image.from_bytes(PNG)
    with collected_uploads() as uploads:
        assert with_references(["Look", photo]) == f"Look\n{photo.reference}"
        assert with_references({"q": "x", "all": [photo]}) == {"q": "x", "all": photo.reference}
        assert with_references(["a", "b"]) == ["a", "b"]
        assert with_references([1, [photo]]) == [1, photo.reference]
        assert with_references(photo) == photo.reference
    assert list(uploads.pending) == [photo.id]


class Reversing(PayloadCodec):
    """A codec that changes bytes, as an encrypting one does."""

    async def encode(self, payloads: Any) -> list[Payload]:
        return [Payload(metadata=one.metadata, data=one.data[::-1]) for one in payloads]

    async def decode(self, payloads: Any) -> list[Payload]:
        return await self.encode(payloads)


class FakeS3(S3StorageDriverClient):
    """A fake of the SDK's client of S3, in memory. It fails for a missing object, as S3 does."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], bytes] = {}
        self.writes = 0

    async def put_object(self, *, bucket: str, key: str, data: bytes) -> None:
        self.writes += 1
        self.objects[bucket, key] = data

    async def object_exists(self, *, bucket: str, key: str) -> bool:
        return (bucket, key) in self.objects

    async def get_object(self, *, bucket: str, key: str) -> bytes:
        return self.objects[bucket, key]


ACME = "acme"


@pytest.mark.parametrize(
    "other", ["ACME", "acme2", "", "../tenant-acme", ".", "..", "a/../acme", "\udc80"]
)
async def test_a_tenant_does_not_get_the_bytes_of_another(tmp_path: Path, other: str) -> None:
    folder = tmp_path / "media"
    store = media_store(folder.as_uri())
    image = Image.from_bytes(PNG)
    await store.save([image], ACME)
    assert await store.load(image.id, other) is None
    await store.save([image], other)
    assert await store.load(image.id, other) == PNG
    assert [path.name for path in tmp_path.iterdir()] == ["media"]
    assert len([path for path in folder.rglob("*") if path.is_file()]) == 2


async def test_a_directory_keeps_bytes_once(tmp_path: Path) -> None:
    store = media_store(tmp_path.as_uri())
    image = Image.from_bytes(PNG)
    await asyncio.gather(*(store.save([image], ACME) for _ in range(5)))
    (file,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert file.name == image.id
    assert await store.load(image.id, ACME) == PNG
    assert await store.load("0" * 32, ACME) is None
    assert await store.load("../../etc/passwd", ACME) is None
    file.write_bytes(b"\x12\x03bad")
    assert await store.load(image.id, ACME) is None


async def test_a_write_that_fails_leaves_no_part(tmp_path: Path) -> None:
    """The limit of a file's size stands in for a full disk: a part is written, and the rest fails."""
    code = """
import asyncio, resource, signal, sys
from outlast import Image
from outlast.errors import Unavailable
from outlast.media.store import media_store

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, 1_000))
image = Image.from_bytes(b"\\x89PNG\\r\\n\\x1a\\n" + bytes(5_000))
try:
    asyncio.run(media_store(sys.argv[1]).save([image], "t"))
except Unavailable as error:
    print(error)
"""
    ended = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code, tmp_path.as_uri()), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await ended.communicate()
    assert b"the media store cannot be written: OSError: [Errno 27] File too large" in output
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


async def test_a_bucket_keeps_bytes_once_and_encoded() -> None:
    client = FakeS3()

    @asynccontextmanager
    async def connect() -> AsyncIterator[FakeS3]:
        yield client

    store = MediaStore(Bucket(connect, "photos", "agents/", "key"), Reversing())
    image = Image.from_bytes(PNG)
    await store.save([image, image], ACME)
    assert client.writes == 1
    key = f"agents/tenant-acme/{image.id[:2]}/{image.id}"
    assert list(client.objects) == [("photos", key)]
    assert PNG not in client.objects["photos", key]
    assert await store.load(image.id, ACME) == PNG
    assert await store.load("0" * 32, ACME) is None


class Broken(Directory):
    async def get(self, key: str) -> bytes | None:
        if key.endswith("0" * 32):
            raise RuntimeError("403 Forbidden")
        await asyncio.Event().wait()
        return None


async def test_a_store_that_fails_or_hangs_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "STORE_TIMEOUT_S", 0.05)
    store = MediaStore(Broken(tmp_path))
    with pytest.raises(Unavailable, match="cannot be read: RuntimeError: 403 Forbidden"):
        await store.load("0" * 32, ACME)
    with pytest.raises(Unavailable, match=r"cannot be read: it took longer than 0\.05 s"):
        await store.load("1" * 32, ACME)


class WrongKey(PayloadCodec):
    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return list(payloads)

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        raise ValueError("the key is wrong")


@pytest.mark.parametrize("codec", [None, WrongKey()])
async def test_bytes_that_cannot_be_decoded_are_unavailable(
    tmp_path: Path, codec: PayloadCodec | None
) -> None:
    image = Image.from_bytes(PNG)
    await MediaStore(Directory(tmp_path)).save([image], ACME)
    if codec is None:
        (stored,) = (each for each in tmp_path.rglob("*") if each.is_file())
        stored.write_bytes(b"\xff" * 20)
    with pytest.raises(Unavailable, match=f"the media {image.id} cannot be decoded: "):
        await MediaStore(Directory(tmp_path), codec).load(image.id, ACME)


@pytest.mark.parametrize(
    "url", ["", "photos", "http://a/b", "s3:///x", "s3://[", "file://host/x", "ftp://a"]
)
def test_a_wrong_store_is_rejected(url: str) -> None:
    with pytest.raises(NotReady, match="must be file:///folder, s3://bucket/prefix or gs://"):
        media_store(url)


@pytest.mark.parametrize(
    ("url", "package"), [("s3://photos", "aioboto3"), ("gs://photos/a", "gcloud-aio-storage")]
)
def test_a_store_without_its_package_says_what_to_install(url: str, package: str) -> None:
    with pytest.raises(NotReady, match=rf"pip install 'temporalio\[{package}\]'"):
        media_store(url)
