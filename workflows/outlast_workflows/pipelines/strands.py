"""Strands: the calls of a pipeline that come one after the other, which number their places.

Branches of a `fork` and items of a `for` with `concurrency` run at the same time. Their calls come in any
order, and after a reset in another one. So each branch is a strand with numbers of its own. The place of
a call, which ends its idempotency key, depends on its strand alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from outlast_workflows.pipelines.state import PipelineState, Strand

_ROOT = ""
"""The address of the strand of everything that is in no other."""

_ADDRESS: ContextVar[str] = ContextVar("strand", default=_ROOT)
"""The address of the strand of the current task. Each branch has a task of its own."""


def next_place(state: PipelineState) -> tuple[str, str]:
    """Count a call. Return its id, which is unique in the run, and its place."""
    strand = _current(state)
    state.call_count += 1
    strand.calls += 1
    return f"{state.call_count}.1", f"{strand.place}{strand.calls}.1"


def strand_place(state: PipelineState) -> str:
    """Return what begins the places of the current strand; empty outside of all."""
    return _current(state).place


def begin_strands(state: PipelineState) -> str:
    """Return what begins the places of strands that begin now; empty in a run of an older build."""
    if not state.has_strands:
        return ""
    strand = _current(state)
    strand.forks += 1
    return f"{strand.place}f{strand.forks}."


@contextmanager
def in_strand(state: PipelineState, address: str, place: str) -> Iterator[None]:
    """Run the block as a strand, which goes on after a continue-as-new. Without a place, there is none."""
    if place:
        state.strands.setdefault(address, Strand(place=f"{place}/"))
    if address not in state.strands:
        yield
        return
    outer = _ADDRESS.get()
    _ADDRESS.set(address)
    try:
        yield
    finally:
        _ADDRESS.set(outer)  # not `reset`: a coroutine can be closed in another context
        state.strands.pop(address, None)


def _current(state: PipelineState) -> Strand:
    # A run that an older build began has numbered all of its calls, in whatever branch they were.
    root = state.strands.setdefault(_ROOT, Strand(calls=state.call_count))
    return state.strands.get(_ADDRESS.get(), root)
