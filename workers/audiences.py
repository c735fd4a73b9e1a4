"""The channels on which audiences are told of requests."""

from collections.abc import Mapping

from activities.notify import Channel
from activities.providers.channels import Command, LogLine, Webhook
from workers.tables import AudienceSettings


def channels_of(audiences: Mapping[str, AudienceSettings]) -> dict[str, list[Channel]]:
    """Return the channels of each audience, in the order in which they are used."""
    return {name: _channels(told) for name, told in audiences.items()}


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
