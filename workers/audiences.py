"""The channels on which audiences are told of requests."""

from collections.abc import Mapping

from activities.notify import Channel, LinkTo
from activities.providers.channels import Command, LogLine, Webhook
from workers.links import Links
from workers.settings import Settings
from workers.tables import AudienceSettings


def channels_of(audiences: Mapping[str, AudienceSettings]) -> dict[str, list[Channel]]:
    """Return the channels of each audience, in the order in which they are used."""
    return {name: _channels(told) for name, told in audiences.items()}


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
