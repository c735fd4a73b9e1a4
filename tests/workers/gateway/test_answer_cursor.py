"""Whatever is lost or sent twice: in the end a client has exactly the text of the transcript."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from outlast_workers.gateway import answer_hub
from outlast_workers.gateway.answer_cursor import AnswerCursor, Place, read_place
from outlast_workers.gateway.answer_hub import REPLACED, AnswerHub
from outlast_workers.gateway.run_events import RunEvent

from outlast.contracts.events import AnswerPiece
from outlast.errors import BadRequest

TEXTS = st.text("ab🙂 ", max_size=12)
ENTRY = 3


class Client:
    """Adds up the text of the events, and keeps the id of the last one."""

    def __init__(self) -> None:
        self.text = ""
        self.place = str(ENTRY)
        self.cursor = AnswerCursor.at(read_place(self.place))

    def take(self, events: "list[RunEvent]") -> None:
        for event in events:
            self.place = event.id
            if event.type == "text":
                self.text += str(event.data["text"])
            elif event.type == "text_reset":
                self.text = ""

    def reconnect(self) -> None:
        self.cursor = AnswerCursor.at(read_place(self.place))


@given(
    st.lists(TEXTS, min_size=1, max_size=3),
    TEXTS,
    st.booleans(),
    st.lists(
        st.one_of(
            st.tuples(st.just("push"), st.integers(0, 2), st.integers(0, 12), st.integers(0, 12)),
            st.tuples(st.sampled_from(["read", "reconnect", "lose hub"])),
        ),
        max_size=30,
    ),
)
def test_the_text_of_a_client_becomes_the_answer(
    attempts: list[str], answer: str, answers_with_last: bool, steps: list[tuple[object, ...]]
) -> None:
    final = attempts[-1] if answers_with_last else answer
    hub, client = AnswerHub(), Client()
    for name, *values in steps:
        if name == "push":
            number, start, end = (int(str(value)) for value in values)
            text = attempts[min(number, len(attempts) - 1)]
            piece = AnswerPiece(
                workflow_id="run",
                entry=ENTRY,
                attempt=min(number, len(attempts) - 1) + 1,
                offset=min(start, len(text)),
                text=text[start:end],
            )
            hub.put(piece)
        elif name == "read":
            client.take(list(client.cursor.read(hub.get("run"), ENTRY)))
            held = hub.get("run")
            assert held is None or client.text == held.text or len(held.text) < len(client.text)
        elif name == "reconnect":
            client.reconnect()
        else:
            hub = AnswerHub()
    entry = RunEvent("answer", ENTRY + 1, {"answer": final})
    had_text = bool(client.text)
    client.take([*client.cursor.settle(entry, hub.get("run")), entry])
    assert client.place == str(ENTRY + 1)
    if had_text:
        assert client.text == final


def test_a_piece_counts_once_and_a_gap_is_named() -> None:
    hub = AnswerHub()

    def put(attempt: int, offset: int, text: str) -> int:
        piece = AnswerPiece(workflow_id="run", entry=1, attempt=attempt, offset=offset, text=text)
        return hub.put(piece)

    assert put(5, 0, "Hello") == 5
    assert put(5, 3, "lo, you") == 10
    assert put(5, 20, "!") == 10
    assert put(4, 0, "old") == REPLACED
    assert put(6, 0, "New") == 3
    answer = hub.get("run")
    assert answer is not None
    assert answer.text == "New"


def test_the_memory_of_a_hub_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_hub, "MAX_ANSWERS", 3)
    monkeypatch.setattr(answer_hub, "MAX_CHARACTERS", 100)
    hub = AnswerHub()
    for number in range(5):
        hub.put(AnswerPiece(workflow_id=f"run-{number}", entry=1, attempt=1, text="x" * 20))
    assert [hub.get(f"run-{number}") is not None for number in range(5)] == [False] * 2 + [True] * 3
    hub.put(AnswerPiece(workflow_id="long", entry=1, attempt=1, text="x" * 90))
    assert hub.get("run-4") is None
    assert hub.get("long") is not None
    monkeypatch.setattr(answer_hub, "KEEP_ANSWER_S", -1.0)
    hub.put(AnswerPiece(workflow_id="new", entry=1, attempt=1))
    assert hub.get("long") is None


@pytest.mark.parametrize("text", ["", "-1", "1.2", "1.2.3.4", "9" * 11, "1.x.3", "\uff11"])
def test_what_is_no_id_of_an_event_is_rejected(text: str) -> None:
    with pytest.raises(BadRequest, match="is not the id of an event"):
        read_place(text)


def test_a_place_is_read() -> None:
    assert read_place("7") == Place(7)
    assert read_place("7.1764189184123001.35") == Place(7, 1764189184123001, 35)


def test_what_a_run_waits_for_does_not_move_the_place_of_a_client() -> None:
    """It can come in the middle of a text, whose characters its position would forget."""
    assert RunEvent("waiting", 1, {"text": "no worker answers"}).id == ""
    assert RunEvent("request_opened", 1, {"request": {}}).id == ""
    assert RunEvent("text", 1, {"text": "Once"}, (5, 4)).id == "1.5.4"
    assert RunEvent("answer", 2, {"answer": "Once"}).id == "2"
