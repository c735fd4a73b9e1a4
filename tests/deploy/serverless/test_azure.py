"""Azure Container Apps: the template's resources as Azure's own models read them, and our rules."""

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from outlast_workers.settings import Settings, load_settings

from tests.deploy.graces import EXIT_S, fits
from tests.deploy.placeholders import BUILD_ID
from tests.deploy.serverless.arm import evaluated
from tests.deploy.settings import loaded
from tests.deploy.tools import ROOT, run_python

TEMPLATE = ROOT / "deploy" / "azure" / "template.json"

PARAMETERS = {
    "registry": "example.azurecr.io",
    "buildId": BUILD_ID,
    "identityId": "/subscriptions/s/identity",
    "apiKeySecretUrl": "https://vault.example.com/secrets/temporal",
    "demandToken": "x" * 32,
    "temporalAddress": "temporal.example.com:7233",
    "withGpu": True,
}

STRICT = """
import enum, json, sys, typing
from azure.mgmt.appcontainers import models
from azure.mgmt.appcontainers._configuration import ContainerAppsAPIClientConfiguration
from azure.mgmt.appcontainers._utils.model_base import Model

KINDS = {
    "Microsoft.App/managedEnvironments": models.ManagedEnvironment,
    "Microsoft.App/containerApps": models.ContainerApp,
    "Microsoft.App/jobs": models.Job,
}
ABOUT = {"type", "apiVersion", "name", "dependsOn"}
NAMES = {**vars(models), "_models": models}

def check(value, hint, at):
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Union:
        parts = [part for part in parts if part is not type(None)]
        kinds = [part for part in parts if isinstance(part, type) and issubclass(part, enum.Enum)]
        if kinds:
            known = [each.value for each in kinds[0]]
            assert value in known, f"{at}: {value!r} is none of {known}"
            return
        check(value, parts[0], at)
    elif origin is list:
        assert isinstance(value, list), f"{at}: is no list"
        for number, each in enumerate(value):
            check(each, parts[0], f"{at}[{number}]")
    elif origin is dict:
        for key, each in value.items():
            check(each, parts[1], f"{at}.{key}")
    elif hint is typing.Any:
        return
    elif issubclass(hint, Model):
        fields = {field._rest_name: name for name, field in hint({})._attr_to_rest_field.items()}
        hints = typing.get_type_hints(hint, NAMES)
        for key, each in value.items():
            assert key in fields, f"{at}.{key}: unknown; there are {sorted(fields)}"
            check(each, hints[fields[key]], f"{at}.{key}")
    else:
        right = isinstance(value, (int, float) if hint is float else hint)
        assert right and not (hint in (int, float) and value is True), f"{at}: {value!r} is no {hint}"

client = ContainerAppsAPIClientConfiguration(credential=object(), subscription_id="s")
for resource in json.loads(sys.argv[1]):
    assert resource["apiVersion"] == client.api_version, client.api_version
    body = {key: value for key, value in resource.items() if key not in ABOUT}
    check(body, KINDS[resource["type"]], resource["name"])
"""


WITHOUT_GPU = {
    "withGpu": False,
    "modelUrl": "https://models.example.com/v1",
    "modelApiKeySecretUrl": "https://vault.example.com/secrets/model",
}
"""What a subscription without a GPU quota deploys."""


def resources(**changes: Any) -> dict[str, dict[str, Any]]:
    template = json.loads(TEMPLATE.read_text())
    return {each["name"]: each for each in evaluated(template, {**PARAMETERS, **changes})}


def job(kind: str) -> dict[str, Any]:
    changes = WITHOUT_GPU if kind == "model" else {}
    return resources(**changes)[f"outlast-{kind}-{BUILD_ID}"]


def container(resource: dict[str, Any]) -> dict[str, Any]:
    (only,) = resource["properties"]["template"]["containers"]
    found: dict[str, Any] = only
    return found


def settings_of(resource: dict[str, Any]) -> Settings:
    return loaded(
        {each["name"]: each.get("value", "x" * 16) for each in container(resource)["env"]}
    )


