"""Keys that sign decisions: one Ed25519 key for each person, in a file (JWK, RFC 8037).

This module needs the extra `outlast[signing]`.
"""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

try:
    from joserfc import jws
    from joserfc.errors import JoseError
    from joserfc.jwk import OKPKey
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"no module {error.name!r}: pip install 'outlast[signing]'", name=error.name
    ) from None

from outlast.contracts.human import MAX_BY, HumanDecision, PendingRequest
from outlast.contracts.proofs import ALGORITHM, PROOF_TYPE, claims_of
from outlast.errors import NotReady


class SigningKey:
    """The private key of one person. Runs record the name of the key as the person who decides."""

    def __init__(self, key: OKPKey) -> None:
        self._key = key

    @classmethod
    def generate(cls, name: str) -> Self:
        """Return a new key for a person; raises `NotReady` if the name is empty or too long."""
        if not name.strip() or len(name) > MAX_BY:
            raise NotReady(f"the name of a key must have 1 to {MAX_BY} characters")
        return cls(OKPKey.generate_key("Ed25519", {"kid": name}))

    @classmethod
    def load(cls, file: Path) -> Self:
        """Read a key from a file; raises `NotReady` if it is missing or is not a private Ed25519 key."""
        try:
            jwk = json.loads(file.read_text(encoding="utf-8"))
            key = OKPKey.import_key(jwk)
        except OSError as error:
            raise NotReady(f"{file}: cannot be read: {error.strerror}") from None
        except (ValueError, TypeError, KeyError, AttributeError, JoseError):
            raise NotReady(f"{file}: is not a key; create one with `outlast keygen`") from None
        if not key.is_private or jwk.get("crv") != ALGORITHM or not jwk.get("kid"):
            raise NotReady(
                f"{file}: must be a private {ALGORITHM} key (JWK) with a 'kid', the name of the person"
            )
        return cls(key)

    def save(self, file: Path) -> None:
        """Write the key to a new file that only its owner can read; raises `NotReady` if that fails."""
        try:
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise NotReady(f"{file}: cannot be created: {error.strerror}") from None
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            json.dump(self._key.as_dict(private=True), opened)

    @property
    def name(self) -> str:
        """The person who decides with this key."""
        return str(self._key.kid)

    @property
    def public(self) -> str:
        """The public key for the settings of workers: the `x` of its JWK, 43 characters."""
        return str(self._key.as_dict(private=False)["x"])

    def sign(
        self,
        decision: HumanDecision,
        request: PendingRequest,
        *,
        run_id: str,
        at: datetime | None = None,
    ) -> HumanDecision:
        """Return the decision with the name and signature of this key, for one request of a run.

        The signature is valid for 15 minutes from `at`, by default from now. `run_id` is a workflow id.
        """
        by_owner = decision.model_copy(update={"by": self.name})
        claims = claims_of(by_owner, request, run_id=run_id, at=at or datetime.now(UTC))
        header = {"alg": ALGORITHM, "typ": PROOF_TYPE, "kid": self.name}
        payload = claims.model_dump_json().encode()
        signature = jws.serialize_compact(header, payload, self._key, algorithms=[ALGORITHM])
        signed = {"by": self.name, "signature": signature}
        return HumanDecision.model_validate(by_owner.model_dump(exclude_unset=True) | signed)
