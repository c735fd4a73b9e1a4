"""Model servers of the chart: their options, weights, and how long they may load."""

import re
from pathlib import Path

import yaml

from tests.deploy.kubernetes.chart import SETS, Release, rendered, written
from tests.deploy.tools import ROOT, run
from tests.deploy.vllm import page_engine, starts_as_the_page_says


def test_vllm_starts_as_the_page_says_and_its_workers_know_it(release: Release) -> None:
    for pod in release.pods:
        for container in pod.containers:
            if container["name"] == "vllm":
                assert starts_as_the_page_says(container["args"])
        if pod.variables.get("OUTLAST_MODEL__API") == "vllm":
            assert pod.variables["OUTLAST_MODEL__ENGINE"] == page_engine()


def test_claims_that_a_set_names_are_those_that_the_readme_makes_and_fills(tmp_path: Path) -> None:
    claims = {
        (name, one["persistentVolumeClaim"]["claimName"])
        for name in SETS
        for pod in rendered(name).pods
        for one in pod.spec["volumes"]
        if "persistentVolumeClaim" in one
    }
    assert {SETS[name][0] for name, _ in claims} == {"gpus"}
    readme = (ROOT / "deploy/kubernetes/README.md").read_text()
    documents = re.findall(r"<<'END'\n(.*?)\nEND\n", readme, re.DOTALL)
    claim, job = (yaml.safe_load(one) for one in documents)
    assert {named for _, named in claims} == {claim["metadata"]["name"]}
    (fetch,) = job["spec"]["template"]["spec"]["containers"]
    cache = {one["name"]: one["value"] for one in fetch["env"]}["HF_HUB_CACHE"]
    assert cache.startswith(fetch["volumeMounts"][0]["mountPath"])
    (server,) = (pod for pod in rendered("gpus").pods if pod.main["name"] == "vllm")
    assert cache == server.variables["HF_HUB_CACHE"]
    (volume,) = job["spec"]["template"]["spec"]["volumes"]
    assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    (model,) = (pod.main["args"][0] for pod in rendered("gpus").pods if pod.main["name"] == "vllm")
    assert fetch["command"][-1] == model
    done = run("kubernetes-validate", "--strict", written(tmp_path / "made.yaml", [claim, job]))
    assert done.returncode == 0, done.stdout


def test_weights_are_read_only_where_they_are_a_claim_and_nothing_else_is_in_it() -> None:
    """Many pods read one claim. Other GPUs need other kernels, so each pod has its own place for them."""
    servers = [
        (pod, one)
        for pod in rendered("gpus").pods
        for one in pod.containers
        if one["name"] == "vllm"
    ]
    assert len(servers) == 2
    for pod, server in servers:
        variables = {one["name"]: one["value"] for one in server["env"]}
        mounts = {one["name"]: one for one in server["volumeMounts"]}
        volumes = {one["name"]: one for one in pod.spec["volumes"]}
        claim = volumes["vllm-weights"]["persistentVolumeClaim"]
        assert (claim["readOnly"], mounts["vllm-weights"]["readOnly"]) == (True, True)
        weights, cache = (mounts[f"vllm-{name}"]["mountPath"] for name in ("weights", "cache"))
        assert "emptyDir" in volumes["vllm-cache"]
        for name, path in variables.items():
            if path.startswith("/"):
                assert Path(path).is_relative_to(weights if name == "HF_HUB_CACHE" else cache)


def test_a_rollout_waits_as_long_as_a_model_may_load() -> None:
    for name in ("gpu", "sidecar", "gpus"):
        for pod in rendered(name).workers:
            deadline = pod.owner["spec"].get("progressDeadlineSeconds", 10**6)
            starts = float(pod.variables.get("OUTLAST_MODEL__START_WITHIN_S", 0))
            assert deadline >= starts + 600 * (starts > 0), pod.name


GIB = 2**30

CARD_BYTES = 79.6 * GIB

WEIGHTS_BYTES = {"Qwen/Qwen2.5-72B-Instruct-AWQ": 41.6e9, "Qwen/Qwen2.5-72B-Instruct": 145.4e9}
"""By arithmetic from the sizes of their files; nothing was loaded here."""

KV_BYTES_PER_TOKEN = 80 * 2 * 8 * 128 * 2
"""80 layers, keys and values, 8 heads of 128 numbers with two bytes each."""


def test_the_model_of_many_gpus_fits_on_its_cards_with_a_whole_context() -> None:
    (pod,) = (one for one in rendered("gpus").pods if one.main["name"] == "vllm")
    options = dict(one.partition("=")[::2] for one in pod.main["args"] if one.startswith("--"))
    cards = int(pod.main["resources"]["limits"]["nvidia.com/gpu"])
    room = cards * CARD_BYTES * float(options["--gpu-memory-utilization"])
    activations = 0.05 * room
    left = room - activations - WEIGHTS_BYTES[pod.main["args"][0]]
    assert left / KV_BYTES_PER_TOKEN > int(options["--max-model-len"])
