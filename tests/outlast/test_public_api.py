"""The public API: names and parameters that a release must not change by accident (docs/public-api.md)."""

import ast
import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import outlast

PAGE = Path(__file__).parents[2] / "docs" / "public-api.md"

NAMES: dict[str, set[str]] = {
    "outlast": {
        *(
            "Agent",
            "AgentRequest",
            "AgentResult",
            "Approval",
            "BadRequest",
            "Client",
            "DefinitionError",
            "Escalation",
        ),
        *(
            "Leg",
            "Limits",
            "McpServer",
            "OutlastError",
            "OutlastPlugin",
            "Progress",
            "Retry",
            "Route",
            "Run",
            "RunContext",
            "RunFailed",
        ),
        *("ToolError", "ToolSpec", "Usage", "arguments", "ask_human", "ToolContext", "dependency"),
        *("run_agent", "tool", "Waiting", "__version__", "File", "Image"),
        *("Hooks", "ToolRequest", "Decision", "ToolCall", "TextDelta"),
        *("tools_from_openapi", "handoff", "hedge", "map_over", "quorum", "race"),
    },
    "outlast.errors": {
        *(
            "AgentFailed",
            "AnswerRejected",
            "BadRequest",
            "AttemptLost",
            "ConnectionLost",
            "InputRequired",
            "ContinuedAsNew",
            "DefinitionError",
            "Failure",
            "InternalError",
            "ModelError",
            "ModelFailure",
        ),
        *(
            "NoAnswer",
            "NoWorker",
            "HttpCallFailed",
            "PipelineFailed",
            "NotReady",
            "RunNotFound",
            "Unavailable",
            "OutlastError",
            "OutputMismatch",
            "Retry",
            "RunFailed",
            "RunStopped",
            "InternalError",
            "RunTooLarge",
            "ToolError",
        ),
        *("NotLocal", "ToolFailed", "TooManyWait", "TooSlow", "WorkerShutdown"),
    },
    "outlast.model_server": {
        *("Completion", "DEFAULT_DECODING", "Decoding", "LOOP_TOKENS", "ModelServer", "OnText"),
        *("OnTokens", "Prompt", "ServerFacts", "ServerOptions"),
    },
    "outlast.signing": {"SigningKey"},
    "outlast.turns": {
        *("AnswerTurn", "CallsTurn", "PromptCall", "PromptResult", "RejectedText", "ResultsTurn"),
        "MediaPart",
        *("ToolDefinition", "Turn", "UserTurn"),
    },
    "outlast.testing": {
        *("CHARACTERS_PER_TOKEN", "ScriptExhausted", "ScriptedModel", "Step"),
        *("answer", "call", "calls", "AgentEnvironment", "PlausibleModel", "RecordedModel"),
        *("ScriptUnfinished", "allow_model_requests", "real_model"),
    },
}

PARAMETERS = {
    "outlast.Agent": (
        "name instructions tools output begin_with prompt description model way effort limits deps mcp"
    ),
    "outlast.Agent.check": "self function",
    "outlast.Approval": "audience quorum remind_s escalate expires_s on_expiry on_denial when signed",
    "outlast.Client": "client media_store gateway gateway_token",
    "outlast.Client.chat": "self id text agent by update_id within on_waiting options",
    "outlast.Client.connect": "media_store gateway gateway_token overrides",
    "outlast.Client.download": "self media tenant",
    "outlast.Client.get": "self id agent",
    "outlast.Client.new_run_id": "self name tenant",
    "outlast.Client.run": "self agent input options",
    "outlast.Client.send": "self id text agent by update_id options",
    "outlast.Client.start": "self agent input spec tenant limits mode id task_queue",
    "outlast.Escalation": "audience after_s",
    "outlast.Leg": "task_queue start_within_s server model price way effort",
    "outlast.Limits": "max_turns max_tokens max_cost_usd deadline_s idle_s",
    "outlast.OutlastPlugin": "codec storage",
    "outlast.Retry": "message",
    "outlast.Route": "legs",
    "outlast.Run.answer": "self request answer by comment signer",
    "outlast.Run.approve": "self request by comment signer",
    "outlast.Run.cancel": "self",
    "outlast.Run.decide": "self decision update_id",
    "outlast.Run.deny": "self request by comment signer",
    "outlast.Run.edit": "self request arguments by comment signer",
    "outlast.Run.finish": "self by",
    "outlast.Run.pause": "self by reason",
    "outlast.Run.pending_requests": "self",
    "outlast.Run.progress": "self",
    "outlast.Run.reply": "self within update_id on_waiting",
    "outlast.Run.result": "self",
    "outlast.Run.resume": "self by reason",
    "outlast.Run.say": "self text by when update_id",
    "outlast.Run.stream": "self interval wake",
    "outlast.Run.transcript": "self since",
    "outlast.ToolContext": (
        "deps workflow_id workflow_run_id tenant turn call_id attempt idempotency_key state"
    ),
    "outlast.ToolContext.save_checkpoint": "self value",
    "outlast.ToolError": "message",
    "outlast.ask_human": "answer audience name description max_calls expires remind escalate",
    "outlast.dependency": "function",
    "outlast.handoff": "agent name description",
    "outlast.hedge": "agents delay name description",
    "outlast.map_over": "agent concurrency max_items name description",
    "outlast.quorum": "agents votes name description",
    "outlast.race": "agents name description",
    "outlast.run_agent": "agent input spec limits tenant id task_queue",
    "outlast.tool": ("effect approval name max_calls timeout tool_class compensate verify local"),
    "outlast.tools_from_openapi": (
        "document servers include exclude effects approvals credentials idempotency_header prefix timeout"
    ),
    "outlast.errors.ModelError": "message kind retryable retry_after tokens text",
    "outlast.model_server.ModelServer.aclose": "self",
    "outlast.model_server.ModelServer.complete": "self prompt on_tokens",
    "outlast.model_server.ModelServer.count_prompt_tokens": "self prompt",
    "outlast.model_server.ModelServer.is_reachable": "self",
    "outlast.model_server.ModelServer.probe": "self",
    "outlast.signing.SigningKey.generate": "name",
    "outlast.signing.SigningKey.load": "file",
    "outlast.signing.SigningKey.save": "self file",
    "outlast.signing.SigningKey.sign": "self decision request run_id at",
    "outlast.testing.ScriptedModel": "steps repeat_last",
    "outlast.testing.AgentEnvironment.run": "self agent input model deps decide tenant limits hooks within",
    "outlast.testing.PlausibleModel": "",
    "outlast.testing.RecordedModel": "file server",
    "outlast.testing.allow_model_requests": "allowed",
    "outlast.testing.answer": "value",
    "outlast.testing.call": "tool arguments",
    "outlast.testing.calls": "decisions",
    "outlast.testing.real_model": "options",
}


