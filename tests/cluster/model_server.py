"""A scripted model server for the pods of the suite: an input that begins with `slow` takes a while."""

import asyncio

from bench.scripted_model_server import Request, ScriptedModelServer, Step

PORT = 8000

SLOW_S = 30.0
"""Long enough for an autoscaler to see the work, which it polls every 5 s."""

ANSWER = '{"answer":"done"}'


def answer(request: Request) -> Step:
    """Answer at once, or after `SLOW_S`."""
    is_slow = any("slow" in str(message.get("content")) for message in request.messages)
    return Step(ANSWER, delay_s=SLOW_S if is_slow else 0)


async def serve(port: int = PORT) -> None:
    """Serve until the process is ended."""
    # Only the pods of the suite's namespace reach it.
    async with ScriptedModelServer(answer, host="0.0.0.0", port=port, recorded=0):  # noqa: S104
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve())
