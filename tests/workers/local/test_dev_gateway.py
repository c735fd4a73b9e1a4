"""The gateway of `outlast worker dev`: only its user can read its token."""

from pathlib import Path

import pytest
from outlast_workers.local.dev_gateway import TOKEN_FILE, with_gateway
from outlast_workers.settings import Settings


@pytest.mark.parametrize("content", [None, "", "short", "é" * 20])
def test_a_new_token_is_in_a_file_that_others_cannot_read(
    tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / TOKEN_FILE
    if content is not None:
        file.write_text(content, encoding="utf-8")
        file.chmod(0o644)
    token = with_gateway(Settings(), port=8060, state=tmp_path).token
    assert file.read_text().strip() == token
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_token_is_kept_for_the_next_start(tmp_path: Path) -> None:
    first = with_gateway(Settings(), port=8060, state=tmp_path / "state").token
    assert with_gateway(Settings(), port=8060, state=tmp_path / "state").token == first
