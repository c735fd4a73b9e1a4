"""The notification channels and keys of audiences, as the settings configure them."""

from collections.abc import Iterable, Mapping

from outlast_activities.channels import Command, LogLine, Webhook
from outlast_activities.notify import ANY_AUDIENCE, Channel

from outlast.agents.catalog import Catalog
from outlast.agents.tool_options import DEFAULT_AUDIENCE
from outlast_workers.settings_sections.people import AudienceSettings


def channels_by_audience(audiences: Mapping[str, AudienceSettings]) -> dict[str, list[Channel]]:
    """Return the channels of each audience, in the order in which they are used.

    An audience that has only keys is left out: the channels of `*` apply to it.
    """
    channels = {name: _channels(audience) for name, audience in audiences.items()}
    return {name: listed for name, listed in channels.items() if listed}


def keys_by_audience(audiences: Mapping[str, AudienceSettings]) -> dict[str, dict[str, str]]:
    """Return the public keys of the people in each audience that has keys, by the name of the person."""
    return {name: audience.keys for name, audience in audiences.items() if audience.keys}


def unused_audiences(audiences: Iterable[str], catalog: Catalog) -> list[str]:
    """Return the audiences that no tool of the catalog uses: their names may be misspelt."""
    specs = [spec for agent in catalog.agents.values() for spec in agent.tool_specs]
    specs += [tool.spec for tool in catalog.tools.values()]
    used = {name for spec in specs if spec.approval for name in spec.approval.audiences}
    return sorted(set(audiences) - used - {ANY_AUDIENCE, DEFAULT_AUDIENCE})


def _channels(audience: AudienceSettings) -> list[Channel]:
    channels: list[Channel] = []
    if audience.webhook is not None:
        secret = audience.secret.get_secret_value() if audience.secret else None
        channels.append(Webhook(audience.webhook, secret=secret))
    if audience.command is not None:
        channels.append(Command(audience.command))
    if audience.log:
        channels.append(LogLine())
    return channels
