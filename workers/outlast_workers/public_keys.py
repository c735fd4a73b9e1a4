"""Public keys of people who sign decisions, as settings hold them."""

import base64
import re
from typing import Annotated

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

SMALL_ORDER_KEYS = frozenset(
    bytes.fromhex(text)
    for text in (
        "00" * 32,
        "01" + "00" * 31,
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "7f",
    )
)
"""The encodings of the points of small order, without the sign. Anybody can sign for such a key."""


def _valid_public_key(encoded: str) -> str:
    # 32 bytes in base64url; the last character holds four bits.
    if re.fullmatch(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]", encoded):
        key = base64.urlsafe_b64decode(encoded + "=")
        if key[:-1] + bytes([key[-1] & 0x7F]) not in SMALL_ORDER_KEYS:
            return encoded
    raise PydanticCustomError(
        "key", "must be an Ed25519 public key: 43 characters, as `outlast keygen` prints it"
    )


PublicKey = Annotated[str, AfterValidator(_valid_public_key)]
"""An Ed25519 public key, as `outlast keygen` prints it."""
