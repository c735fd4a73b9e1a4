"""Tokens of an OpenID Connect issuer: its keys verify them, and their claims name a principal.

Only asymmetric algorithms are accepted, and only those of the settings: a public key must never verify an
HMAC, and `none` nothing (RFC 8725).
"""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import httpx2
import structlog
from joserfc import jws, jwt
from joserfc.errors import ExpiredTokenError, InvalidClaimError, JoseError, MissingClaimError
from joserfc.jwk import Key, OctKey, import_key
from pydantic import TypeAdapter, ValidationError

from outlast.contracts.human import MAX_AUDIENCE
from outlast.contracts.requests import Tenant
from outlast.errors import Unavailable
from outlast.text.texts import cut
from outlast_workers.gateway.principals import ANY_AUDIENCE, Principal, Unauthorized
from outlast_workers.settings_sections.gateway import OidcSettings
from outlast_workers.settings_sections.setting_types import PersonName

MAX_KEYS_BYTES = 256_000
"""Bytes of a key set. Larger ones are ignored, and the keys of the last one stay."""

MAX_KEYS = 100
"""Keys of an issuer. Further ones of a set are ignored."""

FETCH_TIMEOUT_S = 5.0
"""How long the issuer may take to send its keys. Requests with a token of an unknown key wait for it."""

KEYS_MAX_AGE_S = 3_600.0
"""The age at which keys are fetched again, so that keys that the issuer has removed are rejected."""

KEYS_STALE_S = 86_400.0
"""The age at which keys are no longer used, if the issuer cannot be reached."""

MIN_FETCH_S = 30.0
"""The time between two fetches, so that tokens with invented key ids cannot flood the issuer."""

MAX_CLAIMED_AUDIENCES = 1_000
"""Audiences of a token. Further ones are ignored."""

_NAME: TypeAdapter[str] = TypeAdapter(PersonName)
_TENANT: TypeAdapter[str] = TypeAdapter(Tenant)

log = structlog.get_logger("outlast.gateway")


class IssuerKeys:
    """The public keys of an issuer by key id. They are fetched when a token needs them, and kept."""

    def __init__(self, settings: OidcSettings) -> None:
        self._settings = settings
        self._keys: dict[str | None, Key] = {}
        self._fetched_at = self._tried_at = -KEYS_STALE_S
        self._failure = ""
        self._lock = asyncio.Lock()

    async def key(self, key_id: str | None) -> Key:
        """Return a key. Raises `Unauthorized` if the issuer has no such key, and `Unavailable`."""
        if key_id not in self._keys or time.monotonic() - self._fetched_at > KEYS_MAX_AGE_S:
            await self._refresh()
        if time.monotonic() - self._fetched_at > KEYS_STALE_S:
            raise Unavailable(f"the keys of the issuer cannot be read now ({self._failure})")
        if key_id not in self._keys:
            named = "no key id" if key_id is None else f"the key id {cut(key_id, 80)!r}"
            raise Unauthorized(f"it has {named}, and the issuer has no such key")
        return self._keys[key_id]

    async def _refresh(self) -> None:
        async with self._lock:
            now = time.monotonic()
            if now - self._tried_at < MIN_FETCH_S:
                return
            self._tried_at = now
            try:
                self._keys = _usable_keys(await self._read())
            except (httpx2.HTTPError, OSError, ValueError) as error:
                self._failure = cut(str(error) or type(error).__name__, 200)
                log.warning("oidc.keys_unavailable", reason=self._failure)
            else:
                self._fetched_at = now

    async def _read(self) -> bytes:
        if self._settings.jwks_file is not None:
            return await asyncio.to_thread(Path(self._settings.jwks_file).read_bytes)
        data = bytearray()
        async with (
            asyncio.timeout(FETCH_TIMEOUT_S),
            httpx2.AsyncClient(timeout=FETCH_TIMEOUT_S) as client,
            client.stream("GET", self._settings.jwks_url or "") as response,
        ):
            if response.status_code != 200:
                raise ValueError(f"its key set has the HTTP status {response.status_code}")
            async for chunk in response.aiter_bytes():
                data += chunk
                if len(data) > MAX_KEYS_BYTES:
                    raise ValueError(f"its key set has more than {MAX_KEYS_BYTES:,} bytes")
        return bytes(data)


