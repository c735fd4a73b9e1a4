"""HTTP calls of a pipeline: a worker whose settings allow the host makes them, as an activity."""

import asyncio
import json
from collections.abc import Mapping
from http import HTTPStatus

from pydantic import JsonValue, ValidationError
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

from outlast.contracts.agents import ToolSpec
from outlast.contracts.base import WireModel
from outlast.contracts.http_calls import (
    FoundOperation,
    HttpCallRequest,
    HttpProblem,
    OpenApiQuery,
    call_activity,
)
from outlast.contracts.messages import ToolCall
from outlast.contracts.names import FIND_OPERATION
from outlast.errors import Failure, HttpCallFailed
from outlast.pipelines.errors import COMMUNICATION, CONFIGURATION, EXPRESSION, VALIDATION
from outlast.pipelines.fields import quoted
from outlast.pipelines.jq.budget import ExpressionError
from outlast.pipelines.tasks import Endpoint, HttpCall, OpenApiCall
from outlast.pipelines.templates import Template
from outlast.pipelines.uri_templates import expanded
from outlast.text.json_text import to_json
from outlast_workflows.calls.call_batch import CallBatch, PlannedCall
from outlast_workflows.calls.tool_activities import ToolActivities
from outlast_workflows.pipelines.evaluation import Evaluator, TaskData
from outlast_workflows.pipelines.gate import Gate
from outlast_workflows.pipelines.state import PipelineState
from outlast_workflows.pipelines.strands import next_place
from outlast_workflows.pipelines.task_errors import TaskError
from outlast_workflows.step_failures import cause_of


class HttpCalls:
    """Makes the HTTP calls of one pipeline."""

    def __init__(
        self,
        state: PipelineState,
        gate: Gate,
        evaluator: Evaluator,
        *,
        tools: Mapping[str, ToolSpec],
        activities: ToolActivities,
    ) -> None:
        self._state = state
        self._gate = gate
        self._evaluator = evaluator
        self._tools = tools
        self._activities = activities

    async def http(self, data: TaskData, body: HttpCall) -> JsonValue:
        """Return the output of `call: http`."""
        request = HttpCallRequest(
            method=body.method,
            url=self.url(data, body.endpoint),
            headers=self._object(data, body.headers, "headers"),
            query=self._object(data, body.query, "query"),
            body=self._evaluator.value(data, body.body),
            authentication=body.endpoint.authentication,
            output=body.output,
            redirect=body.redirect,
        )
        return await self.run(call_activity(body.effect), request)

    async def openapi(self, data: TaskData, body: OpenApiCall) -> JsonValue:
        """Return the output of `call: openapi`: one activity finds the operation, and one calls it."""
        url = self.url(data, body.document)
        arguments = self._object(data, body.arguments, "parameters")
        query = OpenApiQuery(url=url, operation_id=body.operation_id)
        # Other tasks and all handlers run meanwhile. They share nothing with this call but the counters.
        found = await self.run(FIND_OPERATION, query)
        try:
            operation = FoundOperation.model_validate(found)
        except ValidationError:
            raise TaskError("the worker returned an invalid operation") from None
        request = HttpCallRequest(
            url=url,
            operation=operation.operation,
            arguments=arguments,
            authentication=body.authentication,
            output=body.output,
            redirect=body.redirect,
        )
        return await self.run(call_activity(operation.effect), request)

    async def run(self, activity: str, value: WireModel, kind: str = "HTTP") -> JsonValue:
        """Return the result of an activity. Raises `TaskError`, which a `try` may catch."""
        tool = self._tools.get(activity)
        if tool is None:
            raise TaskError(
                f"the workers of this pipeline make no {kind} calls: update them",
                type=CONFIGURATION,
                status=400,
            )
        arguments = value.model_dump(mode="json", exclude_defaults=True)
        self._state.run.spending.add_tool_call(activity)
        call_id, place = next_place(self._state)
        made = ToolCall(tool=activity, arguments=arguments)
        call = PlannedCall(call_id, tool, made, CallBatch(), place=place)
        await self._gate.start(len(to_json(arguments)))
        try:
            result: JsonValue = json.loads(await self._activities.execute(call))
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise asyncio.CancelledError from error
            raise _task_error(error, kind) from None
        except Failure as error:
            raise TaskError(f"the {kind} call failed", detail=str(error.message)) from None
        return result

    def url(self, data: TaskData, endpoint: Endpoint) -> str:
        """Return the URL of an endpoint. Raises `TaskError` for one that is not text."""
        if not endpoint.is_template:
            url = self._evaluator.value(data, endpoint.uri)
            if not isinstance(url, str):
                raise TaskError(
                    f"the endpoint {quoted(url)} is not a text", type=EXPRESSION, status=400
                )
            return url
        try:
            return expanded(str(endpoint.uri.value), data.input)
        except ExpressionError as error:
            raise TaskError(
                "the endpoint is not valid", type=EXPRESSION, status=400, detail=str(error)
            ) from None

    def _object(self, data: TaskData, template: Template, name: str) -> dict[str, JsonValue]:
        value = self._evaluator.value(data, template)
        if not isinstance(value, dict):
            raise TaskError(
                f"{name!r} is {quoted(value)}, not an object", type=VALIDATION, status=400
            )
        return value


def _task_error(error: ActivityError, kind: str) -> TaskError:
    cause = error.cause
    problem = HttpProblem(type=COMMUNICATION, status=HTTPStatus.GATEWAY_TIMEOUT)
    if isinstance(cause, ApplicationError) and cause.type == HttpCallFailed.__name__:
        try:
            problem = HttpProblem.model_validate(cause.details[0] if cause.details else None)
        except ValidationError:
            problem = HttpProblem(type=COMMUNICATION, status=500)
    return TaskError(
        f"the {kind} call failed", type=problem.type, status=problem.status, detail=cause_of(error)
    )
