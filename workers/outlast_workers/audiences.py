"""The channels on which audiences are told of requests."""

from collections.abc import Iterable, Mapping

from outlast_activities.channels import Command, LogLine, Webhook
from outlast_activities.notify import ANYBODY, Channel, LinkTo

from outlast.agents import Catalog
from outlast.tools import DEFAULT_AUDIENCE
from outlast_workers.callback.links import Links
from outlast_workers.settings import Settings
from outlast_workers.settings_sections import AudienceSettings


def channels_of(audiences: Mapping[str, AudienceSettings]) -> dict[str, list[Channel]]:
    """Return the channels of each audience that has some, in the order in which they are used.

    One that is named for its keys alone is told as those are that are not named.
    """
    found = {name: _channels(told) for name, told in audiences.items()}
    return {name: channels for name, channels in found.items() if channels}


def unasked(audiences: Iterable[str], catalog: Catalog) -> list[str]:
    """Return the audiences that no tool of the catalog asks: a name may be misspelt."""
    specs = [spec for agent in catalog.agents.values() for spec in agent.tool_specs]
    specs += [tool.spec for tool in catalog.tools.values()]
    asked = {name for spec in specs if spec.approval for name in spec.approval.audiences}
    return sorted(set(audiences) - asked - {ANYBODY, DEFAULT_AUDIENCE})


def link_to(settings: Settings) -> LinkTo | None:
    """Return what makes the link of a request, where a callback page is served."""
    told = settings.callback
    if told.url is None or told.secret is None:
        return None
    return Links(told.secret.get_secret_value(), told.url).url


def _channels(told: AudienceSettings) -> list[Channel]:
    channels: list[Channel] = []
    if told.webhook is not None:
        secret = told.secret.get_secret_value() if told.secret else None
        channels.append(Webhook(told.webhook, secret=secret))
    if told.command is not None:
        channels.append(Command(told.command))
    if told.log:
        channels.append(LogLine())
    return channels
