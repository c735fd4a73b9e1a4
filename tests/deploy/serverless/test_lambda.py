"""The Lambda artefacts: what AWS's own validators say of them, and rules of ours."""

import ast
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from outlast_workers.serverless.secret_values import REFERENCE_PREFIX, references
from outlast_workers.settings import Settings
from outlast_workers.task_queues import CANCEL_S
from outlast_workers.telemetry import FLUSH_S

from tests.deploy.settings import loaded
from tests.deploy.tools import ROOT, run

LAMBDA = ROOT / "deploy" / "lambda"
TEMPLATE = LAMBDA / "template.yaml"

AWS = {**os.environ, "AWS_DEFAULT_REGION": "us-east-1", "SAM_CLI_TELEMETRY": "0"}


class _Tags(yaml.SafeLoader):
    """Reads CloudFormation's tags as what stands behind them."""


def _plain(loader: _Tags, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return f"!{suffix} {loader.construct_scalar(node)}"
    if isinstance(node, yaml.SequenceNode):
        return {suffix: loader.construct_sequence(node, deep=True)}
    assert isinstance(node, yaml.MappingNode)
    return {suffix: loader.construct_mapping(node, deep=True)}


_Tags.add_multi_constructor("!", _plain)


def template() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.load(TEMPLATE.read_text(), Loader=_Tags)  # noqa: S506 a SafeLoader
    return loaded


def worker() -> dict[str, Any]:
    properties: dict[str, Any] = template()["Resources"]["Worker"]["Properties"]
    return properties


def variables() -> dict[str, Any]:
    found: dict[str, Any] = worker()["Environment"]["Variables"]
    return found


def test_cfn_lint_finds_nothing() -> None:
    linted = run("cfn-lint", TEMPLATE)
    assert linted.returncode == 0, linted.stdout


def test_sam_finds_it_valid() -> None:
    validated = run("sam", "validate", "--lint", "--template", TEMPLATE, env=AWS)
    assert validated.returncode == 0, validated.stdout


def test_hadolint_finds_nothing() -> None:
    linted = run("hadolint", LAMBDA / "Dockerfile")
    assert linted.returncode == 0, linted.stdout


def test_shellcheck_finds_nothing() -> None:
    checked = run("shellcheck", LAMBDA / "register.sh")
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("roles", ["tools", "generate", "workflows,generate,tools"])
@pytest.mark.parametrize("task_queue", ["", "elsewhere"])
def test_a_function_serves_the_queue_that_it_is_told(roles: str, task_queue: str) -> None:
    parameters = {"!Ref Roles": roles, "!Ref TaskQueue": task_queue}
    settings = loaded(
        {name: parameters[value] for name, value in variables().items() if str(value) in parameters}
    )
    own = "agents" if "," in roles else roles
    assert {settings.queue(role) for role in settings.roles} == {task_queue or own}


def test_an_invocation_has_time_to_work_before_it_has_to_end() -> None:
    drain_s, idle_s = (float(variables()[f"OUTLAST_{name}"]) for name in ("DRAIN_S", "IDLE_EXIT_S"))
    assert worker()["Timeout"] > drain_s + CANCEL_S + FLUSH_S + idle_s + 60


def test_the_build_id_is_the_tag_of_the_image() -> None:
    assert worker()["ImageUri"].endswith(":${BuildId}")
    assert variables()["TEMPORAL_WORKER_BUILD_ID"] == "!Ref BuildId"
    assert "latest" not in TEMPLATE.read_text()


def test_lambda_does_not_repeat_what_the_controller_repeats() -> None:
    assert worker()["EventInvokeConfig"]["MaximumRetryAttempts"] == 0


def test_every_variable_of_ours_is_a_setting() -> None:
    own = [name.removeprefix(REFERENCE_PREFIX) for name in variables()]
    names = {name.removeprefix("OUTLAST_").partition("__")[0].lower() for name in own}
    ours = {name for name in names if not name.startswith("temporal_")}
    assert ours <= Settings.model_fields.keys()


def test_the_configuration_has_no_value_of_a_secret() -> None:
    """Each published version would keep it, and the invoker's lambda:GetFunction would show it."""
    assert "{{resolve:" not in TEMPLATE.read_text()
    arns = references({name: str(value) for name, value in variables().items()})
    assert set(arns) == {
        "TEMPORAL_API_KEY",
        "TEMPORAL_TLS_CLIENT_CERT_DATA",
        "TEMPORAL_TLS_CLIENT_KEY_DATA",
        "OUTLAST_MODEL__API_KEY",
    }
    assert set(arns).isdisjoint(variables())
    granted = {
        str(policy["If"][1]["AWSSecretsManagerGetSecretValuePolicy"]["SecretArn"])
        for policy in worker()["Policies"]
    }
    assert granted == set(arns.values())


def test_every_principal_of_temporal_may_assume_the_role() -> None:
    """Temporal Cloud has five, and takes any of them for a call."""
    parameter = template()["Parameters"]["TemporalPrincipalArns"]
    assert parameter["Type"] == "CommaDelimitedList"
    (statement,) = template()["Resources"]["Invoker"]["Properties"]["AssumeRolePolicyDocument"][
        "Statement"
    ]
    assert statement["Principal"] == {"AWS": "!Ref TemporalPrincipalArns"}
    readme = (LAMBDA / "README.md").read_text()
    assert len(set(re.findall(r"arn:aws:iam::\d{12}:role/wci-lambda-invoke", readme))) == 5


def test_a_changed_parameter_publishes_a_version() -> None:
    assert worker()["AutoPublishAliasAllProperties"] is True


def test_the_base_image_is_pinned_to_a_build() -> None:
    (base,) = re.findall(r"^FROM (\S+)", (LAMBDA / "Dockerfile").read_text(), re.MULTILINE)
    assert re.search(r":3\.\d+\.\d{4}\.\d\d\.\d\d\.\d\d$", base), base


def test_the_image_starts_the_function_that_the_tests_run() -> None:
    module, name = "function", "serve"
    assert f'CMD ["{module}.{name}"]' in (LAMBDA / "Dockerfile").read_text()
    tree = ast.parse(Path(LAMBDA / f"{module}.py").read_text())
    assigned = [
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    ]
    assert assigned == [name]


def test_a_private_network_and_accounts_without_reserved_concurrency_are_possible() -> None:
    assert worker()["VpcConfig"]["If"][0] == "HasSubnets"
    assert worker()["ReservedConcurrentExecutions"]["If"][0] == "HasConcurrency"
