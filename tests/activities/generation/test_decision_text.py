import time
from typing import Any

import pytest
from outlast_activities.generation.decision_text import decision_value

A: dict[str, Any] = {"answer": "y"}
JSON = '{"answer":"y"}'
CALL = '{"tool_calls":[{"tool":"look","arguments":{}}]}'

FOUND = [
    JSON,
    f"  {JSON}\n",
    # special tokens
    f"{JSON}<|im_end|>",
    f"{JSON}<|eot_id|><|end_of_text|>",
    f"{JSON}</s>",
    f"{JSON}<end_of_turn>\n",
    f"<s> {JSON} </s>",
    f"<|channel|>analysis<|message|>{{}} hm<|end|><|channel|>final<|message|>{JSON}<|return|>",
    f"[/INST]{JSON}[INST]",
    f"\ufeff{JSON}",
    # thoughts
    f"<think>hm</think>\n{JSON}",
    f"hm</think>{JSON}",
    f'<think>{{"answer":"n"}} or {{"answer":"z"}}</think>{JSON}',
    f"<think>an open brace {{ and {{ another</think>{JSON}",
    f"<think></think>{JSON}",
    f"<THINKING>hm</THINKING> {JSON}",
    f"[THINK]hm[/THINK]{JSON}",
    f"<thought>a</thought><think>b</think>{JSON}",
    # prose
    f"Here you are:\n```json\n{JSON}\n```",
    f"```json\n{JSON}\n```\nI hope that helps.",
    f"```{JSON}```",
    f"```json {JSON} ```",
    f"~~~\n{JSON}\n~~~",
    f"Sure! {JSON} Anything else?",
    f"The set {{1, 2}} is small. {JSON}",
    f"{JSON}\n{JSON}",
    f"**Answer:** {JSON} :-}}",
]


@pytest.mark.parametrize("text", FOUND)
def test_a_decision_is_found_among_other_text(text: str) -> None:
    assert decision_value(text) == A


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"answer":"</think>"}', {"answer": "</think>"}),
        ('{"answer":"use </think> {}"}<|im_end|>', {"answer": "use </think> {}"}),
        ('{"answer":{"answer":1}}</s>', {"answer": {"answer": 1}}),
        ('{"answer":"```json {} ```"}', {"answer": "```json {} ```"}),
        (f"{CALL}<|im_end|>", {"tool_calls": [{"tool": "look", "arguments": {}}]}),
        ('{"a":1} {"answer":2}', {"answer": 2}),
        ('x {"other":1}', {"other": 1}),
        ('{"answer":"\\ud83d\\ude00"}', {"answer": "😀"}),
        ('{"answer":"\\ud83d"}', {"answer": "\ufffd"}),
        ('{"\\udc00":["\\ud83d\\ud83d"]}', {"\ufffd": ["\ufffd\ufffd"]}),
        ("7", 7),
        ('"x"', "x"),
    ],
)
def test_the_value_is_the_one_that_the_model_wrote(text: str, value: Any) -> None:
    assert decision_value(text) == value


REJECTED = [
    "",
    "I cannot answer.",
    # cut off: an object within is none
    '{"answer":{"answer":1}',
    '{"answer":[{"answer":1}, {"answer":2}',
    '{"answer": "x {\\"answer\\":1}',
    '{"tool_calls":[{"tool":"look","arguments":{"answer":1}}',
    f"Sure: {{ {JSON}",
    # in thoughts
    f"<think>maybe {JSON}",
    f"<think>maybe {JSON}</think> I do not know",
    f"<|channel|>analysis<|message|>{JSON}",
    # more than one
    f'{JSON} {{"answer":"z"}}',
    f"{CALL}\n{JSON}",
    f"First {JSON}, then {CALL}.",
    '{"a":1} {"b":2}',
    # not JSON
    "{'answer': 'y'}",
    '{"answer": y}',
    '{"answer": NaN}',
    '{"answer": 1e999}',
    '{"answer": ' + "9" * 5_000 + "}",
    "[" * 100_000,
    '{"a":' * 100_000,
    '{"answer":' + "[" * 5_000 + "]" * 5_000 + "}",
]


@pytest.mark.parametrize("text", REJECTED, ids=range(len(REJECTED)))
def test_a_text_without_one_decision_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        decision_value(text)


@pytest.mark.parametrize(
    "part", ["{", "}", "{}", '{"a', '{"a":', "</think>", "<think>", "{{}", '{"k":"}', "{1}", '"{']
)
def test_no_text_takes_long(part: str) -> None:
    text = part * (1_000_000 // len(part))
    began = time.thread_time()
    with pytest.raises(ValueError, match=r".+"):
        decision_value(text + "!")
    assert time.thread_time() - began < 2
