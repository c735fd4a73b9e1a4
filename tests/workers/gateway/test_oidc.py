"""Tokens of an OpenID Connect issuer, with real keys and a real server of its key set."""

import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey
from outlast_workers.gateway import oidc
from outlast_workers.gateway.access import MAX_TOKEN_BYTES, Tokens
from outlast_workers.gateway.principals import Principal, Unauthorized
from outlast_workers.local.ports import free_port
from outlast_workers.settings_sections.gateway import OidcSettings
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from temporalio.client import Client as TemporalClient

from outlast import Agent
from outlast.errors import Unavailable
from outlast.testing import ScriptedModel, answer
from tests.loopback import listening
from tests.workers.gateway.doors import doors, gateway_settings

ISSUER, AUDIENCE = "https://login.example/", "outlast"
RSA = RSAKey.generate_key(2048, {"kid": "rsa", "use": "sig"})
EC = ECKey.generate_key("P-256", {"kid": "ec"})
ED = OKPKey.generate_key("Ed25519", {"kid": "ed"})
STRANGER = RSAKey.generate_key(2048, {"kid": "rsa"})
SECRET = OctKey.import_key("a-secret-of-more-than-sixteen-bytes", {"kid": "oct"})


def claims(**changed: Any) -> dict[str, Any]:
    """Return the claims of a valid token; None removes one."""
    now = int(time.time())
    whole = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "exp": now + 600,
        "nbf": now - 10,
        "iat": now,
        "sub": "ann",
        "tenant": "acme",
        "audiences": ["leads"],
        **changed,
    }
    return {name: value for name, value in whole.items() if value is not None}


def token(key: Key = RSA, algorithm: str = "RS256", *, kid: str | None = "", **changed: Any) -> str:
    header = {"alg": algorithm, "kid": key.kid if kid == "" else kid}
    header = {name: value for name, value in header.items() if value is not None}
    return jwt.encode(header, claims(**changed), key, algorithms=[algorithm])


