"""Demand over HTTP: JSON for KEDA's `metrics-api` and for people, and text for Prometheus."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from outlast_workers.demand.board import Board, Latest
from outlast_workers.demand.demand import TASK_TYPES, Question, Target, Words, read_question
from outlast_workers.demand.reading import NotRead

WORDS = Words()

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"

Usual = Callable[[str], int]
"""The slots of a worker of a task queue, for who does not say them."""

GAUGES: dict[str, str] = {
    "outlast_demand": "Slots that are needed: tasks that wait, and tasks under way.",
    "outlast_backlog": "Tasks that wait for a worker, by their type.",
    "outlast_oldest_seconds": "How long the first of them has waited; 0 where none waits.",
    "outlast_busy_slots": "Slots that workers use.",
    "outlast_desired_workers": "Workers that have as many slots as are needed.",
    "outlast_demand_age_seconds": "Age of the last answer of Temporal.",
}


@dataclass(frozen=True)
class HttpApi:
    """The answers of the endpoints."""

    board: Board
    usual_slots: Usual

    async def one(self, request: Request) -> Response:
        """Tell the demand of one target; 503 where the last reading is missing or too old."""
        said = {**request.query_params, "task_queue": request.path_params["task_queue"]}
        try:
            question = read_question(said, WORDS, usual_slots=self.usual_slots)
        except ValueError as error:
            return JSONResponse({"error": str(error)}, HTTPStatus.BAD_REQUEST)
        try:
            latest = await self.board.latest(question.target)
        except NotRead as error:
            return JSONResponse({"error": str(error)}, HTTPStatus.SERVICE_UNAVAILABLE)
        return JSONResponse(as_json(question, latest))

    async def all(self, _: Request) -> Response:
        """Tell the demand of every target that is polled for; 503 where one of them cannot be told."""
        told: list[dict[str, Any]] = []
        errors: list[str] = []
        for target in self.board.targets:
            try:
                latest = self.board.peek(target)
            except NotRead as error:
                errors.append(f"{target.task_queue}: {error}")
            else:
                told.append(as_json(self._everything(target), latest))
        status = HTTPStatus.SERVICE_UNAVAILABLE if errors else HTTPStatus.OK
        return JSONResponse({"queues": told, **({"errors": errors} if errors else {})}, status)

    async def metrics(self, _: Request) -> Response:
        """Tell the same to Prometheus: what is too old is left out, its age is not."""
        lines = {
            name: [f"# HELP {name} {said}", f"# TYPE {name} gauge"] for name, said in GAUGES.items()
        }
        for target in self.board.targets:
            for name, more, value in self._gauges(target):
                lines[name].append(f"{name}{{{_labels(target, more)}}} {value}")
        text = "\n".join(line for some in lines.values() for line in some)
        return Response(text + "\n", media_type=PROMETHEUS)

    async def health(self, _: Request) -> Response:
        """Tell that this process answers; that Temporal does, the demand tells."""
        return PlainTextResponse("ok")

    def _gauges(self, target: Target) -> Iterator[tuple[str, dict[str, str], float]]:
        """Yield the name, the labels beside those of the target, and the value of each."""
        age_s = self.board.age_s(target)
        if age_s is not None:
            yield "outlast_demand_age_seconds", {}, round(age_s, 3)
        try:
            reading = self.board.peek(target).reading
        except NotRead:
            return
        for kind, load in reading.loads.items():
            yield "outlast_backlog", {"type": kind}, load.backlog
        demand = self._everything(target).answer(reading)
        yield "outlast_demand", {}, demand.demand
        yield "outlast_oldest_seconds", {}, demand.oldest_s or 0
        yield "outlast_busy_slots", {}, demand.busy
        yield "outlast_desired_workers", {}, demand.desired_workers

    def _everything(self, target: Target) -> Question:
        return Question(target, TASK_TYPES, self.usual_slots(target.task_queue))


def as_json(question: Question, latest: Latest) -> dict[str, Any]:
    """Return an answer as callers read it; KEDA reads its `demand`."""
    target, reading = question.target, latest.reading
    demand = question.answer(reading)
    return {
        "task_queue": target.task_queue,
        "deployment": target.deployment,
        "build_id": target.build_id,
        "backlog": {kind: load.backlog for kind, load in reading.loads.items()},
        "busy": demand.busy,
        "demand": demand.demand,
        "slots_per_worker": demand.slots_per_worker,
        "desired_workers": demand.desired_workers,
        "oldest_s": demand.oldest_s,
        "as_of": reading.as_of.isoformat(timespec="milliseconds"),
        "age_s": round(latest.age_s, 3),
        "is_stale": latest.error is not None,
        "error": latest.error,
    }


def _labels(target: Target, more: Mapping[str, str]) -> str:
    labels = {
        "task_queue": target.task_queue,
        "deployment": target.deployment,
        "build_id": target.build_id,
        **more,
    }
    return ",".join(f'{name}="{_quoted(value)}"' for name, value in labels.items())


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def http_api(board: Board, usual_slots: Usual) -> Starlette:
    """Return the application: `/demand`, `/demand/QUEUE`, `/metrics`, `/healthz`."""
    api = HttpApi(board, usual_slots)
    return Starlette(
        routes=[
            Route("/demand", api.all),
            # A path, for names of task queues may hold slashes.
            Route("/demand/{task_queue:path}", api.one),
            Route("/metrics", api.metrics),
            Route("/healthz", api.health),
        ]
    )
