"""Cloud Run: the pools as Google's types read them, CREMA's configuration, and the controller's command."""

import json
import re
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from outlast_workers.local.ports import free_port
from outlast_workers.local.servers import TemporalServer
from outlast_workers.settings import Settings, load_settings
from outlast_workflows.activity_options import GENERATE_TIMEOUT
from pydantic import BaseModel, ConfigDict

from tests.deploy.graces import fits
from tests.deploy.placeholders import BUILD_ID, filled
from tests.deploy.readmes import blocks, commands, ran
from tests.deploy.settings import loaded
from tests.deploy.tools import ROOT, run_python

FOLDER = ROOT / "deploy" / "cloudrun"
README = FOLDER / "README.md"
POOLS = ["cpu", "gpu", "model"]

STRICT = """
import sys
from google.cloud import run_v2
run_v2.WorkerPool.from_json(sys.argv[1])
"""


def pool(kind: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(filled((FOLDER / f"{kind}.json").read_text()))
    return found


def container(kind: str) -> dict[str, Any]:
    (only,) = pool(kind)["template"]["containers"]
    found: dict[str, Any] = only
    return found


def settings_of(kind: str) -> Settings:
    return loaded({each["name"]: each.get("value", "secret") for each in container(kind)["env"]})


@pytest.mark.parametrize("kind", POOLS)
def test_a_pool_is_taken_by_googles_own_type(kind: str) -> None:
    done = run_python("google-cloud-run", STRICT, json.dumps(pool(kind)))
    assert done.returncode == 0, done.stderr


def test_an_unknown_field_would_be_refused() -> None:
    wrong = {**pool("cpu"), "scalling": {}}
    done = run_python("google-cloud-run", STRICT, json.dumps(wrong))
    assert done.returncode != 0
    assert "scalling" in done.stderr


@pytest.mark.parametrize("kind", POOLS)
def test_the_settings_of_a_pool_are_settings_of_ours(kind: str) -> None:
    settings = settings_of(kind)
    assert fits("Cloud Run", settings.drain_s)
    assert settings.versioning.deployment_name == "outlast"
    assert settings.versioning.build_id == BUILD_ID
    assert container(kind)["image"].rpartition(":")[2] == BUILD_ID


@pytest.mark.parametrize("kind", POOLS)
def test_a_pool_polls_queues_of_the_serverless_route(kind: str) -> None:
    settings = settings_of(kind)
    routes = load_settings(ROOT / "deploy" / "routes" / "serverless.toml")
    for role in settings.roles:
        if role != "workflows":
            legs = routes.route(role).legs
            assert settings.queue(role) in {leg.task_queue for leg in legs}


def test_the_cpu_pool_sends_steps_to_queues_that_the_pools_poll() -> None:
    cpu, gpu = settings_of("cpu"), settings_of("gpu")
    assert [leg.task_queue for leg in cpu.route("generate").legs] == [gpu.queue("generate")]
    assert [leg.task_queue for leg in cpu.route("tools").legs] == [cpu.queue("tools")]


@pytest.mark.parametrize("kind", POOLS)
def test_a_pool_has_limits_an_identity_and_its_secret_by_reference(kind: str) -> None:
    template = pool(kind)["template"]
    assert {"cpu", "memory"} <= set(container(kind)["resources"]["limits"])
    assert template["serviceAccount"].startswith("outlast-worker@")
    for variable in container(kind)["env"]:
        if variable["name"].endswith("_KEY"):
            assert variable["valueSource"]["secretKeyRef"]["version"] != "latest"
            assert "value" not in variable


def test_a_pool_without_a_gpu_asks_a_model_server_elsewhere() -> None:
    model, gpu = settings_of("model"), settings_of("gpu")
    assert model.roles == ("generate",)
    assert model.queue("generate") == gpu.queue("generate")
    assert model.model.url == "https://models.example.com/v1"
    assert "nvidia.com/gpu" not in container("model")["resources"]["limits"]
    created = [words[3] for words in commands(README, "gcloud secrets add-iam-policy-binding")]
    for variable in container("model")["env"]:
        if "valueSource" in variable:
            assert variable["valueSource"]["secretKeyRef"]["secret"] in created


def test_the_gpu_pool_has_one_l4_and_what_cloud_run_wants_beside_it() -> None:
    limits = container("gpu")["resources"]["limits"]
    assert limits["nvidia.com/gpu"] == "1"
    assert int(limits["cpu"]) >= 4
    assert int(limits["memory"].removesuffix("Gi")) >= 16
    assert pool("gpu")["template"]["nodeSelector"] == {"accelerator": "nvidia-l4"}
    slots = settings_of("gpu").concurrency.generate
    assert container("gpu")["args"][-2:] == ["--max-num-seqs", str(slots)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Metadata(Strict):
    url: str
    valueLocation: Literal["demand"]  # noqa: N815 KEDA's name
    targetValue: str  # noqa: N815 KEDA's name; its metadata are strings
    authMode: Literal["bearer"]  # noqa: N815


class Named(Strict):
    name: str


class SecretKey(Strict):
    parameter: Literal["token"]
    id: str
    version: str


class Secrets(Strict):
    secrets: list[SecretKey]


class AuthenticationSpec(Strict):
    """What CREMA takes of a TriggerAuthentication: secrets of Secret Manager, or an identity."""

    gcpSecretManager: Secrets  # noqa: N815


class Authentication(Strict):
    metadata: Named
    spec: AuthenticationSpec


class Trigger(Strict):
    type: Literal["metrics-api"]
    name: str
    metadata: Metadata
    authenticationRef: Named  # noqa: N815


class Target(Strict):
    name: str


class Policy(Strict):
    type: Literal["Pods", "Percent"]
    value: int
    periodSeconds: int  # noqa: N815


class Rules(Strict):
    stabilizationWindowSeconds: int  # noqa: N815
    policies: list[Policy]
    selectPolicy: Literal["Max", "Min", "Disabled"] = "Max"  # noqa: N815


class Behavior(Strict):
    scaleDown: Rules  # noqa: N815
    scaleUp: Rules  # noqa: N815


class Autoscaler(Strict):
    behavior: Behavior


class Advanced(Strict):
    horizontalPodAutoscalerConfig: Autoscaler  # noqa: N815


class ScaledSpec(Strict):
    scaleTargetRef: Target  # noqa: N815
    minReplicaCount: int  # noqa: N815
    maxReplicaCount: int  # noqa: N815
    triggers: list[Trigger]
    advanced: Advanced


class Scaled(Strict):
    spec: ScaledSpec


class CremaSpec(Strict):
    pollingInterval: int  # noqa: N815
    triggerAuthentications: list[Authentication]  # noqa: N815
    scaledObjects: list[Scaled]  # noqa: N815


class CremaConfig(Strict):
    """What we use of CREMA's configuration, and nothing else."""

    apiVersion: Literal["crema/v1"]  # noqa: N815
    kind: Literal["CremaConfig"]
    spec: CremaSpec


def crema(*builds: str, generate: str = "gpu") -> CremaConfig:
    (first, second) = commands(README, "python3 deploy/cloudrun/crema.py")
    options = first[: first.index(BUILD_ID)]
    assert second[: len(options)] == options
    done = subprocess.run(
        [sys.executable, *options[1:], "--generate", generate, *builds],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return CremaConfig.model_validate(yaml.safe_load(done.stdout))


@pytest.mark.parametrize("generate", ["gpu", "model"])
def test_crema_scales_each_pool_of_each_build_by_the_demand_of_the_queues_that_it_polls(
    generate: str,
) -> None:
    builds = ["2026-11-10", BUILD_ID]
    config = crema(*builds, generate=generate)
    assert config.spec.pollingInterval >= 5  # the server's numbers are as old
    wanted = [(build, kind) for build in builds for kind in ("cpu", generate)]
    for (build, kind), scaled in zip(wanted, config.spec.scaledObjects, strict=True):
        settings = settings_of(kind)
        assert scaled.spec.scaleTargetRef.name.endswith(f"/workerpools/outlast-{kind}-{build}")
        slots = {
            settings.queue(role): getattr(settings.concurrency, role) for role in settings.roles
        }
        assert {trigger.name for trigger in scaled.spec.triggers} == set(slots)
        for trigger in scaled.spec.triggers:
            url = urlsplit(trigger.metadata.url)
            assert url.path == f"/demand/{trigger.name}"
            assert parse_qs(url.query) == {
                "deployment": ["outlast"],
                "build_id": [build],
                "slots": [str(slots[trigger.name])],
            }
            assert trigger.metadata.targetValue == str(slots[trigger.name])


def test_crema_sends_the_token_that_the_demand_service_asks_for() -> None:
    config = crema(BUILD_ID)
    (authentication,) = config.spec.triggerAuthentications
    (key,) = authentication.spec.gcpSecretManager.secrets
    for scaled in config.spec.scaledObjects:
        for trigger in scaled.spec.triggers:
            assert trigger.authenticationRef.name == authentication.metadata.name
    (demand,) = commands(README, "gcloud run deploy outlast-demand")
    secrets = dict(one.split("=") for one in deployed(demand)["set-secrets"].split(","))
    assert secrets["OUTLAST_DEMAND__TOKEN"] == f"{key.id}:{key.version}"
    granted = "\n".join(blocks(README))
    assert f"gcloud secrets add-iam-policy-binding {key.id}" in granted


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("2026/11", "'2026/11' is not a build id"),
        ("A", "'A' is not a build id"),
        ("", "not a build"),
    ],
)
def test_a_build_that_no_pool_can_be_named_after_is_rejected(word: str, sentence: str) -> None:
    options = ["--project", "p", "--region", "r", "--demand-url", "https://d.example", word]
    done = subprocess.run(
        [sys.executable, FOLDER / "crema.py", *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_the_gpu_pool_reads_its_weights_from_a_bucket_that_the_readme_fills() -> None:
    (volume,) = pool("gpu")["template"]["volumes"]
    (mount,) = container("gpu")["volumeMounts"]
    assert volume["gcs"]["readOnly"] is True
    model = container("gpu")["args"][0]
    assert model.startswith(f"{mount['mountPath']}/")
    (copied,) = commands(README, "gcloud storage cp")
    assert copied[-1] == f"gs://{volume['gcs']['bucket']}/"
    assert copied[-2].rpartition("/")[2] == model.rpartition("/")[2]
    names = {one["name"]: one.get("value") for one in container("gpu")["env"]}
    assert names["HF_HUB_OFFLINE"] == "1"
    assert names["OUTLAST_MODEL__NAME"] in container("gpu")["args"]


def deployed(command: list[str]) -> dict[str, str]:
    """Return the options of a `gcloud` command."""
    pairs = (word[2:].partition("=") for word in command if word.startswith("--"))
    return {name: value for name, _, value in pairs}


def test_the_demand_service_is_one_of_ours_and_only_inside() -> None:
    (command,) = commands(README, "gcloud run deploy outlast-demand")
    options = deployed(command)
    variables = dict(each.split("=") for each in options["set-env-vars"].split(","))
    secrets = dict(one.split("=") for one in options["set-secrets"].split(","))
    settings = loaded({**variables, **dict.fromkeys(secrets, "a secret of 16 or more")})
    assert settings.demand.token
    assert options["args"] == "demand"
    assert options["port"] == str(settings.demand.port)
    assert settings.demand.host == "0.0.0.0"  # noqa: S104 of its container
    assert options["ingress"] == "internal"
    assert "allow-unauthenticated" not in options, "organisation policies refuse allUsers"
    assert options["min-instances"] == options["max-instances"] == "1"
    (scaler,) = commands(README, "gcloud run deploy outlast-crema")
    assert deployed(scaler)["vpc-egress"] == "all-traffic"  # or internal ingress refuses it


@pytest.mark.skipif(shutil.which("jq") is None, reason="the README's command needs jq")
@pytest.mark.parametrize("kind", POOLS)
def test_the_readme_takes_the_key_out_of_a_manifest(kind: str) -> None:
    (taking,) = (block for block in blocks(README) if "jq " in block)
    found = re.search(r"jq '([^']+)'", taking)
    assert found is not None
    done = subprocess.run(
        ["jq", found[1], FOLDER / f"{kind}.json"], capture_output=True, text=True, check=True
    )
    (kept,) = json.loads(done.stdout)["template"]["containers"]
    names = {each["name"] for each in container(kind)["env"]}
    assert names - {each["name"] for each in kept["env"]} == {"TEMPORAL_API_KEY"}


def test_the_controller_waits_longer_than_the_longest_model_call() -> None:
    (create,) = [command for command in commands(README, "temporal") if "create-version" in command]
    wait = create[create.index("--gcp-cloud-run-scale-down-stabilization-duration") + 1]
    assert timedelta(minutes=int(wait.removesuffix("m"))) > GENERATE_TIMEOUT
    assert create[create.index("--gcp-cloud-run-worker-pool") + 1] == f"outlast-cpu-{BUILD_ID}"


async def test_the_server_takes_the_controllers_command_up_to_googles_credentials(
    tmp_path: Path,
) -> None:
    listed = commands(README, "temporal")
    create = [command for command in listed if {"create", "create-version"} & set(command)]
    values = (
        "workercontroller.enabled=true",
        'workercontroller.compute_providers.enabled=["gcp-cloud-run"]',
        'workercontroller.scaling_algorithms.enabled=["rate-based"]',
    )
    async with TemporalServer(
        log_dir=tmp_path, port=free_port(), dynamic_config=values
    ) as temporal:
        (_, created), (_, refused) = [await ran(command, temporal.address) for command in create]
    assert "Successfully created worker deployment" in created
    assert "could not find default credentials" in refused
