"""Tools as people write them: each works, or is a `DefinitionError` that names the tool."""

import datetime
import functools
from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest
from pydantic import Field

from outlast import Agent, DefinitionError, ask_human, tool
from outlast.agents.catalog import Catalog
from tests.outlast.agents.tool_types import Cents, make
from tests.stage import catalog_of


def logged(function: Any) -> Any:
    @functools.wraps(function)
    def inner(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return inner


def unnamed(function: Any) -> Any:
    def inner(text: str) -> str:
        result: str = function(text)
        return result

    return inner


async def double(text: str) -> str:
    """Double."""
    return text * 2


async def both(text: str, other: str) -> str:
    """Join."""
    return text + other


class Doubler:
    async def __call__(self, text: str) -> str:
        """Double."""
        return text * 2

    async def method(self, text: str) -> str:
        """Double."""
        return text * 2

    def plain(self, text: str) -> str:
        """Double."""
        return text * 2

    @staticmethod
    async def static(text: str) -> str:
        """Double."""
        return text * 2

    @classmethod
    def of_class(cls, text: str) -> str:
        """Double."""
        return text * 2


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (logged(double), "double"),
        (logged(logged(double)), "double"),
        (unnamed(double), "inner"),
        (functools.partial(both, other="ab"), "both"),
        (functools.partial(functools.partial(both), other="ab"), "both"),
        (logged(functools.partial(both, other="ab")), "both_"),
        (Doubler(), "Doubler"),
        (Doubler().method, "method"),
        (Doubler().plain, "plain"),
        (Doubler.static, "static"),
        (Doubler.of_class, "of_class"),
        (logged(Doubler().method), "method"),
        (lambda text: text * 2, "lambda_"),
    ],
)
async def test_functions_in_all_clothes_are_called_and_awaited(function: Any, name: str) -> None:
    if name == "lambda_":
        function.__annotations__ = {"text": str, "return": str}
    made = make(function, name if name.endswith("_") else None)
    assert made.name == name
    assert await made.invoke({"text": "ab"}) == b'"abab"'
    assert list(made.spec.parameters["properties"]) == ["text"]


