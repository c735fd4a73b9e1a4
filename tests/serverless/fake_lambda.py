"""A fake of AWS Lambda: its API as far as Temporal's worker controller asks it, and its Runtime API.

What runs in it is real: the handler, in processes of its own under AWS's runtime client, `awslambdaric`. It
keeps to what Lambda documents where a worker can tell: asynchronous invocations wait in a queue, an
environment serves one at a time, is kept warm and frozen between them, and is killed at the timeout.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from outlast_workers.local.ports import HOST, free_port
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.acceptance.processes import ROOT
from tests.loopback import listening

ARN = "arn:aws:lambda:us-east-1:123456789012:function:outlast:1"

RUNTIME = "/environments/{environment}/2018-06-01/runtime"


@dataclass
class Invocation:
    """An invocation from its request on. Times are those of `time.time`."""

    asked_at: float = field(default_factory=time.time)
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    began_at: float = 0
    ended_at: float = 0
    is_cold: bool = False
    outcome: str = "running"

    @property
    def took_s(self) -> float:
        return self.ended_at - self.began_at


class FakeLambda:
    """One function. `invocations` holds every requested invocation."""

    def __init__(
        self, *, log: Path, environment: Mapping[str, str], timeout_s: float, concurrency: int
    ) -> None:
        self.invocations: list[Invocation] = []
        self.port = free_port()
        self._log = log
        self._variables = dict(environment)
        self._timeout_s = timeout_s
        self._concurrency = concurrency
        self._waiting: deque[Invocation] = deque()
        self._environments: dict[str, _Environment] = {}
        self._watching: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def running(self) -> list[Invocation]:
        return [one for one in self.invocations if not one.ended_at]

    def log_text(self) -> str:
        return self._log.read_text()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["FakeLambda"]:
        async with listening(self._app(), self.port):
            try:
                yield self
            finally:
                await self.cool_down()
                for task in self._watching:
                    task.cancel()

    async def cool_down(self) -> None:
        """End all environments, as Lambda does with those that it has kept for a while."""
        self._waiting.clear()
        for environment in list(self._environments.values()):
            await environment.kill()
        self._environments.clear()

    def _app(self) -> Starlette:
        invocation = f"{RUNTIME}/invocation/{{id}}"
        return Starlette(
            routes=[
                Route(
                    "/2015-03-31/functions/{name:path}/invocations", self._invoke, methods=["POST"]
                ),
                Route("/2015-03-31/functions/{name:path}", self._describe),
                Route(f"{RUNTIME}/invocation/next", self._next),
                Route(f"{invocation}/response", self._answered, methods=["POST"]),
                Route(f"{invocation}/error", self._failed, methods=["POST"]),
            ]
        )

    async def _describe(self, _: Request) -> Response:
        return JSONResponse(
            {"Configuration": {"FunctionName": "outlast", "FunctionArn": ARN, "State": "Active"}}
        )

    async def _invoke(self, request: Request) -> Response:
        assert request.headers["x-amz-invocation-type"] == "Event"
        self.invocations.append(invocation := Invocation())
        self._waiting.append(invocation)
        await self._hand_out()
        return Response(status_code=202)

    async def _hand_out(self) -> None:
        while self._waiting:
            free = next((one for one in self._environments.values() if one.is_free), None)
            if free is None and len(self._environments) >= self._concurrency:
                return
            invocation = self._waiting.popleft()
            if free is None:
                free = _Environment()
                self._environments[free.id] = free
                invocation.is_cold = True
            free.take(invocation)
            if invocation.is_cold:
                await free.start(self.port, self._variables, self._log)
                self._watch(self._end_with(free))

    def _watch(self, watching: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(watching)
        self._watching.add(task)
        task.add_done_callback(self._watching.discard)

    async def _end_with(self, environment: "_Environment") -> None:
        """End the invocation of an environment whose process ends."""
        await environment.ended()
        self._environments.pop(environment.id, None)
        if environment.invocation is not None:
            await self._end(environment.invocation, "killed")

    async def _time_out(self, environment: "_Environment", invocation: Invocation) -> None:
        await asyncio.sleep(self._timeout_s)
        if environment.invocation is invocation:
            await environment.kill()

    async def _next(self, request: Request) -> Response:
        environment = self._environments[request.path_params["environment"]]
        invocation = await environment.next()
        if invocation is None:
            return Response(status_code=410)
        # As in Lambda, the time that the process took to start does not count.
        deadline = time.time() + self._timeout_s
        self._watch(self._time_out(environment, invocation))
        return JSONResponse(
            {},
            headers={
                "lambda-runtime-aws-request-id": invocation.id,
                "lambda-runtime-deadline-ms": str(int(deadline * 1000)),
                "lambda-runtime-invoked-function-arn": ARN,
            },
        )

    async def _answered(self, request: Request) -> Response:
        return await self._over(request, "done")

    async def _failed(self, request: Request) -> Response:
        return await self._over(request, f"failed: {(await request.body()).decode()}")

    async def _over(self, request: Request, outcome: str) -> Response:
        environment = self._environments[request.path_params["environment"]]
        invocation, environment.invocation = environment.invocation, None
        assert invocation is not None
        await self._end(invocation, outcome)
        return Response(status_code=202)

    async def _end(self, invocation: Invocation, outcome: str) -> None:
        invocation.ended_at, invocation.outcome = time.time(), outcome
        await self._hand_out()


class _Environment:
    """An execution environment: a process that asks for one invocation after the other."""

    def __init__(self) -> None:
        self.id = str(uuid.uuid4())
        self.invocation: Invocation | None = None
        self._next: asyncio.Queue[Invocation | None] = asyncio.Queue()
        self._process: asyncio.subprocess.Process | None = None
        self._is_frozen = False

    @property
    def is_free(self) -> bool:
        """Whether it is frozen and waits for its next invocation."""
        return self._is_frozen

    async def start(self, port: int, variables: Mapping[str, str], log: Path) -> None:
        known = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        with log.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "awslambdaric", "function.serve"),
                cwd=ROOT / "deploy" / "lambda",
                env={
                    **known,
                    "PYTHONPATH": f"{ROOT / 'deploy' / 'lambda'}:{ROOT}",
                    "AWS_LAMBDA_RUNTIME_API": f"{HOST}:{port}/environments/{self.id}",
                    "AWS_LAMBDA_FUNCTION_NAME": "outlast",
                    "LAMBDA_TASK_ROOT": str(ROOT / "deploy" / "lambda"),
                    **variables,
                },
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def take(self, invocation: Invocation) -> None:
        self.invocation = invocation
        if self._is_frozen:
            self._is_frozen = False
            self._signal(signal.SIGCONT)
        invocation.began_at = time.time()
        self._next.put_nowait(invocation)

    async def next(self) -> Invocation | None:
        """Wait for an invocation; None when it is killed meanwhile."""
        if self._next.empty():
            self._is_frozen = True
            self._signal(signal.SIGSTOP)
        return await self._next.get()

    async def ended(self) -> None:
        assert self._process is not None
        await self._process.wait()

    async def kill(self) -> None:
        self._next.put_nowait(None)
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
