"""What is known of the models of a server before it is probed: their ways, and their dialect of schemas.

A worker that starts runs needs this, and calls no model itself. So nothing here imports a client library.
"""

import re

from outlast.contracts.agents import Way
from outlast.model_server import ServerOptions
from outlast_activities.constraints.api_dialects import ANTHROPIC, GEMINI, OPENAI
from outlast_activities.leg_checks import ServerRules
from outlast_activities.providers.profiles import profile_of

ALL_WAYS: tuple[Way, ...] = ("native", "tools", "decision")

_BEFORE_3 = re.compile(r"gemini-(1|2)(\.\d+)?-")
"""Gemini's models that take a response schema only without tools."""


def is_before_3(model: str) -> bool:
    """Return whether a model of Gemini is older than Gemini 3."""
    return _BEFORE_3.match(model) is not None


def gemini_ways(model: str) -> tuple[Way, ...]:
    """Return the ways of a model of Gemini."""
    return ALL_WAYS[1:] if is_before_3(model) else ALL_WAYS


def unknown_rules(options: ServerOptions) -> ServerRules:
    """Return no rules, for an API whose models only a probe knows."""
    del options
    return ServerRules()


def chat_rules(options: ServerOptions) -> ServerRules:
    """Return the rules of the service with chat completions that the options name, if it has a profile."""
    try:
        profile = profile_of(options.url, options.model, options.profile)
    except ValueError:  # an unknown name: a worker that calls the server does not start
        return ServerRules()
    return ServerRules(profile.ways, OPENAI if profile.schema else None)


def anthropic_rules(options: ServerOptions) -> ServerRules:
    """Return the rules of Anthropic's models. The description of a model may say that it has fewer ways."""
    del options
    return ServerRules(ALL_WAYS, ANTHROPIC)


def responses_rules(options: ServerOptions) -> ServerRules:
    """Return the rules of the models of OpenAI's Responses API."""
    del options
    return ServerRules(ALL_WAYS, OPENAI)


def gemini_rules(options: ServerOptions) -> ServerRules:
    """Return the rules of a model of Gemini."""
    return ServerRules(gemini_ways(options.model or ""), GEMINI)
