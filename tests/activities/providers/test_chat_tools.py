"""Chat completions in the ways `native` and `tools`: requests, and calls in the forms of many servers."""

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from outlast_activities.providers.chat_answers import ChatAnswer
from outlast_activities.providers.chat_completions import ChatCompletions
from outlast_activities.providers.hosted.answers import Restoration
from outlast_activities.providers.profiles import profile_names, profile_of
from outlast_activities.providers.special_tokens import JOINER, harmless

from outlast.contracts.agents import Way
from outlast.contracts.messages import Opaque
from outlast.errors import NotReady
from outlast.model_server import Completion, Prompt, ServerOptions
from outlast.turns import (
    CallsTurn,
    PromptCall,
    PromptResult,
    RejectedText,
    ResultsTurn,
    ToolDefinition,
    UserTurn,
)
from tests.activities.providers.fake_model_server import (
    FakeModelServer,
    completion,
    fake_model_server,
)

LOOK = ToolDefinition(
    "look", "Looks.", {"type": "object", "properties": {"at": {"type": "string"}}}
)
SEND = ToolDefinition("send", "Sends.", {"type": "object", "properties": {}})
ANSWER: dict[str, Any] = {
    "type": "object",
    "properties": {"answer": {"type": "integer"}},
    "required": ["answer"],
    "additionalProperties": False,
}
PROMPT = Prompt(
    (UserTurn("go"),),
    {},
    "k",
    50,
    "Do.",
    (LOOK, SEND),
    answer_schema=ANSWER,
    way="native",
    session="run",
)
CALLED = CallsTurn((PromptCall("1.1", "look", {"at": "x"}), PromptCall("1.2", "send", {})))
RESULTS = ResultsTurn(
    (PromptResult("1.1", "look", '"<|im_start|>system"'), PromptResult("1.2", "send", "null"))
)
CALL = {"type": "function", "id": "a", "function": {"name": "look", "arguments": '{"at":"x"}'}}
DECISION = '{"tool_calls":[{"tool":"look","arguments":{"at":"x"}}]}'


@pytest.fixture
def server() -> Iterator[FakeModelServer]:
    with fake_model_server() as fake:
        yield fake


async def sent_by(
    server: FakeModelServer, prompt: Prompt, **options: Any
) -> tuple[dict[str, Any], Completion]:
    server.replies.append(completion(None, "tool_calls", tool_calls=[CALL]))
    adapter = ChatCompletions(ServerOptions(server.url, model="m", api_key="k", **options))
    try:
        completed = await adapter.complete(prompt)
    finally:
        await adapter.aclose()
    return server.requests[-1].body, completed


async def test_a_native_prompt_has_tools_and_the_format_of_the_answer(
    server: FakeModelServer,
) -> None:
    body, completed = await sent_by(server, PROMPT)
    assert completed.text == DECISION
    assert [tool["function"]["name"] for tool in body["tools"]] == ["look", "send"]
    assert body["tool_choice"] == "auto"
    assert body["response_format"]["json_schema"]["schema"] == ANSWER
    system, user = body["messages"]
    assert system["content"].startswith("Do.")
    assert json.dumps(ANSWER, separators=(",", ":")) in system["content"]
    assert user == {"role": "user", "content": "go"}


async def test_calls_and_results_are_messages_of_their_own(server: FakeModelServer) -> None:
    turns = (*PROMPT.turns, CALLED, RESULTS)
    body, _ = await sent_by(server, replace(PROMPT, turns=turns))
    _, _, called, first, second = body["messages"]
    ids = [call["id"] for call in called["tool_calls"]]
    assert [message["tool_call_id"] for message in (first, second)] == ids
    assert len(set(ids)) == 2
    assert called["tool_calls"][0]["function"] == {"name": "look", "arguments": '{"at":"x"}'}
    assert first["content"] == f'"<{JOINER}|im_start|>system"'


@pytest.mark.parametrize(
    ("way", "narrowed", "choice", "names"),
    [
        ("native", {}, "auto", ["look", "send"]),
        ("native", {"may_answer": False}, "required", ["look", "send"]),
        ("native", {"allowed": frozenset()}, "none", ["look", "send"]),
        ("native", {"max_calls": 0}, "none", ["look", "send"]),
        ("tools", {}, "auto", ["look", "send", "final_answer"]),
        ("tools", {"allowed": frozenset()}, "required", ["final_answer"]),
    ],
)
async def test_what_a_turn_may_do_is_a_choice(
    server: FakeModelServer, way: Way, narrowed: dict[str, Any], choice: str, names: list[str]
) -> None:
    body, _ = await sent_by(server, replace(PROMPT, way=way, **narrowed))
    assert body["tool_choice"] == choice
    assert [tool["function"]["name"] for tool in body["tools"]] == names
    assert ("response_format" in body) == (way == "native")


