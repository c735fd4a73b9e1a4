"""What the Helm chart refuses, and that its schema, its values and our settings say the same."""

import json
from collections.abc import Mapping
from typing import Any, get_args

import pytest
import yaml
from outlast_workers.settings import Role, Settings
from outlast_workers.settings_sections.gateway import EventsSettings, GatewaySettings
from outlast_workers.settings_sections.model_servers import ModelSettings
from outlast_workers.settings_sections.people import AudienceSettings, CallbackSettings
from outlast_workers.settings_sections.workers import RoutesSettings, SpecsSettings, ToolsSettings
from pydantic import BaseModel

from outlast.contracts.agents import Leg, Price
from tests.deploy.kubernetes import chart
from tests.deploy.kubernetes.chart import BUILD
from tests.deploy.tools import ROOT

CHART_SETS = {
    *("agents", "roles", "queues", "drain_s", "health", "versioning", "idle_exit_s", "max_life_s"),
    *("demand", "metrics"),
}
"""Settings that the chart makes of values of its own."""


REFUSED = [
    (
        "cpu",
        "workers.tools.replcas=2",
        "at '/workers/tools': additional properties 'replcas' not allowed",
    ),
    ("worker-controller", "promotion.enabled=true", "promotion.enabled needs versioning.enabled"),
    ("cpu", "promotion.ramp={0,50}", "at '/promotion/ramp/0': exclusiveMinimum: got 0, want 0"),
    ("cpu", "scaling.trigger=keda", "at '/scaling/trigger': value must be one of 'none', 'external'"),
    ("cpu", "scaling.pollingIntervalS=1", "at '/scaling/pollingIntervalS': minimum: got 1, want 5"),
    ("cpu", "workers.tool.replicas=2", "at '/workers/tool': missing property 'role'"),
    ("cpu", "settings.model.api_key=x", "at '/settings/model': additional properties 'api_key'"),
    ("cpu", "settings.drain_s=5", "at '/settings': additional properties 'drain_s' not allowed"),
    ("cpu", "image.tag=latest", "an image has the tag latest, which names no build"),
    ("cpu", "vllm.image=vllm/vllm-openai", "at '/vllm/image': 'vllm/vllm-openai' does not match"),
    ("cpu", "image.tag=", "image.tag is empty: give the tag of your worker image"),
    ("cpu", "temporal.address=", "temporal.address is empty: give host:port"),
    ("cpu", "agents=null", "agents is empty: name the Python modules"),
    ("gpu", "workers.generate.modelServer=external", "settings.model.url is empty: give the base URL"),
    ("cpu", "workers.generate.modelServer=sidecar", "vllm.model is empty: name the model"),
    ("gpu", "workers.generate.modelServer=sidecar,vllm.gpus=0", "a sidecar is for a pod with a GPU"),
    ("cpu", "scaling.trigger=external", "demand.enabled is false: KEDA would have nobody to ask"),
    ("cpu", "demand.deletionCost=true", "needs scaling.trigger external or metrics-api: the demand"),
    ("cpu", "demand.deletionCosts=true", "at '/demand': additional properties 'deletionCosts'"),
    ("cpu", "workers.tools.kind=Job", "workers.tools has kind: Job and is not scaled"),
    ("cpu", "workers.tools.modelServer=service", "role tools, which asks no model"),
    ("cpu", "workers.tools.scale.min=20", "workers.tools.scale.min is more than its max"),
    ("cpu", "scaling.trigger=temporal,workers.tools.scale.min=0", "a new build would never start"),
    (
        "gpus",
        "scaling.trigger=temporal,vllm.scale.enabled=false,workers.generate-gpu.versioned=true",
        "workers.generate-gpu.scale.min is 0: with the temporal trigger a new build would never start",
    ),
    (
        "gpu",
        "scaling.trigger=temporal,vllm.scale.enabled=true",
        "backlog alone would take away a server",
    ),
    ("cpu", "callback.enabled=true", "settings.callback.url is empty"),
    (
        "cpu",
        "settings.callback.url=https://a.example",
        "OUTLAST_CALLBACK__SECRET, which signs the links",
    ),
    ("gpus", "externalQueues=null", "generate-serverless, which no worker here polls"),
    ("cpu", "temporal.apiKeySecret=a,temporal.tls.clientSecret=b", "Temporal takes one of them"),
    (
        "worker-controller",
        "workers.tools.enabled=true",
        "would be a deployment of its own, and pinned runs",
    ),
    (
        "worker-controller",
        "workers.worker.enabled=false,workers.rather-a-long-one.role=all,fullnameOverride=more-than-thirty-letters-here-too",
        "more than 47 characters",
    ),
    ("worker-controller", "versioning.enabled=false", "needs versioning.enabled"),
    (
        "worker-controller",
        "scaling.trigger=external,demand.enabled=true,demand.anonymous=true",
        "needs scaling.trigger temporal",
    ),
    ("worker-controller", "workers.worker.kind=Job", "set its versioned to false"),
    ("gpu", "demand.tokenSecret=", "demand.tokenSecret is empty: name a Secret with a token"),
    ("gpu", "scaling.trigger=external", "scaling.trigger is external, which sends no token"),
    ("gpu", "demand.tls.secret=a", "KEDA trusts a private CA only together with a client certificate"),
    ("gpu", "demand.tls.clientSecret=a", "demand.tls.secret is empty"),
    (
        "cpu",
        "scaling.trigger=temporal,temporal.tls.enabled=true",
        "KEDA speaks plain text without apiKeySecret",
    ),
    (
        "cpu",
        "scaling.trigger=temporal,temporal.apiKeySecret=a,temporal.tls.caSecret=b",
        "KEDA ignores temporal.tls.caSecret together with an API key",
    ),
    (
        "cpu",
        "workers.generate.enabled=false",
        "runs send their generate steps to the task queue generate",
    ),
    ("gpus", "vllm.download=true", "vllm.weights.existingClaim is mounted read-only"),
    (
        "gpus",
        "vllm.compileCache.existingClaim=c",
        "vllm.compileCache.existingClaim is for one vLLM pod",
    ),
    ("gpus", "vllm.scale.min=9", "vllm.scale.min is more than its max"),
    (
        "gpu",
        "fullnameOverride=a-name-that-has-very-nearly-forty-letters",
        "has more than 54 characters: give a shorter release name",
    ),
    (
        "gpus",
        "workers.generate-gpu.maxLifeS=5",
        "at '/workers/generate-gpu/maxLifeS': minimum: got 5, want 60",
    ),
    ("cpu", "gateway.enabled=true", "gateway.tokensSecret is empty: name a Secret"),
    (
        "cpu",
        "gateway.enabled=true,gateway.tokensSecret=a,workers.workflows.queue=mine",
        "no worker here polls the task queue agents",
    ),
    (
        "cpu",
        "gateway.enabled=true,gateway.tokensSecret=a,gateway.expose.kind=Ingress",
        "gateway.expose.host is empty",
    ),
    (
        "gpus",
        "callback.expose.kind=HTTPRoute",
        "callback.expose.kind is HTTPRoute and parentRefs is empty",
    ),
    (
        "cpu",
        "gateway.expose.kind=Ingress",
        "gateway.expose.kind is Ingress and gateway.enabled is false",
    ),
    (
        "cpu",
        "gateway.eventsTokenSecret=a",
        "gateway.eventsTokenSecret is set and gateway.enabled is false",
    ),
    (
        "cpu",
        "gateway.enabled=true,gateway.tokensSecret=a,gateway.eventsTokenSecret=a,gateway.replicas=9",
        "gateway.replicas is more than 8",
    ),
    (
        "cpu",
        "gateway.enabled=true,gateway.tokensSecret=a,gateway.eventsTokenSecret=a,settings.events.urls={http://g}",
        "gateway.eventsTokenSecret and settings.events.urls are both set",
    ),
    ("cpu", "settings.gateway.tokens.ann=x", "at '/settings/gateway': additional properties 'tokens'"),
    ("cpu", "priorityClass.create=true", "priorityClass.create needs priorityClass.name"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("values", "option", "sentence"), REFUSED, ids=[one for _, one, _ in REFUSED]
)
def test_values_that_do_not_fit_are_refused_with_a_sentence(
    values: str, option: str, sentence: str
) -> None:
    options = [] if option.startswith("image.tag=") else [option]
    tag = option.removeprefix("image.tag=") if not options else BUILD
    assert sentence in chart.refusal(values, *options, tag=tag)


def test_the_schema_knows_the_settings_and_no_others() -> None:
    schema = json.loads((ROOT / chart.CHART / "values.schema.json").read_text())["$defs"]
    tables = schema["settings"]["properties"]
    assert set(tables) == set(Settings.model_fields) - CHART_SETS
    assert _keys(tables["tools"]) == set(ToolsSettings.model_fields)
    assert _keys(schema["model"]) == set(ModelSettings.model_fields) - {"api_key"}
    assert _keys(tables["audiences"]["additionalProperties"]) == set(
        AudienceSettings.model_fields
    ) - {"secret"}
    assert _keys(tables["callback"]) == set(CallbackSettings.model_fields) - {
        "secret",
        "host",
        "port",
    }
    assert _keys(tables["gateway"]) == set(GatewaySettings.model_fields) - {
        "host",
        "port",
        "tokens",
        "events_token",
    }
    assert _keys(tables["events"]) == set(EventsSettings.model_fields) - {"token"}
    assert _keys(tables["specs"]) == set(SpecsSettings.model_fields)
    assert _keys(tables["routes"]) == set(RoutesSettings.model_fields)
    assert _keys(schema["leg"]) == set(Leg.model_fields)
    assert _keys(schema["price"]) == set(Price.model_fields)
    concurrency: type[BaseModel] = type(Settings.model_fields["concurrency"].default)
    assert _keys(tables["concurrency"]) == set(concurrency.model_fields)


def test_every_value_is_explained_and_known_to_the_schema() -> None:
    schema = json.loads((ROOT / chart.CHART / "values.schema.json").read_text())
    text = (ROOT / chart.CHART / "values.yaml").read_text()
    values = yaml.safe_load(text)
    assert set(schema["properties"]) == {*values, "global"}
    worker = schema["$defs"]["worker"]["properties"]
    assert set(worker) == set(values["workerDefaults"])
    assert set(worker["role"]["enum"]) == {"", "all", *get_args(Role)}


def _keys(schema: Mapping[str, Any]) -> set[str]:
    assert schema["additionalProperties"] is False
    return set(schema["properties"])
