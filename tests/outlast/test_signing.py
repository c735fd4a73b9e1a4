"""Keys that people sign with: made, kept and refused."""

import importlib
import json
import stat
import sys
from pathlib import Path

import pytest
from joserfc.jwk import OKPKey, RSAKey

from outlast.errors import NotReady
from outlast.signing import SigningKey
from outlast.terminal.arguments import parse_arguments
from outlast.terminal.cli import run_command


def test_a_key_is_kept_in_a_file_that_its_owner_alone_reads(tmp_path: Path) -> None:
    key = SigningKey.generate("ann")
    key.save(tmp_path / "ann.jwk")
    assert stat.S_IMODE((tmp_path / "ann.jwk").stat().st_mode) == 0o600
    again = SigningKey.load(tmp_path / "ann.jwk")
    assert (again.name, again.public) == ("ann", key.public)


def test_a_key_does_not_replace_another(tmp_path: Path) -> None:
    (tmp_path / "ann.jwk").write_text("precious")
    with pytest.raises(NotReady, match="cannot be created: File exists"):
        SigningKey.generate("ann").save(tmp_path / "ann.jwk")
    assert (tmp_path / "ann.jwk").read_text() == "precious"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "is not a key"),
        ("[]", "is not a key"),
        ('{"kty": "OKP"}', "is not a key"),
        (json.dumps(RSAKey.generate_key(2048).as_dict(private=True)), "is not a key"),
        (json.dumps(OKPKey.generate_key("Ed25519").as_dict(private=True)), "with a 'kid'"),
        (
            json.dumps(OKPKey.generate_key("Ed25519", {"kid": "ann"}).as_dict(private=False)),
            "must be a private Ed25519 key",
        ),
        (
            json.dumps(OKPKey.generate_key("Ed448", {"kid": "ann"}).as_dict(private=True)),
            "must be a private Ed25519 key",
        ),
    ],
    ids=["empty", "a list", "no key", "RSA", "no name", "public", "Ed448"],
)
def test_what_is_no_key_to_sign_with_is_refused(tmp_path: Path, content: str, why: str) -> None:
    file = tmp_path / "key.jwk"
    file.write_text(content)
    with pytest.raises(NotReady, match=why):
        SigningKey.load(file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match="ann.jwk: cannot be read: No such file"):
        SigningKey.load(tmp_path / "ann.jwk")


def test_keygen_prints_what_the_workers_have_to_be_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "ann.jwk"
    assert run_command(["keygen", "ann", str(file), "--audience", "leads"]) == 0
    reason = capsys.readouterr().out.splitlines()
    assert reason[-2:] == ["[audiences.leads.keys]", f'ann = "{SigningKey.load(file).public}"']
    assert run_command(["keygen", "ann", str(file)]) == 1
    assert "File exists" in capsys.readouterr().err


def test_a_key_decides_in_its_own_name_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    SigningKey.generate("ann").save(tmp_path / "ann.jwk")
    words = ["approve", "r1", "--by", "bob", "--key", str(tmp_path / "ann.jwk")]
    assert parse_arguments(words).key == tmp_path / "ann.jwk"
    assert run_command(words) == 1
    assert "--by: the key belongs to 'ann', not to 'bob'" in capsys.readouterr().err


def test_without_its_extra_the_module_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "joserfc", None)
    monkeypatch.delitem(sys.modules, "outlast.signing")
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'outlast\[signing\]'"):
        importlib.import_module("outlast.signing")
