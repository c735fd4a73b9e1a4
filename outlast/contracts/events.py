"""Pieces of answers, which workers push to the gateway while a model writes. No history holds them.

A gateway reads thousands of them a second. So they are plain models of pydantic: the checks of `WireModel`
run in Python, and take most of the time.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MAX_ANSWER_CHARACTERS = 200_000
"""Characters of an answer that are streamed. The transcript has the rest."""

MAX_PIECES = 500
"""Pieces in one request of a worker: one for each answer that has grown."""

MAX_WORKFLOW_ID = 1_000
"""Characters of a workflow id. Temporal's own limit is 1,000 bytes."""

Count = Annotated[int, Field(ge=0, le=10**16)]


class AnswerPiece(BaseModel):
    """The text of an open answer from the character `offset` on.

    `entry` is the number of transcript entries before the answer. `attempt` is greater for each later
    prompt of the same entry, on any worker: it begins with the server's time of the activity's attempt.
    """

    model_config = ConfigDict(frozen=True)

    workflow_id: Annotated[str, Field(min_length=1, max_length=MAX_WORKFLOW_ID)]
    entry: Count
    attempt: Count
    turn: Count = 0
    offset: Count = 0
    text: Annotated[str, Field(max_length=MAX_ANSWER_CHARACTERS)] = ""
    is_thinking: bool = False
    """Whether the model has written thoughts, which nobody is shown."""
    has_ended: bool = False
    """Whether the model call has ended, so that an entry follows soon."""


class PushedPieces(BaseModel):
    """The body of one request of a worker."""

    model_config = ConfigDict(frozen=True)

    pieces: Annotated[tuple[AnswerPiece, ...], Field(fail_fast=True, max_length=MAX_PIECES)]


class HeldPieces(BaseModel):
    """The reply: for each piece, the characters of its attempt that the hub has now.

    A worker continues from there, also if the hub has lost its memory. -1 stands for an attempt that a
    later one has replaced.
    """

    model_config = ConfigDict(frozen=True)

    held: tuple[int, ...] = ()
