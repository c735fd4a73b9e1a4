"""Tools as people write them: each works, or is a `DefinitionError` that names tool and parameter."""

import datetime
import functools
import itertools
import math
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, NamedTuple

import pytest
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict
from typing_extensions import TypedDict

from outlast import Agent, DefinitionError, ToolError, ask_human, tool
from outlast.agents.catalog import Catalog
from outlast.errors import ToolFailed
from tests.stage import catalog_of


def make(function: Any, name: str | None = None, **options: Any) -> Any:
    options.setdefault("effect", "read")
    return tool(name=name, **options)(function)


class Cents(Enum):
    ONE = Decimal("0.01")


class Days(Enum):
    FIRST = datetime.date(2026, 1, 1)


class Points(Enum):
    ORIGIN = (0, 0)


class Holder(BaseModel):
    cents: list[Cents | None]


class Rank(IntEnum):
    LOW = 1


def takes(annotation: Any, default: Any = ...) -> Callable[..., str]:
    def act(value: Any = default) -> str:
        return repr(value)

    if default is ...:

        def act(value: Any) -> str:  # type: ignore[misc]
            return repr(value)

    act.__annotations__["value"] = annotation
    return act


def named(parameter: str) -> Callable[..., str]:
    space: dict[str, Any] = {}
    exec(f"def act({parameter}: str) -> str:\n    return {parameter}", space)  # noqa: S102
    function: Callable[..., str] = space["act"]
    return function


@pytest.mark.parametrize(
    "parameter",
    [
        "_path",
        "__x",
        "model_config",
        "model_extra",
        "model_fields_set",
        "model_dump",
        "model_validate",
        "model_fields",
        "model_copy",
        "model_json_schema",
        "_",
    ],
)
def test_a_parameter_that_pydantic_keeps_is_refused(parameter: str) -> None:
    with pytest.raises(
        DefinitionError, match=f"tool 'act'.*'{parameter}' has a name that pydantic"
    ):
        make(named(parameter))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "parameter",
    [
        "schema",
        "json",
        "copy",
        "dict",
        "model_name",
        "model_id",
        "validate",
        "construct",
        "fields",
        "parse_raw",
        "from_orm",
        "self_",
        "cls_",
        "args",
        "arguments",
        "result",
        "type",
        "id",
    ],
)
async def test_a_parameter_with_an_unusual_name_reaches_the_function(parameter: str) -> None:
    assert await make(named(parameter)).invoke({parameter: "value"}) == b'"value"'


@pytest.mark.parametrize(
    "annotation",
    [
        Cents,
        Days,
        Points,
        Holder,
        list[Cents],
        dict[str, Cents],
        Cents | None,
        Annotated[str, Field(pattern="^(?=a)b$")],
        list[Annotated[str, Field(pattern=r"(a)\1")]],
        Annotated[str, Field(pattern="[")],
        Callable[[], int],
        "int[",
        type("Plain", (), {}),
    ],
    ids=repr,
)
def test_a_type_that_cannot_be_an_argument_is_refused_with_its_names(annotation: Any) -> None:
    with pytest.raises(DefinitionError, match="act") as raised:
        make(takes(annotation))
    assert "\n" not in str(raised.value)


class Booking(BaseModel):
    model_config = ConfigDict(strict=True)
    when: datetime.datetime


class Shape(TypedDict):
    side: int


class Pair(NamedTuple):
    left: int
    right: int


@dataclass
class Box:
    size: Decimal


