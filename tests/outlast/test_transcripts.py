import pytest

from outlast.contracts.messages import Message
from outlast.transcripts import PAGE_BYTES, page


@pytest.mark.parametrize("text", ["x" * 200_000, "€" * 80_000, "\u0001" * 40_000, '"' * 100_000])
def test_pages_hold_every_entry_and_fit_an_answer_of_the_server(text: str) -> None:
    messages = [Message(role="user", content=text) for _ in range(20)]
    seen: list[Message] = []
    start: int | None = 0
    while start is not None:
        answer = page(messages, start)
        assert len(answer.model_dump_json().encode()) < 1.5 * PAGE_BYTES
        seen += answer.messages
        start = answer.next
    assert seen == messages


def test_an_entry_larger_than_a_page_has_one_of_its_own() -> None:
    messages = [
        Message(role="user", content="x" * 2 * PAGE_BYTES),
        Message(role="user", content="y"),
    ]
    assert page(messages, 0).messages == (messages[0],)
    assert page(messages, 1).messages == (messages[1],)
