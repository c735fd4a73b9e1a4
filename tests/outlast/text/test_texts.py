import pytest

from outlast.text.texts import cut


@pytest.mark.parametrize(
    ("text", "most", "expected"),
    [
        ("short", 10, "short"),
        ("two\n lines", 20, "two lines"),
        ("0123456789", 9, "012345…"),
        ("ééééé", 8, "éé…"),
        ("😀😀😀", 9, "😀…"),
    ],
)
def test_a_text_is_cut_by_bytes_and_between_letters(text: str, most: int, expected: str) -> None:
    assert cut(text, most) == expected
    assert len(cut(text, most).encode()) <= most