@pytest.mark.parametrize(
    ("annotation", "value", "seen"),
    [
        (Booking, {"when": "2026-01-01T00:00:00Z"}, "2026, 1, 1"),
        (Annotated[datetime.date, Strict()], "2026-01-01", "2026, 1, 1"),
        (Annotated[Decimal, Strict()], "1.50", "Decimal('1.50')"),
        (Annotated[bytes, Strict()], "ab", "b'ab'"),
        (Annotated[frozenset[int], Strict()], [1], "frozenset({1})"),
        (Annotated[tuple[int, ...], Strict()], [1, 2], "(1, 2)"),
        (Rank, 1, "Rank.LOW"),
        (Shape, {"side": 2}, "{'side': 2}"),
        (Pair, [1, 2], "Pair(left=1, right=2)"),
        (Box, {"size": "2"}, "Decimal('2')"),
        (set[int], [1, 1], "{1}"),
        (datetime.timedelta, "PT5S", "seconds=5"),
        (Annotated[int, AfterValidator(lambda number: number + 1)], 1, "2"),
    ],
)
async def test_arguments_are_validated_as_json(annotation: Any, value: Any, seen: str) -> None:
    assert seen in (await make(takes(annotation)).invoke({"value": value})).decode()


async def test_a_field_as_the_default_of_a_documented_parameter_works() -> None:
    @tool(effect="read")
    def search(
        tags: list[str] = Field(default_factory=list),  # noqa: B008
        limit: int = Field(default=3, le=9),
        query: str = Field(..., description="own words"),
        depth: Annotated[int, Field(ge=1)] = Field(2, description="own depth"),
    ) -> str:
        """Search.

        Args:
            tags: what to look for
            limit: how many
            query: documented
            depth: documented
        """
        return f"{tags!r} {limit!r} {query!r} {depth!r}"

    properties: Any = search.spec.parameters["properties"]
    assert {name: schema["description"] for name, schema in properties.items()} == {
        "tags": "what to look for",
        "limit": "how many",
        "query": "own words",
        "depth": "own depth",
    }
    assert search.spec.parameters["required"] == ["query"]
    assert await search.invoke({"query": "x"}) == b"\"[] 3 'x' 2\""
    with pytest.raises(ToolError, match="limit: 99"):
        await search.invoke({"query": "x", "limit": 99})
    with pytest.raises(ToolError, match="depth: 0"):
        await search.invoke({"query": "x", "depth": 0})


@pytest.mark.parametrize("default", [math.inf, -math.inf, math.nan])
async def test_a_default_that_json_does_not_have_is_left_out_of_the_schema(default: float) -> None:
    made = make(takes(float, default))
    assert made.spec.parameters["properties"]["value"] == {"type": "number"}
    assert await made.invoke({}) == f'"{default!r}"'.encode()


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


class Text(BaseModel):
    text: str


def cyclic() -> Any:
    value: list[Any] = []
    value.append(value)
    return value


def bomb() -> Any:
    value: Any = [1]
    for _ in range(60):
        value = [value, value]
    return value


def cyclic_twice() -> Any:
    value: list[Any] = []
    value += [value, value, {"a": value}]
    return value


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


REPLACED: list[tuple[Any, Any, str]] = [
    (str, "caf\udce9.txt", '"caf\ufffd.txt"'),
    (list[str], ["\udce9"], '["\ufffd"]'),
    (dict[str, str], {"\udce9": "\ud83d\ude00"}, '{"\ufffd":"\U0001f600"}'),
    (Any, {"a": ("\udce9",)}, '{"a":["\ufffd"]}'),
    (tuple[str, int], ("\udce9", 1), '["\ufffd",1]'),
    (frozenset[str], frozenset({"\udce9"}), '["\ufffd"]'),
    (Text, Text.model_construct(text="\udce9"), '{"text":"\ufffd"}'),
    (Shape, {"side": 1}, '{"side":1}'),
    (Pair, Pair(1, 2), "[1,2]"),
    (set[int], {1}, "[1]"),
    (bytes, b"text", '"text"'),
    (Any, None, "null"),
    (Decimal, Decimal("1.50"), '"1.50"'),
    (Rank, Rank.LOW, "1"),
    (Cents, Cents.ONE, '"0.01"'),
    (list[Any], nested(100), "[" * 100 + "1" + "]" * 100),
    (int, 10**999, str(10**999)),
    (Any, map(str, [1, 2]), '["1","2"]'),
    (Iterable[str], (text for text in ["\udce9"]), '["\ufffd"]'),
    (list[int], iter({1: 0}), "[1]"),
    (Sequence[int], range(3), "[0,1,2]"),
    (Any, {"rows": zip([1], [2], strict=True)}, '{"rows":[[1,2]]}'),
]


