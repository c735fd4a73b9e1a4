"""The table `http`: where HTTP calls of pipelines may go, and the secrets that they may send."""

from ipaddress import ip_network
from typing import Annotated, Self

from outlast_activities.http_calls.allowlist import Network, Origin, origin_of_entry
from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from outlast.agents.mcp_servers import CREDENTIALS
from outlast.contracts.base import InputModel
from outlast.contracts.names import Name
from outlast_workers.settings_sections.setting_types import distinct, split


def _valid_entry(entry: str) -> str:
    try:
        origin_of_entry(entry)
    except ValueError as error:
        raise PydanticCustomError("origin", "{reason}", {"reason": str(error)}) from None
    return entry


def _valid_network(network: str) -> str:
    try:
        ip_network(network)
    except ValueError:
        raise PydanticCustomError(
            "network", "must be an address or a network such as 10.0.0.0/8"
        ) from None
    return network


def _valid_reference(reference: str) -> str:
    if not CREDENTIALS.fullmatch(reference):
        # The value is not shown: it may be the secret itself.
        raise PydanticCustomError(
            "reference", "must be 'env:NAME', the variable of the worker that holds the secret"
        )
    return reference


_Entry = Annotated[str, AfterValidator(_valid_entry)]
_Network = Annotated[str, AfterValidator(_valid_network)]


class HttpSecret(InputModel):
    """A secret for HTTP calls of pipelines."""

    value: Annotated[str, AfterValidator(_valid_reference)]
    """`env:NAME`: the variable of the worker. For HTTP Basic, it holds `user:password`."""
    hosts: Annotated[
        tuple[_Entry, ...], BeforeValidator(split), AfterValidator(distinct), Field(min_length=1)
    ]
    """The entries of `http.hosts` that may get it."""

    @property
    def variable(self) -> str:
        """The name of the variable."""
        return self.value.removeprefix("env:")

    @property
    def origins(self) -> list[Origin]:
        """The origins that may get it."""
        return [origin_of_entry(entry) for entry in self.hosts]


class HttpSettings(InputModel):
    """Where HTTP calls of pipelines may go. By default, nowhere."""

    hosts: Annotated[tuple[_Entry, ...], BeforeValidator(split), AfterValidator(distinct)] = ()
    """Hosts such as `api.example.com`, for https, or origins such as `http://localhost:8080`."""
    private_networks: Annotated[
        tuple[_Network, ...], BeforeValidator(split), AfterValidator(distinct)
    ] = ()
    """Networks of private addresses that the names in `hosts` may have."""
    secrets: dict[Name, HttpSecret] = Field(default_factory=dict)
    """Secrets, by the names that documents use."""

    @property
    def origins(self) -> list[Origin]:
        """The allowed origins."""
        return [origin_of_entry(entry) for entry in self.hosts]

    @property
    def networks(self) -> list[Network]:
        """The allowed private networks."""
        return [ip_network(network) for network in self.private_networks]

    @model_validator(mode="after")
    def _secrets_go_to_listed_hosts(self) -> Self:
        origins = self.origins
        for name, secret in self.secrets.items():
            for entry in secret.hosts:
                if origin_of_entry(entry) not in origins:
                    raise PydanticCustomError(
                        "unlisted",
                        "secrets.{name}: the host {entry} is not in http.hosts",
                        {"name": name, "entry": repr(entry)},
                    )
        return self
