"""Settings of human requests: the audiences, and the decision page."""

import base64
from typing import Annotated, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator
from pydantic_core import PydanticCustomError

from outlast.contracts.base import InputModel
from outlast.text.texts import folded_name
from outlast_workers.public_keys import PublicKey
from outlast_workers.settings_sections.setting_types import Host, PersonName, Port, Url


def _webhook_secret(secret: SecretStr) -> SecretStr:
    prefix, _, key = secret.get_secret_value().partition("_")
    try:
        if prefix == "whsec" and len(base64.b64decode(key, validate=True)) >= 16:
            return secret
    except ValueError:
        pass
    raise PydanticCustomError(
        "secret", "must be whsec_ and at least 16 bytes in base64 (openssl rand -base64 32)"
    )


def _different_people(keys: dict[str, str]) -> dict[str, str]:
    names = {folded_name(name) for name in keys}
    if len(names) < len(keys) or len(set(keys.values())) < len(keys):
        raise PydanticCustomError(
            "one_person", "has one person twice: each person needs one name and one key"
        )
    return keys


class AudienceSettings(InputModel):
    """The channels that notify an audience of a request. All of them are used, in this order.

    `secret` signs the webhook's requests. `keys` are the public keys of the people in the audience, by
    name. With keys, every decision of the audience must be signed.
    """

    webhook: Url | None = None
    secret: Annotated[SecretStr, AfterValidator(_webhook_secret)] | None = None
    command: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    log: bool = False
    keys: Annotated[dict[PersonName, PublicKey], AfterValidator(_different_people)] = Field(
        default_factory=dict
    )

    @model_validator(mode="after")
    def _require_a_channel(self) -> Self:
        if self.webhook is None and self.command is None and not self.log and not self.keys:
            raise PydanticCustomError("nobody", "needs a webhook, a command, keys, or log = true")
        return self


class CallbackSettings(InputModel):
    """The decision page: where it listens, and the secret that signs its links."""

    url: Url | None = None
    """Public base URL of the page. With it and a secret, notifications contain a link."""
    secret: Annotated[SecretStr, Field(min_length=16)] | None = None
    host: Host = "127.0.0.1"
    port: Port = 8090

    @model_validator(mode="after")
    def _require_a_secret(self) -> Self:
        if self.url is not None and self.secret is None:
            raise PydanticCustomError(
                "unsigned", "has a url and needs a secret, which signs the links"
            )
        return self
