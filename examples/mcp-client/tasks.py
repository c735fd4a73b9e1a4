"""An MCP client that keeps a list of tasks, as coding clients do: runs of agents go on while it is closed.

python tasks.py URL list
python tasks.py URL start AGENT TEXT
python tasks.py URL answer TASK decision=approve    a field of the form that the task waits for, or several
python tasks.py URL cancel TASK

The extension `io.modelcontextprotocol/tasks` has no list of tasks. So each client keeps the ids of its own.
"""

import argparse
import asyncio
import json
import os
from pathlib import Path
from typing import Any, Literal

import httpx2
from mcp.client.client import Client
from mcp.client.extension import ClaimContext, ClientExtension, ResultClaim
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, Request, RequestParams, Result
from pydantic import ConfigDict, Field

TASKS = Path("mcp-tasks.json")
"""The started tasks: what was sent, by task id."""

MARKS = {"working": "…", "input_required": "?", "completed": "✓", "failed": "✗", "cancelled": "-"}


class CreatedTask(Result):
    """The result of a call that goes on as a task."""

    result_type: Literal["task"] = Field(alias="resultType")
    task_id: str = Field(alias="taskId")


class TaskParams(RequestParams):
    """The parameters of `tasks/get`, `tasks/update` and `tasks/cancel`."""

    model_config = ConfigDict(extra="allow")

    task_id: str = Field(alias="taskId")


class TaskResult(Result):
    """The fields of a task."""

    model_config = ConfigDict(extra="allow")


class TaskExtension(ClientExtension):
    """Tells servers that this client takes tasks as results of calls."""

    identifier = "io.modelcontextprotocol/tasks"

    def claims(self) -> list[ResultClaim[Any]]:
        """Return the result that the client takes besides those of the core protocol."""
        return [ResultClaim(result_type="task", model=CreatedTask, resolve=_later)]


async def _later(_: CreatedTask, __: ClaimContext) -> CallToolResult:
    raise NotImplementedError("the tasks are listed later")


async def send(client: Client, method: str, task: str, **fields: Any) -> dict[str, Any]:
    """Send a method of the extension, and return its result."""
    params = TaskParams(taskId=task, **fields)
    request: Any = Request[Any, Any](method=method, params=params)
    result = await client.session.send_request(request, TaskResult)
    return result.model_dump(by_alias=True, mode="json")


async def start(client: Client, agent: str, text: str) -> None:
    """Start an agent, and keep the id of its task."""
    call = client.session.call_tool
    created: Any = await call(agent, {"input": text}, allow_claimed=True)
    if isinstance(created, CallToolResult):  # an error, or a server without the extension
        print(text_of(created.model_dump()))
        return
    keep({**known(), created.task_id: f"{agent}: {text}"})
    print(created.task_id)


async def show(client: Client) -> None:
    """Print the tasks: what was asked, how they are, and what they wait for."""
    for task, title in known().items():
        state: dict[str, Any]
        try:
            state = await send(client, "tasks/get", task)
        except MCPError as error:  # such as a task that is older than the retention of its server
            state = {"status": "failed", "statusMessage": str(error)}
        more = text_of(state["result"]) if "result" in state else state.get("statusMessage", "")
        print(f"{MARKS[state['status']]} {title}\n  {state['status']}: {more}\n  {task}\n")


async def answer(client: Client, task: str, fields: list[str]) -> None:
    """Answer all open requests of a task with the same fields."""
    named = {name: value for name, _, value in (field.partition("=") for field in fields)}
    requests = (await send(client, "tasks/get", task)).get("inputRequests", {})
    responses = {
        key: {"action": "accept", "content": form(request["params"]["requestedSchema"], named)}
        for key, request in requests.items()
    }
    await send(client, "tasks/update", task, inputResponses=responses)


def form(schema: dict[str, Any], named: dict[str, str]) -> dict[str, Any]:
    """Return the fields of a form, in their types."""
    kinds = {name: field.get("type", "string") for name, field in schema["properties"].items()}
    return {
        name: text if kinds.get(name, "string") == "string" else json.loads(text)
        for name, text in named.items()
    }


async def cancel(client: Client, task: str) -> None:
    """Cancel a task."""
    await send(client, "tasks/cancel", task)


def known() -> dict[str, str]:
    """Return what was sent, by task id."""
    return dict(json.loads(TASKS.read_text())) if TASKS.exists() else {}


def keep(tasks: dict[str, str]) -> None:
    """Write down the tasks."""
    TASKS.write_text(json.dumps(tasks))


def text_of(result: dict[str, Any]) -> str:
    """Return the text of a result of a tool."""
    return "\n".join(part["text"] for part in result["content"] if part["type"] == "text")


async def run(url: str, command: str, arguments: dict[str, Any]) -> None:
    """Connect to a server, and run one command."""
    commands: dict[str, Any] = {"list": show, "start": start, "answer": answer, "cancel": cancel}
    token = os.environ.get("GATEWAY_TOKEN")
    headers = {"authorization": f"Bearer {token}"} if token else {}
    async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
        transport = streamable_http_client(url, http_client=http)
        async with Client(transport, extensions=[TaskExtension()]) as client:
            try:
                await commands[command](client, **arguments)
            except MCPError as error:
                print(error)


def main() -> None:
    """Read the command line, and run its command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("url")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list")
    for name in ("answer", "cancel"):
        commands.add_parser(name).add_argument("task")
    commands.choices["answer"].add_argument("fields", nargs="+", metavar="NAME=VALUE")
    starting = commands.add_parser("start")
    starting.add_argument("agent")
    starting.add_argument("text")
    arguments = vars(parser.parse_args())
    asyncio.run(run(arguments.pop("url"), arguments.pop("command"), arguments))


if __name__ == "__main__":
    main()