def test_every_resource_is_taken_by_azures_own_models() -> None:
    changes: list[dict[str, Any]] = [{}, {"apiKeySecretUrl": ""}, WITHOUT_GPU]
    deployed = [one for change in changes for one in resources(**change).values()]
    done = run_python("azure-mgmt-appcontainers", STRICT, json.dumps(deployed))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("path", "key", "value", "message"),
    [
        (("configuration",), "replicaRetries", 1, "replicaRetries: unknown"),
        (("configuration",), "replicaTimeout", "2h", "'2h' is no"),
        (("configuration",), "triggerType", "Events", "'Events' is none of"),
        (("template", "containers", 0), "enviroment", [], "enviroment: unknown"),
    ],
)
def test_a_wrong_field_would_be_refused(
    path: tuple[str | int, ...], key: str, value: object, message: str
) -> None:
    wrong = job("cpu")
    node: Any = wrong["properties"]
    for step in path:
        node = node[step]
    node[key] = value
    done = run_python("azure-mgmt-appcontainers", STRICT, json.dumps([wrong]))
    assert done.returncode != 0
    assert message in done.stderr


def test_there_is_a_gpu_only_where_one_is_wanted() -> None:
    without = resources(withGpu=False)
    assert f"outlast-gpu-{BUILD_ID}" not in without
    profiles = without["outlast"]["properties"]["workloadProfiles"]
    assert [profile["name"] for profile in profiles] == ["Consumption"]
    assert job("gpu")["properties"]["workloadProfileName"] == "gpu"


@pytest.mark.parametrize("kind", ["cpu", "gpu", "model"])
def test_a_jobs_settings_are_settings_of_ours_and_end_it_when_it_is_idle(kind: str) -> None:
    settings = settings_of(job(kind))
    assert fits("Azure", settings.drain_s)
    assert settings.versioning.deployment_name == "outlast"
    assert settings.versioning.build_id == BUILD_ID
    assert container(job(kind))["image"].endswith(f":{BUILD_ID}")
    variables = {each["name"]: each for each in container(job(kind))["env"]}
    assert float(variables["OUTLAST_IDLE_EXIT_S"]["value"]) > 0
    timeout_s = job(kind)["properties"]["configuration"]["replicaTimeout"]
    assert settings.max_life_s is not None
    assert settings.max_life_s + settings.drain_s + EXIT_S < timeout_s, "it ends before it is ended"
    assert "value" not in variables["TEMPORAL_API_KEY"]


@pytest.mark.parametrize("kind", ["cpu", "gpu", "model"])
def test_a_job_is_bounded_and_repeats_nothing_by_itself(kind: str) -> None:
    configuration = job(kind)["properties"]["configuration"]
    scale = configuration["eventTriggerConfig"]["scale"]
    assert configuration["replicaRetryLimit"] == 0
    assert 0 < configuration["replicaTimeout"] <= 86_400
    assert scale["minExecutions"] == 0
    assert 0 < scale["maxExecutions"] <= 100
    assert 5 <= scale["pollingInterval"] <= 30
    assert set(container(job(kind))["resources"]) == {"cpu", "memory"}


@pytest.mark.parametrize("kind", ["cpu", "gpu", "model"])
def test_a_job_starts_for_the_demand_of_each_queue_that_it_polls(kind: str) -> None:
    settings = settings_of(job(kind))
    scale = job(kind)["properties"]["configuration"]["eventTriggerConfig"]["scale"]
    slots = {settings.queue(role): getattr(settings.concurrency, role) for role in settings.roles}
    assert {rule["name"] for rule in scale["rules"]} == set(slots)
    for rule in scale["rules"]:
        url = urlsplit(rule["metadata"]["url"])
        assert rule["type"] == "metrics-api"  # "temporal" is refused there
        assert rule["metadata"]["valueLocation"] == "demand"
        assert rule["metadata"]["targetValue"] == str(slots[rule["name"]])
        assert rule["metadata"]["authMode"] == "bearer"
        assert rule["auth"] == [{"secretRef": "demand-token", "triggerParameter": "token"}]
        assert url.path == f"/demand/{rule['name']}"
        assert parse_qs(url.query) == {
            "deployment": ["outlast"],
            "build_id": [BUILD_ID],
            "slots": [str(slots[rule["name"]])],
        }