def _usable_keys(data: bytes) -> dict[str | None, Key]:
    """Return the public keys for signatures. A set with one key serves tokens without a key id, too."""
    try:
        listed = json.loads(data)["keys"][:MAX_KEYS]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError("its key set is not a JSON Web Key Set") from None
    keys: dict[str | None, Key] = {}
    for entry in listed:
        try:
            key = import_key(entry)
        except (JoseError, ValueError, TypeError, KeyError, AttributeError):
            continue  # of a type that the library does not know, or broken
        if not isinstance(key, OctKey) and key.get("use", "sig") == "sig":
            keys[key.kid] = key
    if not keys:
        raise ValueError("its key set has no public key for signatures")
    if len(keys) == 1:
        keys[None] = next(iter(keys.values()))
    return keys


class OidcTokens:
    """Verifies the tokens of one issuer."""

    def __init__(self, settings: OidcSettings) -> None:
        self._settings = settings
        self._keys = IssuerKeys(settings)
        self._registry = jwt.JWTClaimsRegistry(
            leeway=settings.leeway_s,
            iss={"essential": True, "value": settings.issuer},
            aud={"essential": True, "value": settings.audience},
            exp={"essential": True},
        )

    async def principal(self, token: str) -> Principal:
        """Return the principal of a token. Raises `Unauthorized`, and `Unavailable` without keys."""
        try:
            header = jws.extract_compact(token.encode()).headers()
        except (JoseError, ValueError, TypeError, RecursionError):
            raise Unauthorized("it is neither a token of the settings nor a JWT") from None
        algorithm, key_id = header.get("alg"), header.get("kid")
        if algorithm not in self._settings.algorithms:
            allowed = ", ".join(self._settings.algorithms)
            raise Unauthorized(f"its algorithm {cut(repr(algorithm), 40)} is not one of {allowed}")
        if key_id is not None and not isinstance(key_id, str):
            raise Unauthorized("its key id is not a text")
        key = await self._keys.key(key_id)
        try:
            claims = jwt.decode(token, key, algorithms=[str(algorithm)]).claims
        except (JoseError, ValueError, TypeError, AttributeError, RecursionError):
            raise Unauthorized("its signature does not match its key") from None
        self._check(claims)
        return self._principal(claims)

    def _check(self, claims: dict[str, Any]) -> None:
        try:
            self._registry.validate(claims)
        except ExpiredTokenError:
            raise Unauthorized("it has expired") from None
        except MissingClaimError as error:
            raise Unauthorized(f"it has no claim {error.claim!r}") from None
        except InvalidClaimError as error:
            raise Unauthorized(_wrong_claim(error)) from None

    def _principal(self, claims: dict[str, Any]) -> Principal:
        settings = self._settings
        name = _named(claims, settings.principal_claim, _NAME)
        tenant = settings.tenant or _named(claims, settings.tenant_claim, _TENANT)
        listed = claims.get(settings.audiences_claim, [])
        words = listed.split() if isinstance(listed, str) else listed
        audiences = (
            word
            for word in (words if isinstance(words, list) else [])[:MAX_CLAIMED_AUDIENCES]
            if isinstance(word, str) and len(word) <= MAX_AUDIENCE
        )
        # A group with the name * must not decide everything.
        return Principal(name, tenant, frozenset(audiences) - {ANY_AUDIENCE})


def _named(claims: dict[str, Any], claim: str, kind: TypeAdapter[str]) -> str:
    if claim not in claims:
        raise Unauthorized(f"it has no claim {claim!r}")
    try:
        return kind.validate_python(claims[claim])
    except ValidationError as error:
        raise Unauthorized(f"its claim {claim!r}: {cut(error.errors()[0]['msg'], 100)}") from None


def _wrong_claim(error: InvalidClaimError) -> str:
    return {
        "iss": "its issuer is another one",
        "aud": "it is for another audience",
        "nbf": "it is not valid yet",
        "iat": "it was issued in the future",
    }.get(error.claim, f"its claim {error.claim!r} is invalid")
