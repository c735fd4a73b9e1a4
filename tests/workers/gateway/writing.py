"""Steps of a scripted model that writes its answer piece by piece, as a real one does."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from outlast.model_server import Prompt
from outlast.testing import answer
from tests.stage import Flag

PIECES = ("Once ", "upon ", "a time ", "🙂.")
STORY = "".join(PIECES)


def writing(
    pieces: Sequence[str], decision: Any = None, *, gates: Sequence[Flag] = ()
) -> Callable[[Prompt], Any]:
    """Return a step that writes a text in pieces, each after its gate, and then decides."""

    async def step(prompt: Prompt) -> Any:
        assert prompt.on_text is not None
        for number, piece in enumerate(pieces):
            if number < len(gates):
                await gates[number].wait()
            prompt.on_text(piece)
            await asyncio.sleep(0.02)
        for gate in gates[len(pieces) :]:
            await gate.wait()
        return answer("".join(pieces)) if decision is None else decision

    return step


def gate_after(count: int, gate: Flag) -> list[Flag]:
    is_open = Flag()
    is_open.set()
    return [*[is_open] * count, gate]
