"""`docker-compose.yml` and what it mounts: checks that need no container engine."""

import os
import re
import shutil
import subprocess
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest
import yaml
from outlast_workers.settings import OWN_QUEUES

from tests.deploy import tools
from tests.deploy.compose import FILE, VARIABLES, composed
from tests.deploy.dockerfiles import stages
from tests.deploy.graces import EXIT_S
from tests.deploy.settings import loaded
from tests.deploy.vllm import page_engine, starts_as_the_page_says

ROOT = tools.ROOT
VLLM_PROFILES = ("gpu", "cpu")
PROFILES = ("embedded", *VLLM_PROFILES, "callback")
OURS = "outlast-worker"


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """Every service of every profile."""
    return composed("*")


@pytest.fixture(scope="module")
def written() -> dict[str, Any]:
    """The services as they are written: compose leaves our remarks out of what it says."""
    found: dict[str, Any] = yaml.safe_load(FILE.read_text())["services"]
    return found


@pytest.mark.parametrize("profiles", [(), *((name,) for name in PROFILES), ("*",)])
def test_the_file_is_valid_with_each_profile(profiles: tuple[str, ...]) -> None:
    assert composed(*profiles)


def test_the_file_is_of_today_and_holds_no_secret() -> None:
    whole = yaml.safe_load(FILE.read_text())
    assert "version" not in whole
    for line in FILE.read_text().splitlines():
        name, _, value = line.strip().partition(":")
        if re.search(r"(PASSWORD|PWD|SECRET|TOKEN)$", name):
            assert value.strip().startswith("${"), line


def test_a_missing_password_is_refused_with_what_to_do() -> None:
    done = tools.run(
        "docker-compose",
        *("--env-file", "/dev/null", "--file", FILE, "config", "-q"),
        env={"PATH": os.environ["PATH"]},
    )
    assert done.returncode != 0
    assert "run deploy/compose/new-env.sh first" in done.stdout


def test_a_new_env_starts_the_embedded_model_and_is_written_once(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "deploy" / "compose", tmp_path / "deploy" / "compose")
    script = tmp_path / "deploy" / "compose" / "new-env.sh"
    subprocess.run(["/bin/sh", script], check=True, timeout=10)
    first = (tmp_path / ".env").read_text()
    subprocess.run(["/bin/sh", script], check=True, timeout=10)
    assert (tmp_path / ".env").read_text() == first
    assert (tmp_path / ".env").stat().st_mode & 0o077 == 0
    lines = (line.partition("=")[::2] for line in first.splitlines() if not line.startswith("#"))
    values = dict(lines)
    assert len(values["POSTGRES_PASSWORD"]) == 48
    assert values["POSTGRES_PASSWORD"] != values["GRAFANA_PASSWORD"]
    started = composed(variables=values)
    assert {"model", "generate"} <= started.keys()
    assert not {"vllm-gpu", "vllm-cpu", "callback"} & started.keys()


@pytest.mark.parametrize("profile", VLLM_PROFILES)
def test_a_profile_takes_the_place_of_the_embedded_model(profile: str) -> None:
    started = composed(profile, variables={**VARIABLES, "COMPOSE_PROFILES": "embedded"})
    assert f"vllm-{profile}" in started
    assert "generate-vllm" in started
    assert not {"model", "generate"} & started.keys()  # else it would serve the same queue


def test_the_memory_of_vllm_fits_smaller_machines_too() -> None:
    smaller = composed("gpu", variables={**VARIABLES, "VLLM_MEMORY": "24g"})["vllm-gpu"]
    assert int(smaller["deploy"]["resources"]["limits"]["memory"]) == 24 * 2**30
    page = (ROOT / "docs" / "compose.md").read_text()
    assert "`VLLM_MEMORY`" in page


def test_every_image_is_pinned(services: dict[str, Any]) -> None:
    for name, service in services.items():
        tag = service["image"].rpartition(":")[2]
        built = service["image"].startswith(OURS) and tag == VARIABLES["BUILD_ID"]
        assert built or re.match(r"v?\d+\.\d+", tag), (name, service["image"])