async def _yields() -> AsyncIterator[str]:
    yield "x"


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (Doubler, "is not a function"),
        (5, "is not a function"),
        (None, "is not a function"),
        (Doubler.method, "'self' has no type hint: a method cannot be a tool before"),
        (vars(Doubler)["of_class"], "a method cannot be a tool before it belongs to an object"),
        (_yields, "it yields its results; return them as a list"),
        (len, "its result has no type hint"),
        (print, "its result has no type hint"),
        (make(double), "is a tool already"),
    ],
)
def test_what_is_no_function_is_refused(function: Any, reason: str) -> None:
    with pytest.raises(DefinitionError, match=reason):
        make(function, "act")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            {"timeout": 30},
            r"tool 'double': timeout: 30 is not a timedelta; give timedelta\(seconds=30\)",
        ),
        ({"timeout": None}, "timeout: None is not a timedelta"),
        ({"timeout": datetime.timedelta(0)}, "timeout: .* must be longer than 0 s"),
        ({"timeout": -datetime.timedelta(seconds=1)}, "timeout: .* must be longer than 0 s"),
        ({"timeout": datetime.timedelta.max}, "at most a year"),
        ({"max_calls": 0}, "tool 'double': max_calls 0 must be a whole number of at least 1"),
        ({"max_calls": True}, "max_calls True must be"),
        ({"max_calls": "3"}, "max_calls '3' must be"),
        ({"effect": "reed"}, "tool 'double': effect 'reed'; did you mean 'read'?"),
        ({"effect": None}, "tool 'double': effect None; known: read, idempotent"),
        ({"effect": ["read"]}, "tool 'double': effect"),
        ({"approval": True}, "tool 'double': approval True must be an audience"),
        ({"approval": ""}, "approval: '' has 0 characters; an audience has 1 to 100"),
        ({"approval": ["a"]}, "approval .* must be an audience"),
        ({"name": 5}, "tool 5: its name must be text"),
        ({"name": ""}, "a name is a letter"),
        ({"name": "double\n"}, "a name is a letter"),
        ({"name": "generate"}, "has the name of an activity of outlast"),
        ({"tool_class": "big gpu"}, "tool_class 'big gpu' is not a name"),
        ({"tool_class": 5}, "tool 'double'"),
        ({"compensate": double}, "tool 'double': .* is not a tool"),
        ({"efect": "read"}, "unknown option 'efect'; did you mean 'effect'?"),
    ],
)
def test_a_wrong_option_is_refused_with_the_name_of_the_tool(
    options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(DefinitionError, match=reason):
        make(double, **options)


def test_a_bare_decorator_says_what_is_missing() -> None:
    with pytest.raises(DefinitionError, match="tool 'double': give its effect: @tool"):
        tool(double)  # type: ignore[call-arg, arg-type]
    with pytest.raises(DefinitionError, match="tool: give its effect"):
        tool(approval="x")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"name": 5}, "agent 5"),
        ({"instructions": None}, "agent 'a'"),
        ({"tools": None}, "agent 'a'"),
        ({"tools": 5}, "agent 'a'"),
        ({"limits": {"max_turns": 0}}, "agent 'a'"),
        ({"limits": 5}, "agent 'a'"),
        ({"begin_with": 5}, "agent 'a'"),
        ({"prompt": None}, "agent 'a'"),
        ({"output": Cents}, "the output of agent 'a': .* cannot be read from JSON"),
        ({"output": Annotated[str, Field(pattern="^(?=a)b$")]}, "the output of agent 'a'"),
        ({"output": 5}, "the output of agent 'a'"),
    ],
)
def test_an_agent_that_is_defined_wrongly_is_refused_with_its_name(
    fields: dict[str, Any], reason: str
) -> None:
    with pytest.raises(DefinitionError, match=reason):
        Agent(**{"name": "a", "instructions": "Do.", **fields})


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            {"expires": 30},
            r"ask_human: expires: 30 is not a timedelta; give timedelta\(seconds=30\)",
        ),
        ({"expires": datetime.timedelta(0)}, "ask_human: expires: .* must be longer than 0 s"),
        ({"remind": 5}, "ask_human: remind: 5 is not a timedelta"),
        ({"remind": datetime.timedelta(0)}, "ask_human: remind"),
        ({"audience": ""}, "ask_human: audience"),
        ({"audience": 5}, "ask_human: audience"),
        ({"max_calls": 0}, "ask_human: max_calls"),
        ({"name": "ask human"}, "ask human: name"),
        ({"name": "generate"}, "has the name of an activity"),
        ({"escalate": ["boss"]}, "ask_human: escalate"),
        ({"answer": Cents}, "the answer of 'ask_human': .* cannot be read from JSON"),
        ({"answer": Annotated[str, Field(pattern="(?=a)")]}, "the answer of 'ask_human'"),
    ],
)
def test_a_question_that_is_defined_wrongly_is_refused_with_its_name(
    options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(DefinitionError, match=reason) as raised:
        ask_human(**options)
    assert "\n" not in str(raised.value)


def test_two_tools_of_one_name_are_named_with_their_places() -> None:
    first, second = make(double, "refund"), make(both, "refund")
    agents = [
        Agent(name=f"a{n}", instructions="Do.", tools=[t]) for n, t in enumerate((first, second))
    ]
    place = rf"{__name__}, line \d+"
    with pytest.raises(
        DefinitionError, match=f"two tools are named 'refund': {place}, and {place}"
    ):
        catalog_of(agents)


def test_two_agents_of_one_name_are_named_with_their_modules() -> None:
    import types  # noqa: PLC0415

    modules = [types.ModuleType("one"), types.ModuleType("two")]
    for module in modules:
        vars(module)["made"] = Agent(name="same", instructions="Do.")
    with pytest.raises(DefinitionError, match="two agents are named 'same': one, and two"):
        Catalog.of(modules)