@pytest.mark.parametrize("kind", ["cpu", "gpu", "model"])
def test_a_job_polls_queues_of_the_serverless_route(kind: str) -> None:
    settings = settings_of(job(kind))
    routes = load_settings(ROOT / "deploy" / "routes" / "serverless.toml")
    for role in settings.roles:
        if role != "workflows":
            legs = routes.route(role).legs
            assert settings.queue(role) in {leg.task_queue for leg in legs}


def test_the_cpu_job_sends_steps_to_queues_that_the_jobs_poll() -> None:
    cpu, gpu = settings_of(job("cpu")), settings_of(job("gpu"))
    assert [leg.task_queue for leg in cpu.route("generate").legs] == [gpu.queue("generate")]
    assert [leg.task_queue for leg in cpu.route("tools").legs] == [cpu.queue("tools")]


def test_without_a_gpu_a_job_asks_a_model_server_elsewhere() -> None:
    settings = settings_of(job("model"))
    assert settings.roles == ("generate",)
    assert settings.model.url == "https://models.example.com/v1"
    assert settings.queue("generate") == settings_of(job("gpu")).queue("generate")
    variables = {each["name"]: each for each in container(job("model"))["env"]}
    assert variables["OUTLAST_MODEL__API_KEY"]["secretRef"] == "model-api-key"
    secrets = job("model")["properties"]["configuration"]["secrets"]
    assert {each["name"] for each in secrets} >= {"model-api-key", "demand-token"}
    assert f"outlast-model-{BUILD_ID}" not in resources(), "one queue has one kind of worker"
    keyless = resources(**WITHOUT_GPU | {"modelApiKeySecretUrl": "", "apiKeySecretUrl": ""})
    names = {each["name"] for each in container(keyless[f"outlast-model-{BUILD_ID}"])["env"]}
    assert "OUTLAST_MODEL__API_KEY" not in names
    assert "TEMPORAL_API_KEY" not in names


def test_the_readme_names_secrets_without_a_version_so_that_azure_rotates_them() -> None:
    readme = (TEMPLATE.parent / "README.md").read_text()
    assert "apiKeySecretUrl=${SECRET%/*}" in readme
    assert "modelApiKeySecretUrl=https://$VAULT.vault.azure.net/secrets/model" in readme


@pytest.mark.parametrize("name", ["outlast-demand", f"outlast-cpu-{BUILD_ID}"])
def test_a_server_without_a_key_is_spoken_to_in_plain_text(name: str) -> None:
    without = resources(apiKeySecretUrl="")[name]
    (secret,) = without["properties"]["configuration"]["secrets"]
    assert secret["name"] == "demand-token"
    variables = {each["name"]: each for each in container(without)["env"]}
    assert "TEMPORAL_API_KEY" not in variables
    assert variables["TEMPORAL_TLS"]["value"] == "false"


def test_vllm_takes_as_many_requests_as_its_worker_has_slots() -> None:
    slots = settings_of(job("gpu")).concurrency.generate
    assert container(job("gpu"))["args"][-2:] == ["--max-num-seqs", str(slots)]


def test_the_demand_service_is_always_there_and_only_inside() -> None:
    demand = resources()["outlast-demand"]["properties"]
    assert demand["configuration"]["ingress"]["external"] is False
    assert demand["configuration"]["ingress"]["targetPort"] == 8070
    assert demand["template"]["scale"] == {"minReplicas": 1, "maxReplicas": 1}
    assert container(resources()["outlast-demand"])["args"] == ["demand"]
    token = {"name": "OUTLAST_DEMAND__TOKEN", "secretRef": "demand-token"}
    assert token in container(resources()["outlast-demand"])["env"]
    for secret in demand["configuration"]["secrets"]:
        assert secret.get("value") == "x" * 32 or "keyVaultUrl" in secret
    settings_of(resources()["outlast-demand"])
    listens = {"name": "OUTLAST_DEMAND__HOST", "value": "0.0.0.0"}  # noqa: S104 of its container
    assert listens in container(resources()["outlast-demand"])["env"]