def public_names(module_name: str) -> set[str]:
    """Return the names that a module defines and that have no leading underscore."""
    module = importlib.import_module(module_name)
    if module_name == "outlast":
        return set(module.__all__)
    source = inspect.getsource(module)
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and not inspect.ismodule(value)
        and (
            getattr(value, "__module__", None) == module_name
            or any(source.find(f"\n{name}{mark}") >= 0 for mark in (" =", ":"))
        )
    }


def parameters(path: str) -> list[str]:
    module_name = max((name for name in NAMES if path.startswith(f"{name}.")), key=len)
    value: Any = importlib.import_module(module_name)
    for part in path.removeprefix(f"{module_name}.").split("."):
        value = getattr(value, part)
    return list(inspect.signature(value).parameters)


@pytest.mark.parametrize("module", NAMES)
def test_a_public_module_has_exactly_its_names(module: str) -> None:
    assert public_names(module) == NAMES[module]


@pytest.mark.parametrize(("path", "expected"), PARAMETERS.items())
def test_parameters_keep_their_names_and_order(path: str, expected: str) -> None:
    assert parameters(path) == expected.split()


def test_every_public_function_and_method_of_outlast_is_listed() -> None:
    functions = {
        f"outlast.{name}" for name in outlast.__all__ if inspect.isfunction(getattr(outlast, name))
    }
    methods = {
        f"outlast.{owner.__name__}.{name}"
        for owner in (outlast.Client, outlast.Run)
        for name, value in vars(owner).items()
        if not name.startswith("_") and (callable(value) or isinstance(value, classmethod))
    }
    assert functions | methods <= PARAMETERS.keys()


def test_type_checkers_and_python_find_the_same_names_in_the_same_modules() -> None:
    imports = {
        name.name: node.module
        for node in ast.walk(ast.parse(inspect.getsource(outlast)))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("outlast.")
        for name in node.names
    }
    assert imports == outlast._MODULES
    assert sorted(imports) == outlast.__all__ == dir(outlast)


def test_a_name_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(AttributeError, match="'outlast' has no attribute 'Agnt'"):
        outlast.Agnt  # type: ignore[attr-defined]  # noqa: B018


def test_the_page_lists_every_public_name() -> None:
    page = PAGE.read_text()
    assert all(f"## `{module}`" in page for module in NAMES)
    missing = {name for names in NAMES.values() for name in names if f"`{name}`" not in page}
    assert not missing


@pytest.mark.parametrize("kind", [outlast.Client, outlast.Run])
def test_the_page_about_steering_lists_every_method(kind: type) -> None:
    page = (PAGE.parent / "steering.md").read_text()
    header = f"| method of `{kind.__name__}` | does |"
    table = page.partition(header)[2].partition("\n\n")[0]
    listed = set(
        re.findall(r"`(\w+)`", "".join(row.split("|")[1] for row in table.split("\n")[2:]))
    )
    functions = {name for name, value in vars(kind).items() if callable(value) or name == "connect"}
    of_people = {name for name in functions if not name.startswith("_")}
    assert listed == of_people - {"decide"}  # its argument has no public name


def test_every_public_name_has_a_docstring() -> None:
    undocumented = {
        f"{module}.{name}"
        for module, names in NAMES.items()
        for name in names
        if inspect.isclass(value := getattr(importlib.import_module(module), name))
        or inspect.isfunction(value)
        if not inspect.getdoc(value)
    }
    assert not undocumented
