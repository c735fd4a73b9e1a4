"""The text of exceptions that users' code raises: always one line."""

import itertools
from collections.abc import Iterator

from temporalio.exceptions import FailureError

MAX_ERROR_TEXT = 10_000
"""Characters of one exception's text. A history records it, and the server limits the size of failures."""

MAX_GROUP_ERRORS = 3
"""Exceptions of a group that its text names: as many as a person reads at once."""

MAX_GROUP_DEPTH = 20
"""Groups within groups. Deeper ones are named without their exceptions."""

UNREADABLE = "its message cannot be read"

NO_MESSAGE = "no message"
"""Stands for an empty message, such as that of a failed `assert`. The SDK would invent one."""


def clean_text(text: str) -> str:
    """Join the halves of surrogate pairs; each half that is left alone becomes U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def error_text(error: BaseException) -> str:
    """Return the message of an exception, with those of a group; it is text that UTF-8 can carry."""
    text = _message(error)
    if isinstance(error, BaseExceptionGroup):
        errors = list(itertools.islice(leaves(error), MAX_GROUP_ERRORS + 1))
        lines = [f"{type_name(leaf)}: {_message(leaf)}" for leaf in errors if leaf is not error]
        more = ["…"] if len(lines) > MAX_GROUP_ERRORS else []
        text = f"{text}: {'; '.join([*lines[:MAX_GROUP_ERRORS], *more])}"
    return text if len(text) <= MAX_ERROR_TEXT else f"{text[: MAX_ERROR_TEXT - 1]}…"


def type_name(error: BaseException) -> str:
    """Return the name of the exception's class, as text that UTF-8 can carry."""
    return clean_text(type(error).__name__)[:200]


def leaves(error: BaseException, depth: int = 0) -> Iterator[BaseException]:
    """Yield the exceptions of a group and of the groups in it, or the exception itself."""
    if not isinstance(error, BaseExceptionGroup) or depth > MAX_GROUP_DEPTH:
        yield error
        return
    for member in error.exceptions:
        yield from leaves(member, depth + 1)


def _message(error: BaseException) -> str:
    try:
        # The text of a `FailureError` begins with its type. A subclass may have skipped its `__init__`.
        is_failure = isinstance(error, FailureError) and "_message" in vars(error)
        text = vars(error)["_message"] if is_failure else error
        return clean_text(str(text)[: MAX_ERROR_TEXT + 1]).strip() or NO_MESSAGE
    except BaseException:  # noqa: BLE001 a `__str__` of other people may raise anything
        return UNREADABLE
