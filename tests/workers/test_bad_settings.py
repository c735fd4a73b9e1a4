"""A setting without sense is rejected by its name."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import pytest
from outlast_workers.__main__ import main
from outlast_workers.settings import Settings, load_settings
from pydantic import BaseModel

from outlast.errors import NotReady

pytestmark = pytest.mark.usefixtures("isolated")


def leaves(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, set[Any]]]:
    """Yield the path of each setting that is not a table, and the types in its annotation."""
    for name, field in model.model_fields.items():
        types = set(_types(field.annotation))
        sections = [
            kind for kind in types if isinstance(kind, type) and issubclass(kind, BaseModel)
        ]
        for section in sections:
            if get_origin(field.annotation) not in (dict, tuple):
                yield from leaves(section, f"{prefix}{name}__")
        if not sections and get_origin(field.annotation) not in (dict, tuple):
            yield f"{prefix}{name}".upper(), types


def _types(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    yield annotation
    for argument in get_args(annotation):
        yield from _types(argument)


LEAVES = dict(leaves(Settings))
NUMBERS = [name for name, types in LEAVES.items() if types & {int, float}]
URLS = [name for name in LEAVES if name.endswith("URL")]
HOSTS = [name for name in LEAVES if name.endswith("HOST")]

NEEDED = {
    "GATEWAY__OIDC": {"issuer": "https://login.example.com", "audience": "agents", "jwks_file": "x"}
}
"""Settings without which a table is rejected as a whole."""


def needed_beside(name: str) -> dict[str, str]:
    """Return what the table of a setting needs besides it."""
    section, _, key = name.rpartition("__")
    taken = {"jwks_file"} if key == "JWKS_URL" else set()
    return {other: value for other, value in NEEDED.get(section, {}).items() if other not in taken}


def test_the_settings_are_found() -> None:
    assert {"DRAIN_S", "MODEL__TIMEOUT_S", "HEALTH__PORT", "CONCURRENCY__TOOLS"} <= set(NUMBERS)
    assert {"MODEL__URL", "UI_URL", "CALLBACK__URL"} <= set(URLS)
    assert {"HEALTH__HOST", "CALLBACK__HOST", "DEMAND__HOST"} <= set(HOSTS)


@pytest.mark.parametrize(
    "value", ["inf", "-inf", "nan", "1e308", "1" + "0" * 30, "-1", "ten", "0x10", "1,5", "{}"]
)
@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_without_sense_is_refused_by_name(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for other, given in needed_beside(name).items():
        monkeypatch.setenv(f"OUTLAST_{name.rpartition('__')[0]}__{other.upper()}", given)
    monkeypatch.setenv(f"OUTLAST_{name}", value)
    with pytest.raises(NotReady, match=f"OUTLAST_{name}") as refused:
        load_settings()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "value",
    [
        *("http://127.0.0.1:99999/v1", "http://127.0.0.1:-1", "http://127.0.0.1:x", "http://:80"),
        *("http://[::1", "http://a b", "http://a\nb", "ftp://a", "http://", "http://user:pw@a/"),
        *("http://a:0", "http://\x00", "http:/a", "127.0.0.1:80", "http://a?b@c"),
    ],
)
@pytest.mark.parametrize("name", URLS)
def test_a_url_without_sense_is_refused_by_name(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    section, _, key = name.lower().rpartition("__")
    settings = {**needed_beside(name), key: value}
    lines = "\n".join(f"{each} = {json.dumps(given)}" for each, given in settings.items())
    table = f"[{section.replace('__', '.')}]\n" if section else ""
    (tmp_path / "outlast.toml").write_text(table + lines)
    with pytest.raises(NotReady, match="must ") as refused:
        load_settings()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("value", ["a b", "http://a", "a/b", "[::1", "a@b", "x" * 300, "..", "a?b"])
@pytest.mark.parametrize("name", HOSTS)
def test_a_host_without_sense_is_refused_by_name(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"OUTLAST_{name}", value)
    with pytest.raises(NotReady, match=f"OUTLAST_{name}: must be a host name"):
        load_settings()


@pytest.mark.parametrize("value", ["127.0.0.1", "10.0.0.1", "::1", "localhost", "a.example", "a_b"])
def test_a_host_is_accepted(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTLAST_HEALTH__HOST", value)
    assert load_settings().health.host == value


@pytest.mark.parametrize(
    "port", ["99999", "0", "-1", "x", "1.5", "65536", "1" * 5_000, "", "\u0661"]
)
@pytest.mark.parametrize("option", ["--port", "--ui-port", "--model-port", "--gateway-port"])
def test_a_port_without_sense_is_refused(
    option: str, port: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["dev", f"{option}={port}"])
    assert ended.value.code == 2
    assert "is not a port from 1 to 65535" in capsys.readouterr().err
