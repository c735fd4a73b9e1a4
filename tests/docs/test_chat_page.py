"""The page that docs/doors/ai-sdk.md shows is the one that `make test-npm` runs."""

from tests.docs.prose import ROOT


def test_the_page_in_the_docs_is_that_of_the_example() -> None:
    page = (ROOT / "examples" / "chat-page" / "src" / "chat.jsx").read_text()
    assert f"```jsx\n{page}```" in (ROOT / "docs" / "doors" / "ai-sdk.md").read_text()
