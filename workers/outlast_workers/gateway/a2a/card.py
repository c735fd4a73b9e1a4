"""The agent card: what an agent is, and where it is reached. Source: A2A 1.0, section 4.4."""

from typing import Any

from outlast.version import __version__

PROTOCOL_VERSION = "1.0"


def agent_card(name: str, description: str, url: str, *, needs_token: bool) -> dict[str, Any]:
    """Return the card of an agent at a URL."""
    about = description or name
    card: dict[str, Any] = {
        "name": name,
        "description": about,
        "version": __version__,
        "supportedInterfaces": [
            {"url": url, "protocolBinding": "JSONRPC", "protocolVersion": PROTOCOL_VERSION}
        ],
        "capabilities": {"streaming": True, "pushNotifications": False, "extendedAgentCard": False},
        "defaultInputModes": ["text/plain", "application/json"],
        "defaultOutputModes": ["text/plain", "application/json"],
        "skills": [{"id": name, "name": name, "description": about, "tags": ["agent"]}],
    }
    if needs_token:
        card["securitySchemes"] = {"bearer": {"httpAuthSecurityScheme": {"scheme": "Bearer"}}}
        card["securityRequirements"] = [{"schemes": {"bearer": {"list": []}}}]
    return card