def test_what_is_built_has_a_stage_of_its_name(services: dict[str, Any]) -> None:
    for name, service in services.items():
        if "build" in service:
            build = service["build"]
            assert build["args"]["BUILD_ID"] == service["image"].rpartition(":")[2], name
            named = {stage.name for stage in stages(ROOT / build["dockerfile"])}
            assert build["target"] in named, name


def test_every_service_has_a_health_check_or_says_why_not(
    services: dict[str, Any], written: dict[str, Any]
) -> None:
    for name, service in services.items():
        inherited = service["image"].startswith(OURS)  # from the image
        reason = written[name].get("x-no-healthcheck", "")
        assert bool(service.get("healthcheck") or inherited) != bool(reason), name


def test_health_checks_use_what_their_images_have(services: dict[str, Any]) -> None:
    programs = {
        "outlast-worker": {"python"},
        "vllm/vllm-openai": {"python3"},
        "postgres": {"pg_isready"},
        "temporalio": {"nc"},  # Alpine's busybox
        "prom/prometheus": {"wget"},  # busybox
        "grafana/grafana": {"wget"},  # Alpine's busybox
    }
    for name, service in services.items():
        if "healthcheck" in service:
            kind, program, *_ = service["healthcheck"]["test"]
            assert kind == "CMD", name
            image = next(image for image in programs if service["image"].startswith(image))
            assert program in programs[image], name


def test_services_start_in_an_order_and_wait_for_what_they_need(services: dict[str, Any]) -> None:
    needs = {name: service.get("depends_on", {}) for name, service in services.items()}
    assert list(TopologicalSorter(needs).static_order())  # raises where there is a cycle
    for name, needed in needs.items():
        for other, how in needed.items():
            condition = how["condition"]
            once = services[other]["restart"].startswith("on-failure")
            checked = "healthcheck" in services[other]
            expected = (
                "service_completed_successfully"
                if once
                else "service_healthy"
                if checked
                else "service_started"
            )
            assert condition == expected, (name, other)


def test_vllm_starts_as_the_page_says(services: dict[str, Any]) -> None:
    for profile in VLLM_PROFILES:
        assert starts_as_the_page_says(services[f"vllm-{profile}"]["command"])


OWN_USERS = {
    "temporalio/admin-tools",
    "temporalio/server",
    "temporalio/ui",
    "otel/opentelemetry-collector-contrib",
    "prom/prometheus",
    "grafana/grafana",
    "grafana/loki",
}
"""Images whose own user is not root; ours are looked at in test_images.py."""


def test_nothing_runs_as_root_that_does_not_say_why(
    services: dict[str, Any], written: dict[str, Any]
) -> None:
    for name, service in services.items():
        image = service["image"].rpartition(":")[0]
        of_image = "10001" if image in OWN_USERS or image.startswith(OURS) else "0"
        user = service.get("user", of_image).partition(":")[0]
        assert (user in {"0", "root"}) == bool(written[name].get("x-root")), name


def test_users_that_are_not_an_images_own_are_given_the_volumes_that_they_write(
    services: dict[str, Any],
) -> None:
    owner = services["volume-owner"]
    _, user, *given = owner["entrypoint"]
    volume_of = {volume["target"]: volume["source"] for volume in owner["volumes"]}
    owned = {volume_of[target] for target in given}
    for name, service in services.items():
        volumes = {one["source"] for one in service.get("volumes", []) if one["type"] == "volume"}
        if service.get("user") == user:
            assert volumes <= owned, name
            assert "volume-owner" in service["depends_on"], name
    assert sorted(name for name, service in services.items() if service.get("user") == user) == [
        "tempo",
        "vllm-cpu",
        "vllm-gpu",
    ]


FAKE_SQL_TOOL = """#!/bin/sh
echo "$@" >> "$CALLS"
case "$*" in *create*) echo "$SAYS" >&2; exit "$STATUS";; esac
"""