async def test_a_subset_of_the_tools_is_a_note_at_the_end(server: FakeModelServer) -> None:
    body, _ = await sent_by(server, replace(PROMPT, allowed=frozenset({"send"})))
    assert len(body["tools"]) == 2
    assert "only these tools: send" in body["messages"][-1]["content"]
    plain, _ = await sent_by(server, PROMPT)
    assert plain["messages"][0] == body["messages"][0]


async def test_a_wrong_answer_comes_last_and_changes_nothing_before_it(
    server: FakeModelServer,
) -> None:
    turns = (*PROMPT.turns, CALLED, RESULTS)
    first, _ = await sent_by(server, replace(PROMPT, turns=turns))
    rejected = RejectedText('{"tool_calls":[]}', "it has no call")
    again, _ = await sent_by(server, replace(PROMPT, turns=turns, rejected=rejected))
    assert again["messages"][:-1] == first["messages"]
    assert "it has no call" in again["messages"][-1]["content"]


async def test_the_answer_is_a_call_of_the_answer_tool(server: FakeModelServer) -> None:
    called = {"function": {"name": "final_answer", "arguments": {"answer": 7}}}
    server.replies = [completion(None, "stop", tool_calls=[called])]
    adapter = ChatCompletions(ServerOptions(server.url, model="m"))
    completed = await adapter.complete(replace(PROMPT, way="tools"))
    await adapter.aclose()
    assert json.loads(completed.text) == {"answer": 7}


async def test_prose_answers_an_agent_whose_answer_is_any_text(server: FakeModelServer) -> None:
    server.replies = [completion("It is done.")] * 2
    adapter = ChatCompletions(ServerOptions(server.url, model="m"))
    text = {**ANSWER, "properties": {"answer": {"type": "string"}}}
    answered = await adapter.complete(replace(PROMPT, way="tools", answer_schema=text))
    other = await adapter.complete(replace(PROMPT, way="tools", schema_key="other"))
    await adapter.aclose()
    assert json.loads(answered.text) == {"answer": "It is done."}
    assert other.text == "It is done."


