"""The names of spans and metrics, compared with the pinned release of the conventions."""

import importlib
import re
from importlib.metadata import version

import pytest
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics
from opentelemetry.semconv.schemas import Schemas
from outlast_activities.providers.targets import BY_API, BY_HOST, model_target
from outlast_activities.telemetry import conventions
from outlast_activities.telemetry.metrics import BUCKETS

ATTRIBUTES = {
    value for name, value in vars(gen_ai_attributes).items() if name.startswith("GEN_AI_")
}
NOT_IN_V0_1_0 = ("gen_ai.usage.cache_creation.input_tokens", "gen_ai.workflow.name")
"""Names that the conventions' new repository has changed since."""


def names() -> set[str]:
    constants = vars(conventions)
    return {
        value
        for name, value in constants.items()
        if name.isupper() and isinstance(value, str) and name not in ("CONVENTIONS", "SCHEMA_URL")
    }


def test_the_release_is_the_installed_one() -> None:
    package, release = conventions.CONVENTIONS.split()
    assert version(package) == release
    assert list(Schemas)[-1].value == conventions.SCHEMA_URL


def test_attributes_of_the_conventions_are_named_as_there() -> None:
    metrics = {value for name, value in vars(gen_ai_metrics).items() if name.startswith("GEN_AI_")}
    ours = {name for name in names() if name.startswith("gen_ai.")}
    assert ours
    assert ours <= (ATTRIBUTES | metrics) - set(NOT_IN_V0_1_0)


@pytest.mark.parametrize(
    ("module", "constants"),
    [
        ("error_attributes", {"error.type"}),
        ("server_attributes", {"server.address", "server.port"}),
        (
            "http_attributes",
            {"http.request.method", "http.response.status_code", "http.route"},
        ),
    ],
)
def test_general_attributes_are_named_as_there(module: str, constants: set[str]) -> None:
    known = vars(importlib.import_module(f"opentelemetry.semconv.attributes.{module}")).values()
    assert constants <= names()
    assert constants <= {each for each in known if isinstance(each, str)}


def test_other_names_are_ours() -> None:
    """And no name stands for two things."""
    others = {name for name in names() if "." in name and not name.startswith("gen_ai.")}
    others -= {"error.type", "server.address", "server.port"}
    others -= {"http.request.method", "http.response.status_code", "http.route"}
    assert all(name.startswith("outlast.") for name in others), others
    assert all(re.fullmatch(r"[a-z_]+", name) for name in BUCKETS if "." not in name)


def test_operations_are_named_as_there() -> None:
    known = {each.value for each in gen_ai_attributes.GenAiOperationNameValues}
    assert {conventions.CHAT, conventions.EXECUTE_TOOL, conventions.INVOKE_AGENT} <= known


def test_providers_are_named_as_there() -> None:
    known = {each.value for each in gen_ai_attributes.GenAiProviderNameValues}
    assert {*BY_API.values(), *BY_HOST.values()} <= known


@pytest.mark.parametrize(
    ("api", "url", "engine", "provider", "address", "port"),
    [
        ("openai-chat", "http://vllm:8000/v1", "vllm", "vllm", "vllm", 8000),
        ("openai-chat", "https://api.groq.com/openai/v1", "x", "groq", "api.groq.com", 443),
        ("openai-responses", "https://a.openai.azure.com/v1", "", "azure.ai.openai", None, 443),
        ("anthropic", "http://localhost/v1", "claude", "anthropic", "localhost", 80),
        ("openai-chat", "http://evil-api.groq.com.example/v1", "", "openai-chat", None, 80),
    ],
)
def test_a_server_is_named_by_its_host_its_api_or_its_engine(
    api: str, url: str, engine: str, provider: str, address: str | None, port: int
) -> None:
    target = model_target("spot", api, url, engine)
    assert (target.provider, target.port, target.server) == (provider, port, "spot")
    assert address in (None, target.address)