@pytest.mark.parametrize(
    ("says", "status", "ends"),
    [
        ("", 0, 0),
        ('pq: database "temporal_visibility" already exists', 1, 0),
        ("pq: password authentication failed", 1, 1),
    ],
)
def test_the_schema_is_made_where_the_databases_are_or_can_be_made(
    says: str, status: int, ends: int, tmp_path: Path
) -> None:
    tool, calls = tmp_path / "temporal-sql-tool", tmp_path / "calls"
    tool.write_text(FAKE_SQL_TOOL)
    tool.chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", ROOT / "deploy" / "compose" / "temporal-schema.sh"],
        env={
            "PATH": f"{tmp_path}:/usr/bin:/bin",
            "CALLS": str(calls),
            "SAYS": says,
            "STATUS": str(status),
        },
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    assert done.returncode == ends, done.stderr
    assert done.stderr == (
        f"outlast: the database temporal_visibility cannot be created: {says}\n" if ends else ""
    )
    made = [" ".join(line.split()[1:3]) for line in calls.read_text().splitlines()]
    visibility = ["temporal_visibility setup-schema", "temporal_visibility update-schema"]
    assert made == [
        *("temporal setup-schema", "temporal update-schema", "temporal_visibility create"),
        *(visibility if not ends else []),
    ]


def test_ports_are_published_on_loopback_alone(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert {port["host_ip"] for port in ports} == {"127.0.0.1"}
    published = [port["published"] for port in ports]
    assert len(published) == len(set(published))


def test_every_service_restarts_and_those_that_run_are_limited(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["restart"], name
        once = service["restart"].startswith("on-failure")
        limits = service.get("deploy", {}).get("resources", {}).get("limits", {})
        assert once or name == "temporal-ui" or int(limits["memory"]), name


def test_what_is_mounted_exists_and_state_is_in_named_volumes(services: dict[str, Any]) -> None:
    declared = yaml.safe_load(FILE.read_text())["volumes"]
    for name, service in services.items():
        for volume in service.get("volumes", []):
            if volume["type"] == "bind":
                assert Path(volume["source"]).exists(), (name, volume)
                assert volume["read_only"], (name, volume)
            else:
                assert volume["source"] in declared, (name, volume)


def ours(services: dict[str, Any]) -> dict[str, Any]:
    """Return the services that run `outlast worker`."""
    return {
        name: service
        for name, service in services.items()
        if service["image"].startswith(OURS) and not service.get("entrypoint")
    }


@pytest.mark.parametrize(
    "name", ["worker", "tools", "generate", "generate-vllm", "demand", "callback"]
)
def test_settings_of_a_service_are_accepted(
    name: str, services: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    service = ours(services)[name]
    monkeypatch.chdir(tmp_path)
    settings = loaded(in_image(service["environment"]))
    assert settings.versioning.build_id == VARIABLES["BUILD_ID"]
    if name.startswith("generate"):
        assert settings.queue("generate") == OWN_QUEUES["generate"]
        assert settings.model.api == ("vllm" if "vllm" in name else "openai-chat")
        assert settings.model.engine == (page_engine() if "vllm" in name else None)
    if name == "worker":
        assert settings.queue("workflows") == OWN_QUEUES["workflows"]
        assert settings.roles == ("workflows",)
        assert settings.agents
    if name == "tools":
        assert settings.queue("tools") == OWN_QUEUES["tools"]
        assert settings.agents
    grace_s = float(service["stop_grace_period"].removesuffix("s"))
    assert settings.drain_s + EXIT_S < grace_s


def in_image(environment: dict[str, str]) -> dict[str, str]:
    """Return the variables of a container: those of its image, and of its service."""
    every = {stage.name: stage for stage in stages(ROOT / "deploy/images/worker.Dockerfile")}
    lines = [*every["application"].all("ENV"), *every["worker"].all("ENV")]
    image = dict(word.split("=", 1) for rest in lines for word in rest.split())
    return {
        name: value.replace("$BUILD_ID", VARIABLES["BUILD_ID"])
        for name, value in {**image, **environment}.items()
        if name.startswith(("OUTLAST_", "TEMPORAL_"))
    }


def test_every_process_of_ours_is_looked_at(services: dict[str, Any]) -> None:
    checked = {"worker", "tools", "generate", "generate-vllm", "demand", "callback"}
    assert ours(services).keys() == checked


def test_only_services_that_sign_or_read_links_have_their_secret(services: dict[str, Any]) -> None:
    holders = {
        name
        for name, service in services.items()
        if VARIABLES["CALLBACK_SECRET"] in str(service.get("environment", {}))
    }
    assert holders == {"worker", "callback"}
