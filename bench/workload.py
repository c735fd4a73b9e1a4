"""What every subject works through: the same instructions, and tool results of a given size."""

FLOOR_QUEUE = "bench-floor"
NAIVE_QUEUE = "bench-naive"

_SENTENCE = "Read one page of the archive, keep what bears on the question, and go on to the next. "

INSTRUCTIONS = (_SENTENCE * 40)[:2_000]
"""The length of an ordinary system prompt."""

QUESTION = "What does the archive say about the matter?"


def text_of(size: int) -> str:
    """Return `size` characters of plain text: one tool result."""
    line = "The ledger of the harbour office records ships, cargo and duty. "
    return (line * (size // len(line) + 1))[:size]


def page_size(tool: str) -> int:
    """Return the size of the results of `read_500`, `read_5000` and their like."""
    return int(tool.removeprefix("read_"))
