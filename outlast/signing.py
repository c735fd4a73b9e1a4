"""Signing keys of people who decide: an Ed25519 key each, in a file of their own (JWK, RFC 8037).

It needs the extra `outlast[signing]`.
"""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from outlast.contracts.human import MAX_BY, HumanDecision, PendingRequest
from outlast.contracts.proofs import ALGORITHM, PROOF_TYPE, claims_of
from outlast.errors import NotReady


class SigningKey:
    """The private key of one person, who is known to runs by its name."""

    def __init__(self, key: OKPKey) -> None:
        self._key = key

    @classmethod
    def generate(cls, name: str) -> Self:
        """Return a new key for a person of that name; raises `NotReady` for no name or too long a one."""
        if not name.strip() or len(name) > MAX_BY:
            raise NotReady(f"a key is named after who decides with it, in {MAX_BY} letters at most")
        return cls(OKPKey.generate_key("Ed25519", {"kid": name}))

    @classmethod
    def load(cls, file: Path) -> Self:
        """Read a key from its file; raises `NotReady` with what is wrong with it."""
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            key = OKPKey.import_key(found)
        except OSError as error:
            raise NotReady(f"{file}: cannot be read: {error.strerror}") from None
        except (ValueError, TypeError, KeyError, AttributeError, JoseError):
            raise NotReady(f"{file}: is not a key; `outlast keygen` makes one") from None
        if not key.is_private or found.get("crv") != ALGORITHM or not found.get("kid"):
            raise NotReady(
                f"{file}: must be a private {ALGORITHM} key (JWK) with a 'kid', the name of who decides"
            )
        return cls(key)

    def save(self, file: Path) -> None:
        """Write a key to a new file that its owner alone may read; raises `NotReady`."""
        try:
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise NotReady(f"{file}: cannot be made: {error.strerror}") from None
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            json.dump(self._key.as_dict(private=True), opened)

    @property
    def name(self) -> str:
        """Who decides with it."""
        return str(self._key.kid)

    @property
    def public(self) -> str:
        """The public key as workers are told it: the `x` of its JWK, 43 letters."""
        return str(self._key.as_dict(private=False)["x"])

    def sign(
        self,
        decision: HumanDecision,
        request: PendingRequest,
        *,
        run_id: str,
        at: datetime | None = None,
    ) -> HumanDecision:
        """Return a decision by this key's owner, signed for that request of the run, and for 15 minutes.

        They begin `at` that time, or now.
        """
        by_owner = decision.model_copy(update={"by": self.name})
        claims = claims_of(by_owner, request, run_id=run_id, at=at or datetime.now(UTC))
        header = {"alg": ALGORITHM, "typ": PROOF_TYPE, "kid": self.name}
        payload = claims.model_dump_json().encode()
        signature = jws.serialize_compact(header, payload, self._key, algorithms=[ALGORITHM])
        signed = {"by": self.name, "signature": signature}
        return HumanDecision.model_validate(by_owner.model_dump(exclude_unset=True) | signed)
