"""The payload codec of an installation, which encrypts what Temporal stores."""

import importlib
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec

from outlast.errors import NotReady
from outlast.temporal.connection import MAX_REASON_BYTES
from outlast.text.error_text import error_text
from outlast.text.texts import cut

CODEC_VARIABLE = "OUTLAST_PAYLOADS__CODEC"
"""The variable that names the codec, for workers and clients."""


def load_codec(reference: str) -> PayloadCodec:
    """Return the codec that `module:name` names: a `PayloadCodec`, or a function that returns one.

    Raises `NotReady` if it cannot be imported, or is something else.
    """
    module_name, _, name = reference.partition(":")
    if not module_name or not name.isidentifier():
        raise NotReady(
            f"the payload codec {cut(repr(reference), MAX_REASON_BYTES)} must be MODULE:NAME"
        )
    found = _called(reference, lambda: getattr(_module(module_name), name))
    codec = found
    if not isinstance(found, PayloadCodec) and callable(found):
        codec = _called(reference, found)
    if not isinstance(codec, PayloadCodec):
        kind = type(codec).__name__
        raise NotReady(
            f"the payload codec {reference!r} is of the type {kind}: name a PayloadCodec of"
            " temporalio.converter, or a function without arguments that returns one"
        )
    return codec


def codec_of_environment() -> PayloadCodec | None:
    """Return the codec of `CODEC_VARIABLE` for a client, or None if it is not set. Raises `NotReady`."""
    reference = os.environ.get(CODEC_VARIABLE)
    return _ClientCodec(reference, load_codec(reference)) if reference else None


class _ClientCodec(PayloadCodec):
    """The codec of a client: each error of it becomes one line, as all errors of a client are."""

    def __init__(self, reference: str, codec: PayloadCodec) -> None:
        self._reference = reference
        self._codec = codec

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return await self._called("encrypt", self._codec.encode(payloads))

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return await self._called("decrypt", self._codec.decode(payloads))

    async def _called(self, verb: str, work: Awaitable[list[Payload]]) -> list[Payload]:
        try:
            return await work
        except Exception as error:
            raise NotReady(
                f"the payload codec {self._reference!r} cannot {verb} a payload ({_reason(error)}):"
                " give this client the codec and the keys of the workers"
            ) from error


def _module(name: str) -> Any:
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())  # a command does not look in the current folder
    return importlib.import_module(name)


def _called(reference: str, work: Callable[[], Any]) -> Any:
    try:
        return work()
    except (Exception, SystemExit) as error:
        reason = _reason(error)
        raise NotReady(f"the payload codec {reference!r} cannot be loaded: {reason}") from error


def _reason(error: BaseException) -> str:
    named = f"{type(error).__name__}: {error_text(error)}".removesuffix(": ")
    return cut(named, MAX_REASON_BYTES)
