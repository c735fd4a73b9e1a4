"""The text of a response: whatever comes live, and from wherever a client continues, it is the answer."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from outlast_workers.gateway.response_items import ResponseBuilder
from outlast_workers.gateway.run_events import RunEvent

TEXTS = st.text("ab🙂 ", max_size=8)


class Client:
    """Builds the output of a response from its events, as OpenAI's client does."""

    def __init__(self) -> None:
        self.number = -1
        self.items: dict[int, Any] = {}

    def take(self, event: Any) -> None:
        self.number = event["sequence_number"]
        kind, index = event["type"], event.get("output_index", -1)
        if kind in {"response.output_item.added", "response.output_item.done"}:
            self.items[index] = {**event["item"]}
        elif kind == "response.content_part.added":
            self.items[index]["content"] = [{**event["part"]}]
        elif kind == "response.output_text.delta":
            self.items[index]["content"][0]["text"] += event["delta"]
        elif kind == "response.output_text.done":
            assert self.items[index]["content"][0]["text"] == event["text"]

    @property
    def text(self) -> str:
        """What the client's `output_text` is."""
        return "".join(
            part["text"]
            for _, item in sorted(self.items.items())
            if item["type"] == "message"
            for part in item["content"]
        )


def shown(builder: ResponseBuilder, event: RunEvent, client: Client, most: int) -> int:
    """Let a client take events of a stream, at most so many; return how many are left."""
    for made in builder.read(event):
        if made["sequence_number"] > builder.after and most > 0:
            client.take(made)
            most -= 1
    return most


CALL = RunEvent("tool_result", 3, {"call": "1.1", "tool": "look", "result": "a"})


@given(st.lists(TEXTS, max_size=3), TEXTS, st.integers(0, 12), st.booleans(), st.booleans())
def test_the_text_of_a_response_is_the_answer(
    pieces: list[str], rest: str, seen: int, has_call: bool, retried: bool
) -> None:
    answer = "".join(pieces) + rest
    before = [CALL] if has_call else []
    wrong = [
        RunEvent("text", 3, {"text": "wrong"}),
        RunEvent("text_reset", 3, {"reason": "asked again"}),
    ]
    live = [RunEvent("text", 3, {"text": piece}) for piece in pieces]
    end = [
        *([RunEvent("text", 3, {"text": rest})] if pieces else []),
        RunEvent("answer", 4, {"answer": answer}),
    ]
    client = Client()
    builder = ResponseBuilder("resp", "desk")
    left = seen
    for event in [*before, *(wrong if retried else []), *live, *end]:
        left = shown(builder, event, client, left)
    # The client comes back: once while the text is open, once when it is in the transcript.
    for events in ([*before, *live, *end], [*before, end[-1]]):
        again = Client()
        again.number, again.items = (
            client.number,
            {key: {**each} for key, each in client.items.items()},
        )
        again.items = {
            key: {**each, "content": [{**part} for part in each.get("content", [])]}
            for key, each in client.items.items()
        }
        builder = ResponseBuilder("resp", "desk", after=client.number)
        for event in events:
            shown(builder, event, again, 1_000)
        assert again.text == answer


def test_the_numbers_do_not_depend_on_the_pieces() -> None:
    def numbers(pieces: list[str]) -> list[int]:
        builder = ResponseBuilder("resp", "desk")
        events = [RunEvent("text", 3, {"text": piece}) for piece in pieces]
        events.append(RunEvent("answer", 4, {"answer": "abcd"}))
        return [made["sequence_number"] for event in events for made in builder.read(event)]

    whole, split = numbers(["abcd"]), numbers(["a", "bc", "d"])
    assert set(whole) < set(split)
    assert split == sorted(split)
    assert numbers([]) == whole