@pytest.mark.parametrize(
    ("annotation", "value", "encoded"), REPLACED, ids=map(str, range(len(REPLACED)))
)
async def test_a_result_is_text_that_everybody_can_read(
    annotation: Any, value: Any, encoded: str
) -> None:
    assert (await make(_returning(annotation, value)).invoke({})).decode() == encoded


REFUSED: list[tuple[Any, Any, type[Exception], str]] = [
    (float, math.nan, ToolError, "act returned the number nan, which JSON does not have"),
    (Any, math.inf, ToolError, "the number inf"),
    (list[float], [1.0, -math.inf], ToolError, "the number -inf"),
    (dict[str, Any], {"a": math.nan}, ToolError, "the number nan"),
    (int, 10**1000, ToolError, "a number of more than 1,000 digits"),
    (int, 10**5000, ToolError, "a number of more than 1,000 digits"),
    (Any, nested(101), ToolError, "JSON that is nested deeper than 100 levels"),
    (Any, nested(500), ToolFailed, "cannot be written as JSON"),
    (Any, nested(100_000), ToolFailed, "cannot be written as JSON"),
    (list[Any], cyclic(), ToolFailed, "cannot be written as JSON: Circular reference"),
    (list[Any], cyclic_twice(), ToolFailed, "cannot be written as JSON: Circular reference"),
    (Any, bomb(), ToolError, "act returned more than 256,000 values: ask for less"),
    (Any, itertools.count(), ToolError, "act returned more than 256,000 values: ask for less"),
    (Iterable[int], iter(int, 1), ToolError, "more than 256,000 values"),
    (Iterable[int], range(10**12), ToolError, "more than 256,000 values"),
    (Sequence[int], range(10**12), ToolError, "more than 256,000 values"),
    (Any, {"rows": [itertools.repeat("x")]}, ToolError, "more than 256,000 values"),
    (bytes, b"\xff", ToolFailed, "cannot be written as JSON"),
    (Any, object(), ToolFailed, "cannot be written as JSON"),
    (Any, open, ToolFailed, "cannot be written as JSON"),
    (str, 5, ToolFailed, "the result does not match its type"),
    (str, b"\xff", ToolFailed, "the result does not match its type"),
    (list[int], ["\udce9"], ToolFailed, "the result does not match its type"),
    (str, "x" * 300_000, ToolError, "300,002 bytes; at most 256,000 are allowed"),
    (str, "x" * 20_000_000, ToolError, "at most 256,000 are allowed"),
]


@pytest.mark.parametrize(
    ("annotation", "value", "kind", "reason"), REFUSED, ids=map(str, range(len(REFUSED)))
)
async def test_a_result_that_cannot_be_carried_is_an_error_to_act_on(
    annotation: Any, value: Any, kind: type[Exception], reason: str
) -> None:
    with pytest.raises(kind, match=reason):
        await make(_returning(annotation, value)).invoke({})
    happened = await make(_returning(annotation, value), effect="write").invoke({})
    assert happened.startswith(b'{"happened":true,"error":"')


def _returning(annotation: Any, value: Any) -> Any:
    def act() -> Any:
        return value

    act.__annotations__["return"] = annotation
    return act


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"1",
        b"null",
        b'{"value":' + b"[" * 5_000,
        b'{"value":"\xff"}',
        b'{"value":"\\ud83d"}',
        b'{"value":' + b"1" * 5_000 + b"}",
        b'{"value":NaN}',
        b'{"v":1}',
    ],
)
async def test_arguments_that_are_not_valid_are_an_error_for_the_model(data: bytes) -> None:
    made = make(takes(int))
    with pytest.raises(ToolError, match="act: "):
        made.invoke_plain(data)


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