def forged(header: dict[str, Any], signature: bytes = b"") -> str:
    parts = (json.dumps(header).encode(), json.dumps(claims()).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


def key_set(*keys: Key) -> dict[str, Any]:
    return {"keys": [key.as_dict(private=False) for key in keys]}


class Issuer:
    """The server of a key set."""

    def __init__(self) -> None:
        self.body: Any = key_set(RSA, EC)
        self.status, self.calls = 200, 0
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/jwks"

    async def _keys(self, _: Request) -> Response:
        self.calls += 1
        body = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        return Response(body, self.status)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        async with listening(Starlette(routes=[Route("/jwks", self._keys)]), self.port):
            yield

    def settings(self, **changed: Any) -> dict[str, Any]:
        return {"issuer": ISSUER, "audience": AUDIENCE, "jwks_url": self.url, **changed}

    def tokens(self, **changed: Any) -> Tokens:
        return Tokens(gateway_settings(oidc=self.settings(**changed)))


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Move the clock that times the fetches."""
    offset = 0.0
    real = time.monotonic

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return real() + offset

    def move(seconds: float) -> None:
        nonlocal offset
        offset += seconds

    monkeypatch.setattr(oidc, "time", Clock)
    return move


async def principal(tokens: Tokens, value: str) -> Principal:
    return await tokens.principal(f"Bearer {value}")


async def test_claims_name_the_principal(issuer: Issuer) -> None:
    async with issuer.serving():
        tokens = issuer.tokens()
        ann = Principal("ann", "acme", frozenset({"leads"}))
        assert await principal(tokens, token()) == ann
        assert await principal(tokens, token(EC, "ES256")) == ann
        assert await principal(tokens, token(aud=["other", AUDIENCE])) == ann
        words = await principal(tokens, token(audiences="leads * chefs"))
        assert words.audiences == {"leads", "chefs"}
        assert (await principal(tokens, token(audiences=None))).audiences == frozenset()
        assert (await principal(tokens, token(audiences=[1, "x" * 5_000]))).audiences == frozenset()
        assert (await principal(tokens, "ann-has-a-long-token")).name == "ann"
        assert issuer.calls == 1


async def test_settings_name_the_claims(issuer: Issuer) -> None:
    async with issuer.serving():
        tokens = issuer.tokens(
            tenant="one", principal_claim="email", audiences_claim="https://x.example/groups"
        )
        extra: dict[str, Any] = {
            "email": "a@x.example",
            "https://x.example/groups": ["leads"],
            "tenant": "evil",
        }
        expected = Principal("a@x.example", "one", frozenset({"leads"}))
        assert await principal(tokens, token(**extra)) == expected


NOW = int(time.time())
REJECTED: dict[str, tuple[Any, str]] = {
    "issuer": (lambda: token(iss="https://evil.example/"), "its issuer is another one"),
    "issuer prefix": (lambda: token(iss=ISSUER[:-1]), "its issuer is another one"),
    "no issuer": (lambda: token(iss=None), "it has no claim 'iss'"),
    "audience": (lambda: token(aud="other"), "it is for another audience"),
    "audience type": (lambda: token(aud={"outlast": 1}), "it is for another audience"),
    "no audience": (lambda: token(aud=None), "it has no claim 'aud'"),
    "expired": (lambda: token(exp=NOW - 3_600), "it has expired"),
    "no expiry": (lambda: token(exp=None), "it has no claim 'exp'"),
    "expiry type": (lambda: token(exp="tomorrow"), "its claim 'exp' is invalid"),
    "not yet": (lambda: token(nbf=NOW + 7_200), "it is not valid yet"),
    "future": (lambda: token(iat=NOW + 7_200), "it was issued in the future"),
    "no subject": (lambda: token(sub=None), "it has no claim 'sub'"),
    "subject": (lambda: token(sub=""), "its claim 'sub': "),
    "an invisible subject": (lambda: token(sub="ann\u200b"), "invisible character"),
    "no tenant": (lambda: token(tenant=None), "it has no claim 'tenant'"),
    "tenant type": (lambda: token(tenant=["acme"]), "its claim 'tenant': "),
    "tenant": (lambda: token(tenant="a\nb"), "its claim 'tenant': "),
    "other key": (lambda: token(STRANGER), "its signature does not match its key"),
    "other type": (lambda: token(EC, "ES256", kid="rsa"), "its signature does not match its key"),
    "confusion": (
        lambda: forged({"alg": "HS256", "kid": "rsa"}, b"x" * 32),
        "its algorithm 'HS256' is not one of RS256, ES256",
    ),
    "none": (lambda: forged({"alg": "none"}), "its algorithm 'none' is not one of RS256, ES256"),
    "None": (lambda: forged({"alg": "None"}), "is not one of RS256, ES256"),
    "no algorithm": (lambda: forged({"kid": "rsa"}), "it is neither a token of the settings nor"),
    "not allowed": (lambda: token(RSA, "RS512"), "its algorithm 'RS512' is not one of"),
    "unknown key": (lambda: token(RSA, kid="new"), "it has the key id 'new', and the issuer has"),
    "no key id": (lambda: token(RSA, kid=None), "it has no key id"),
    "key id type": (lambda: forged({"alg": "RS256", "kid": 5}), ""),
    "crit": (lambda: forged({"alg": "RS256", "kid": "rsa", "crit": ["x"], "x": 1}), ""),
    "no JWT": (lambda: "neither-a-token-nor-a-jwt", "it is neither a token of the settings nor"),
    "two parts": (lambda: "a.b", "it is neither a token of the settings nor a JWT"),
    "no base64": (lambda: "€.€.€", "it is neither a token of the settings nor a JWT"),
    "deep": (lambda: forged({"alg": "RS256", "kid": "rsa"})[:-1] + ".x", ""),
    "cut": (lambda: token()[:-9], "its signature does not match its key"),
}


async def test_invalid_tokens_are_rejected_in_one_line(issuer: Issuer) -> None:
    async with issuer.serving():
        tokens = issuer.tokens()
        for name, (make, reason) in REJECTED.items():
            with pytest.raises(Unauthorized) as rejected:
                await principal(tokens, make())
            line = str(rejected.value)
            assert line.startswith("the bearer token is rejected: it"), (name, line)
            assert reason in line, (name, line)
            assert "\n" not in line, (name, line)
            assert len(line) < 250, (name, line)
        with pytest.raises(Unauthorized, match=f"has more than {MAX_TOKEN_BYTES:,} bytes"):
            await principal(tokens, token(note="x" * MAX_TOKEN_BYTES))
        assert issuer.calls == 1


async def test_clocks_may_differ_by_the_leeway(issuer: Issuer) -> None:
    async with issuer.serving():
        late, early = token(exp=int(time.time()) - 30), token(nbf=int(time.time()) + 30)
        for value in (late, early):
            assert (await principal(issuer.tokens(), value)).name == "ann"
            with pytest.raises(Unauthorized):
                await principal(issuer.tokens(leeway_s=0), value)


async def test_a_new_key_is_fetched_and_unknown_ids_do_not_flood_the_issuer(
    issuer: Issuer, later: Any
) -> None:
    async with issuer.serving():
        tokens = issuer.tokens()
        new = RSAKey.generate_key(2048, {"kid": "new"})
        await principal(tokens, token())
        issuer.body = key_set(new)
        for _ in range(20):
            with pytest.raises(Unauthorized):
                await principal(tokens, token(new))
        assert issuer.calls == 1
        later(oidc.MIN_FETCH_S + 1)
        assert (await principal(tokens, token(new))).name == "ann"
        assert issuer.calls == 2
        # A set with one key serves tokens without a key id.
        assert (await principal(tokens, token(new, kid=None))).name == "ann"
        with pytest.raises(Unauthorized, match="the issuer has no such key"):
            await principal(tokens, token())


async def test_keys_that_the_issuer_removed_expire(issuer: Issuer, later: Any) -> None:
    async with issuer.serving():
        tokens = issuer.tokens()
        await principal(tokens, token())
        issuer.body = key_set(EC)
        assert (await principal(tokens, token())).name == "ann"
        later(oidc.KEYS_MAX_AGE_S + 1)
        with pytest.raises(Unauthorized, match="the issuer has no such key"):
            await principal(tokens, token())


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b""),
        (302, b""),
        (200, b"<html>"),
        (200, b"[1]"),
        (200, b'{"keys": 5}'),
        (200, b'{"keys": []}'),
        (200, b'{"keys": [5, {}, {"kty": "XX"}, {"kty": "RSA", "n": 1}]}'),
        (200, json.dumps({"keys": [SECRET.as_dict()]}).encode()),
        (200, json.dumps({"keys": [{**RSA.as_dict(private=False), "use": "enc"}]}).encode()),
        (200, b" " * (oidc.MAX_KEYS_BYTES + 1)),
        (200, b"[" * 100_000),
    ],
)
async def test_without_keys_nobody_is_let_in_and_with_old_ones_work_goes_on(
    issuer: Issuer, later: Any, status: int, body: bytes
) -> None:
    async with issuer.serving():
        tokens = issuer.tokens()
        good, issuer.status, issuer.body = issuer.body, status, body
        with pytest.raises(Unavailable, match="the keys of the issuer cannot be read now"):
            await principal(tokens, token())
        later(oidc.MIN_FETCH_S + 1)
        issuer.status, issuer.body = 200, good
        await principal(tokens, token())
        issuer.status, issuer.body = status, body
        later(oidc.KEYS_MAX_AGE_S + 1)
        assert (await principal(tokens, token())).name == "ann"
        later(oidc.KEYS_STALE_S)
        with pytest.raises(Unavailable):
            await principal(tokens, token())


async def test_an_issuer_that_is_down_is_named(issuer: Issuer) -> None:
    with pytest.raises(Unavailable, match="the keys of the issuer cannot be read now"):
        await principal(issuer.tokens(), token())


async def test_keys_come_from_a_file_and_other_algorithms_must_be_allowed(tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps(key_set(ED)))
    fields = {"issuer": ISSUER, "audience": AUDIENCE, "jwks_file": str(file)}
    tokens = Tokens(gateway_settings(oidc={**fields, "algorithms": "Ed25519,ES512"}))
    assert (await principal(tokens, token(ED, "Ed25519"))).name == "ann"
    with pytest.raises(Unauthorized):
        await principal(tokens, token(RSA))


@pytest.mark.parametrize(
    "changed",
    [
        {"jwks_url": "http://login.example/jwks"},
        {"jwks_url": None},
        {"jwks_file": "x"},
        {"algorithms": ["HS256"]},
        {"algorithms": ["none"]},
        {"algorithms": []},
        {"audience": ""},
        {"leeway_s": 3_600},
        {"client_secret": "x"},
    ],
)
def test_settings_that_would_let_others_in_are_rejected(
    issuer: Issuer, changed: dict[str, Any]
) -> None:
    with pytest.raises(ValidationError):
        OidcSettings.model_validate(issuer.settings(**changed))


desk = Agent(name="desk", instructions="Help people.")


async def test_a_token_of_the_issuer_reaches_runs_of_its_tenant(
    temporal: TemporalClient, issuer: Issuer
) -> None:
    model = ScriptedModel([answer("Done.")])
    async with (
        issuer.serving(),
        doors(temporal, model, [desk], tokens={}, oidc=issuer.settings()) as gateway,
        gateway.client("") as client,
    ):
        bearer = {"authorization": f"Bearer {token()}"}
        body = {"agent": "desk", "input": "Hi", "key": f"k{time.time_ns()}"}
        started = await client.post("/runs", json=body, headers=bearer)
        run_id = started.json()["id"]
        assert run_id.startswith("acme/desk/")
        other = {"authorization": f"Bearer {token(tenant='evil')}"}
        assert (await client.get(f"/runs/{run_id}", headers=other)).status_code == 404
        late = {"authorization": f"Bearer {token(exp=5)}"}
        rejected = await client.get(f"/runs/{run_id}", headers=late)
        assert rejected.status_code == 401
        assert rejected.json()["error"]["message"] == "the bearer token is rejected: it has expired"
        assert (await client.get("/agents")).status_code == 401
        assert (await gateway.front.client.get(run_id).result()).status == "completed"
