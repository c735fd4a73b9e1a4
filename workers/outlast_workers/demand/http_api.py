"""Demand over HTTP: JSON for people and KEDA's `metrics-api`, and metrics for Prometheus."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from outlast_workers.demand.demand_query import (
    TASK_TYPES,
    DemandQuery,
    ParameterNames,
    Target,
    parse_query,
)
from outlast_workers.demand.reading_cache import CachedReading, ReadingCache
from outlast_workers.demand.temporal_source import ReadingFailed
from outlast_workers.web import JsonLine

PARAMETER_NAMES = ParameterNames()

NOT_WATCHED = (
    "this target is not watched, and demand.only_watched is set: add it to demand.queues or "
    "demand.versions"
)

DefaultSlots = Callable[[str], int]
"""Returns the slots of one worker of a task queue, for a query that does not give them."""

GAUGES: dict[str, str] = {
    "outlast_demand": "Slots that are needed: waiting tasks plus running tasks.",
    "outlast_backlog": "Tasks that wait for a worker, by task type.",
    "outlast_oldest_seconds": "Age of the oldest waiting task; 0 if none waits.",
    "outlast_busy_slots": "Slots that workers use.",
    "outlast_desired_workers": "Workers that provide the needed slots.",
    "outlast_demand_age_seconds": "Age of the last answer of Temporal.",
}


@dataclass(frozen=True)
class DemandMetrics:
    """The demand of all watched targets, as a collector of Prometheus' client library.

    Targets that were only queried have no gauge: any client could add series with names of its choice.
    Targets without a current reading have no gauge except their age.
    """

    cache: ReadingCache
    default_slots: DefaultSlots

    def collect(self) -> list[Metric]:
        """Return each gauge with the values of all targets."""
        metrics = {name: Metric(name, text, "gauge") for name, text in GAUGES.items()}
        for target in self.cache.watched:
            labels = {
                "task_queue": target.task_queue,
                "deployment": target.deployment,
                "build_id": target.build_id,
            }
            for name, more, value in self._values(target):
                metrics[name].add_sample(name, {**labels, **more}, value)
        return list(metrics.values())

    def _values(self, target: Target) -> Iterator[tuple[str, dict[str, str], float]]:
        """Yield the name, the additional labels, and the value of each gauge of a target."""
        age_s = self.cache.age_s(target)
        if age_s is not None:
            yield "outlast_demand_age_seconds", {}, round(age_s, 3)
        try:
            reading = self.cache.peek(target).reading
        except ReadingFailed:
            return
        for task_type, load in reading.loads.items():
            yield "outlast_backlog", {"type": task_type}, load.backlog
        demand = _query_for_all(target, self.default_slots).evaluate(reading)
        yield "outlast_demand", {}, demand.demand
        yield "outlast_oldest_seconds", {}, demand.oldest_s or 0
        yield "outlast_busy_slots", {}, demand.busy
        yield "outlast_desired_workers", {}, demand.desired_workers


@dataclass(frozen=True)
class HttpApi:
    """The endpoints of the demand service."""

    cache: ReadingCache
    default_slots: DefaultSlots
    collectors: Sequence[Collector] = ()
    """Further metrics than those of demand."""

    async def demand(self, request: Request) -> Response:
        """Return the demand of one target; 503 if it has no current reading."""
        parameters = {**request.query_params, "task_queue": request.path_params["task_queue"]}
        try:
            query = parse_query(parameters, PARAMETER_NAMES, default_slots=self.default_slots)
        except ValueError as error:
            return JsonLine({"error": str(error)}, HTTPStatus.BAD_REQUEST)
        if not self.cache.admits(query.target):
            return JsonLine({"error": NOT_WATCHED}, HTTPStatus.NOT_FOUND)
        try:
            latest = await self.cache.latest(query.target)
        except ReadingFailed as error:
            return JsonLine({"error": str(error)}, HTTPStatus.SERVICE_UNAVAILABLE)
        return JsonLine(demand_json(query, latest))

    async def all_demands(self, _: Request) -> Response:
        """Return the demand of all polled targets; 503 if a watched one has no current reading."""
        queues: list[dict[str, Any]] = []
        errors: list[str] = []
        for target in self.cache.targets:
            try:
                latest = self.cache.peek(target)
            except ReadingFailed as error:
                if target in self.cache.watched:
                    errors.append(f"{target.task_queue}: {error}")
            else:
                queues.append(demand_json(_query_for_all(target, self.default_slots), latest))
        status = HTTPStatus.SERVICE_UNAVAILABLE if errors else HTTPStatus.OK
        return JsonLine({"queues": queues, **({"errors": errors} if errors else {})}, status)

    async def metrics(self, _: Request) -> Response:
        """Return the demand of all watched targets, and the other metrics, in Prometheus' text format."""
        demand = DemandMetrics(self.cache, self.default_slots)
        text = b"".join(map(generate_latest, (demand, *self.collectors)))
        return Response(text, media_type=CONTENT_TYPE_PLAIN_0_0_4)

    async def health(self, _: Request) -> Response:
        """Return 200 while this process answers, even while Temporal does not."""
        return PlainTextResponse("ok")


def _query_for_all(target: Target, default_slots: DefaultSlots) -> DemandQuery:
    return DemandQuery(target, TASK_TYPES, default_slots(target.task_queue))


def demand_json(query: DemandQuery, latest: CachedReading) -> dict[str, Any]:
    """Return the answer to a query. KEDA reads its `demand`."""
    target, reading = query.target, latest.reading
    demand = query.evaluate(reading)
    return {
        "task_queue": target.task_queue,
        "deployment": target.deployment,
        "build_id": target.build_id,
        "backlog": {task_type: load.backlog for task_type, load in reading.loads.items()},
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


def http_api(
    cache: ReadingCache, default_slots: DefaultSlots, collectors: Sequence[Collector] = ()
) -> Starlette:
    """Return the application: `/demand`, `/demand/QUEUE`, `/metrics`, `/healthz`."""
    api = HttpApi(cache, default_slots, collectors)
    app = Starlette(
        routes=[
            Route("/demand", api.all_demands),
            # `path`, because names of task queues may contain slashes.
            Route("/demand/{task_queue:path}", api.demand),
            Route("/metrics", api.metrics),
            Route("/healthz", api.health),
        ]
    )
    # A redirect would name the host of the client, without TLS: it could carry the token there.
    app.router.redirect_slashes = False
    return app
