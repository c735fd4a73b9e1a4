"""Texts of the Temporal UI about a run."""

from outlast_workflows.display_text import pause_text


def test_a_reason_to_pause_is_shown_as_words() -> None:
    shown = pause_text("<b>ann</b>", "[click](http://x)\n# now `rm`")
    assert shown == "paused by <b>ann</b> [click](http://x)\\n# now `rm`"
    assert pause_text("", "") == "paused by somebody"