def read(*deltas: dict[str, Any], finish: str = "stop", **options: Any) -> ChatAnswer:
    answer = ChatAnswer(Restoration({}, lambda value: value), **options)
    for delta in deltas:
        answer.add({"choices": [{"index": 0, "delta": delta}]})
    answer.add({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    return answer


def piece(arguments: Any = None, **fields: Any) -> dict[str, Any]:
    name = fields.pop("name", None)
    function = {
        key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None
    }
    return {"tool_calls": [{**fields, "function": function}]}


TWO = (
    '{"tool_calls":[{"tool":"look","arguments":{"at":"x"}},{"tool":"look","arguments":{"at":"y"}}]}'
)

FORMS: dict[str, list[dict[str, Any]]] = {
    "pieces with an index": [
        piece(index=0, id="a", name="look"),
        piece('{"at"', index=0),
        piece(':"x"}', index=0),
        piece("", index=1, id="b", name="look"),
        piece('{"at":"y"}', index=1),
    ],
    "without an index": [
        piece('{"at":"x"}', id="a", name="look"),
        piece('{"at":"y"}', id="b", name="look"),
    ],
    "without index and id": [
        piece('{"at":"x"}', name="look"),
        piece('{"at":"y"}', name="look"),
    ],
    "index 0 for each call": [
        piece('{"at":"x"}', index=0, id="a", name="look"),
        piece('{"at":"y"}', index=0, id="b", name="look"),
    ],
    "arguments as an object": [
        piece({"at": "x"}, index=0, id="a", name="look"),
        piece({"at": "y"}, index=1, id="b", name="look"),
    ],
    "id and name in each piece": [
        piece('{"at":', index=0, id="a", name="look"),
        piece('"x"}', index=0, id="a", name="look"),
        piece('{"at":"y"}', index=1, id="b", name="look"),
    ],
    "all at once": [
        {
            "tool_calls": [
                {"index": 0, "function": {"name": "look", "arguments": '{"at":"x"}'}},
                {"index": 1, "function": {"name": "look", "arguments": '{"at":"y"}'}},
            ]
        }
    ],
    "text before the calls": [
        {"content": "I look."},
        piece('{"at":"x"}', index=0, id="a", name="look"),
        piece('{"at":"y"}', index=1, id="b", name="look"),
    ],
}


@pytest.mark.parametrize("form", FORMS)
def test_calls_are_read_in_the_form(form: str) -> None:
    assert json.loads(read(*FORMS[form]).text) == json.loads(TWO)


def test_a_call_without_arguments_has_none_and_broken_ones_stay_as_they_are() -> None:
    assert read(piece(index=0, id="a", name="send")).text == (
        '{"tool_calls":[{"tool":"send","arguments":{}}]}'
    )
    broken = read(piece('{"at": ', index=0, id="a", name="look"), finish="length")
    assert broken.text == '{"tool_calls":[{"tool":"look","arguments":{"at": }]}'
    assert broken.completion("m", "i").finish_reason == "length"


def test_thoughts_are_counted_and_go_back_only_where_a_service_needs_them() -> None:
    deltas = ({"reasoning_content": "hm"}, piece("{}", index=0, id="a", name="send"))
    assert read(*deltas).completion("m", "i").opaque is None
    kept = read(*deltas, thoughts_field="reasoning_content").completion("m", "i").opaque
    assert kept is not None
    assert json.loads(kept.content) == {"thoughts": {"reasoning_content": "hm"}, "ids": ["a"]}
    assert kept.issuer == "i"
    assert "hm" not in repr(kept)


async def test_thoughts_go_back_to_their_issuer_alone(server: FakeModelServer) -> None:
    host = server.url.split("/")[2]
    content = json.dumps({"thoughts": {"reasoning_content": "hm"}, "ids": ["a", "b"]})
    for issuer, thought, first_id in (
        (f"openai-chat:{host}:m", "hm", "a"),
        ("openai-chat:elsewhere:m", "", "outlast_1_1"),
    ):
        turn = replace(CALLED, opaque=Opaque(issuer=issuer, content=content))
        prompt = replace(PROMPT, turns=(*PROMPT.turns, turn, RESULTS), way="tools")
        body, _ = await sent_by(server, prompt, profile="deepseek")
        assert body["messages"][2]["reasoning_content"] == thought
        assert body["messages"][2]["tool_calls"][0]["id"] == first_id
        assert body["messages"][3]["tool_call_id"] == first_id


@pytest.mark.parametrize("name", profile_names())
async def test_a_request_obeys_the_profile(server: FakeModelServer, name: str) -> None:
    profile = profile_of("", "m", name)
    for way in profile.ways:
        prompt = replace(
            PROMPT,
            way=way,
            effort="high",
            schema=ANSWER,
            schema_key=way,
            turns=(*PROMPT.turns, CALLED, RESULTS),
            allowed=frozenset(),
        )
        body, _ = await sent_by(server, prompt, profile=name)
        assert body[profile.max_tokens] == 50
        assert len({"max_tokens", "max_completion_tokens"} & body.keys()) == 1
        if profile.forced == "no":
            assert body.get("tool_choice", "auto") in ("auto", "none")
        if not profile.none_choice:
            assert body.get("tool_choice") != "none"
        if not profile.stream_with_format and "response_format" in body:
            assert body["stream"] is False
            assert "stream_options" not in body
        roles = [message["role"] for message in body["messages"]]
        if not profile.user_after_results and way != "decision":
            assert ("tool", "user") not in set(itertools.pairwise(roles))
        if profile.call_id_characters and way != "decision":
            ids = [call["id"] for call in body["messages"][2]["tool_calls"]]
            assert {len(call_id) for call_id in ids} == {profile.call_id_characters}


@pytest.mark.parametrize(
    ("model", "effort", "fields"),
    [
        ("gpt-4.1", "high", {"temperature": 0.2}),
        ("gpt-5-mini", "minimal", {"reasoning_effort": "low"}),
        ("gpt-5.2", "none", {"reasoning_effort": "none", "temperature": 0.2}),
        ("gpt-5.2", "max", {"reasoning_effort": "xhigh"}),
        ("gpt-5.6-luna", "high", {"reasoning_effort": "none", "temperature": 0.2}),
        ("gpt-6-sol", None, {"reasoning_effort": "none", "temperature": 0.2}),
    ],
)
async def test_openai_gets_only_the_fields_that_its_model_accepts(
    server: FakeModelServer, model: str, effort: Any, fields: dict[str, Any]
) -> None:
    body, _ = await sent_by(server, replace(PROMPT, model=model, effort=effort), profile="openai")
    found = {name: body[name] for name in ("temperature", "reasoning_effort") if name in body}
    assert found == fields
    assert body["max_completion_tokens"] == 50


async def test_a_hosted_service_needs_a_model_and_a_key() -> None:
    url = "https://api.mistral.ai/v1"
    with pytest.raises(NotReady, match="needs the name of a model"):
        ChatCompletions(ServerOptions(url, api_key="k"))
    with pytest.raises(NotReady, match="needs an api_key"):
        ChatCompletions(ServerOptions(url, model="m"))
    with pytest.raises(NotReady, match="did you mean 'mistral'"):
        ChatCompletions(ServerOptions(url, model="m", profile="mistrall"))


def test_special_tokens_are_broken_and_other_text_stays() -> None:
    for token in (
        "<|im_start|>",
        "<|eot_id|>",
        "<\uff5cUser\uff5c>",
        "[INST]",
        "</think>",
        "<start_of_turn>",
    ):
        assert harmless(f"a {token} b") == f"a {token[0]}{JOINER}{token[1:]} b"
    for text in ("a < b", "[1, 2]", "<b>x</b>", "if a<|b|>c", "{}"):
        assert harmless(text) in (text, text.replace("<|", f"<{JOINER}|"))
    assert harmless('{"x": [1], "y": "<a>"}') == '{"x": [1], "y": "<a>"}'
