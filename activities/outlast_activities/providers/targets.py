"""How spans name a model server: its provider, by the names of the GenAI conventions, and its address."""

from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import urlsplit

from outlast_activities.telemetry.spans import ModelTarget

BY_API: Mapping[str, str] = MappingProxyType(
    {"anthropic": "anthropic", "gemini": "gcp.gemini", "openai-responses": "openai"}
)
"""The provider of an API that one company has."""

BY_HOST: Mapping[str, str] = MappingProxyType(
    {
        "openai.azure.com": "azure.ai.openai",
        "services.ai.azure.com": "azure.ai.inference",
        "api.openai.com": "openai",
        "api.anthropic.com": "anthropic",
        "generativelanguage.googleapis.com": "gcp.gemini",
        "aiplatform.googleapis.com": "gcp.vertex_ai",
        "api.deepseek.com": "deepseek",
        "api.groq.com": "groq",
        "api.mistral.ai": "mistral_ai",
        "api.perplexity.ai": "perplexity",
        "api.x.ai": "x_ai",
    }
)
"""The providers that the conventions name, by the end of a host's name."""


def model_target(server: str, api: str, url: str, engine: str) -> ModelTarget:
    """Return how spans name a model server: its host decides, then its API, then its `engine`."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    by_host = next((name for end, name in BY_HOST.items() if _is_of(host, end)), None)
    return ModelTarget(
        provider=by_host or BY_API.get(api) or engine or api,
        address=host or None,
        port=parts.port or {"http": 80, "https": 443}.get(parts.scheme),
        server=server,
    )


def _is_of(host: str, end: str) -> bool:
    return host == end or host.endswith(f".{end}")
