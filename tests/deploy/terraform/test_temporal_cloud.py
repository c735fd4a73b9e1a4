"""The Terraform example of Temporal Cloud against the schema of the provider, which the JSON file cites."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from temporalio.common import SearchAttributeIndexedValueType

from outlast.contracts.search_attributes import SEARCH_ATTRIBUTES
from tests.deploy.tools import ROOT, run_python

FOLDER = ROOT / "deploy" / "temporal-cloud"

PROVIDER: Mapping[str, Any] = json.loads(
    (Path(__file__).parent / "temporalcloud-1.5.0.json").read_text()
)

READ = "import hcl2, json, sys; print(json.dumps(hcl2.load(open(sys.argv[1]))))"

META = {"for_each", "count", "depends_on", "lifecycle", "provider"}
"""Arguments of every resource, which Terraform itself reads."""

LITERALS: Mapping[str, type] = {"Boolean": bool, "Number": int, "String": str}

TYPES = {
    SearchAttributeIndexedValueType.KEYWORD: "keyword",
    SearchAttributeIndexedValueType.KEYWORD_LIST: "keyword_list",
    SearchAttributeIndexedValueType.INT: "int",
    SearchAttributeIndexedValueType.DOUBLE: "double",
    SearchAttributeIndexedValueType.DATETIME: "datetime",
}


@pytest.fixture(scope="module")
def parsed() -> Mapping[str, Any]:
    done = run_python("python-hcl2", READ, str(FOLDER / "main.tf"))
    assert done.returncode == 0, done.stderr
    document: Mapping[str, Any] = _plain(json.loads(done.stdout))
    return document


def _plain(node: Any) -> Any:
    """Remove the quotes around strings, and the parser's own notes."""
    if isinstance(node, dict):
        return {
            key.strip('"'): _plain(value) for key, value in node.items() if not key.startswith("__")
        }
    if isinstance(node, list):
        return [_plain(one) for one in node]
    return node.strip('"') if isinstance(node, str) else node


def resources(parsed: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for one in parsed["resource"]:
        for kind, named in one.items():
            for name, body in named.items():
                yield kind, name, body


def wrong_arguments(given: Mapping[str, Any], known: Mapping[str, Any], at: str) -> Iterator[str]:
    """Yield what the provider would refuse of a resource or of a nested attribute."""
    for name in known.keys() - given.keys():
        if known[name]["use"] == "required":
            yield f"{at}: {name} is missing"
    for name, value in given.items():
        attribute = known.get(name)
        if attribute is None or attribute["use"] == "computed":
            yield f"{at}: {name} cannot be set"
        elif isinstance(value, dict):
            yield from wrong_arguments(value, attribute["attributes"], f"{at}.{name}")
        elif not (isinstance(value, str) and "${" in value):
            expected = LITERALS.get(attribute["type"])
            if expected and not isinstance(value, expected):
                yield f"{at}: {name} is no {attribute['type']}"
            if value not in attribute.get("values", [value]):
                yield f"{at}: {name} is not one of {attribute['values']}"


def wrong(parsed: Mapping[str, Any]) -> list[str]:
    return [
        problem
        for kind, name, body in resources(parsed)
        for problem in wrong_arguments(
            {key: value for key, value in body.items() if key not in META},
            PROVIDER["resources"].get(kind, {}),
            f"{kind}.{name}",
        )
    ]


def test_the_provider_has_every_resource_and_argument(parsed: Mapping[str, Any]) -> None:
    assert len(list(resources(parsed))) == 4
    assert wrong(parsed) == []


@pytest.mark.parametrize(
    ("kind", "change", "problem"),
    [
        ("temporalcloud_namespace", {"retention": 3}, "retention cannot be set"),
        ("temporalcloud_namespace", {"id": "x"}, "id cannot be set"),
        ("temporalcloud_namespace", {"api_key_auth": "yes"}, "api_key_auth is no Boolean"),
        ("temporalcloud_namespace", {"fairness": {"enabled": True}}, "enabled cannot be set"),
        (
            "temporalcloud_service_account",
            {"namespace_scoped_access": {"namespace_id": "x", "permission": "owner"}},
            "permission is not one of",
        ),
        ("temporalcloud_service_account", {"namespace_scoped_access": {}}, "permission is missing"),
        ("temporalcloud_namespaces", {"name": "x"}, "name cannot be set"),
    ],
)
def test_what_the_provider_refuses_is_refused_here(
    kind: str, change: Mapping[str, Any], problem: str
) -> None:
    bodies: Mapping[str, Mapping[str, Any]] = {
        "temporalcloud_namespace": {"name": "a", "regions": ["aws-eu-west-1"], "retention_days": 1},
        "temporalcloud_service_account": {"name": "a"},
    }
    body = {**bodies.get(kind, {}), **change}
    found = wrong({"resource": [{kind: {"it": body}}]})
    assert any(problem in one for one in found), found


def test_every_reference_names_an_attribute_of_a_resource(parsed: Mapping[str, Any]) -> None:
    declared = {f"{kind}.{name}" for kind, name, _ in resources(parsed)}
    text = (FOLDER / "main.tf").read_text()
    references = re.findall(r"(temporalcloud_\w+)\.(\w+)(?:\[[^]]*\])?\.(\w+)(?:\.(\w+))?", text)
    assert len(references) == 6
    for kind, name, attribute, nested in references:
        assert f"{kind}.{name}" in declared
        known = PROVIDER["resources"][kind][attribute]
        assert not nested or nested in known["attributes"]


def test_the_namespace_gets_the_search_attributes_of_a_run(parsed: Mapping[str, Any]) -> None:
    (made,) = (
        body["for_each"]
        for kind, _, body in resources(parsed)
        if kind == "temporalcloud_namespace_search_attribute"
    )
    assert made == {name: TYPES[kind] for name, kind in SEARCH_ATTRIBUTES.items()}


def test_the_key_of_the_workers_reaches_one_namespace_and_is_no_secret_of_the_file(
    parsed: Mapping[str, Any],
) -> None:
    accounts = [body for kind, _, body in resources(parsed) if kind.endswith("service_account")]
    assert [account["namespace_scoped_access"]["permission"] for account in accounts] == ["write"]
    assert all("account_access" not in account for account in accounts)
    outputs = {name: body for one in parsed["output"] for name, body in one.items()}
    assert outputs["api_key"]["sensitive"] is True
    assert parsed["provider"] == [{"temporalcloud": {}}], "its key comes from the environment"


def test_the_schema_names_the_version_that_the_example_asks_for(parsed: Mapping[str, Any]) -> None:
    (terraform,) = parsed["terraform"]
    (required,) = terraform["required_providers"]
    wanted = required["temporalcloud"]
    assert wanted["source"] == "temporalio/temporalcloud"
    major_minor = wanted["version"].removeprefix("~> ")
    assert f"terraform-provider-temporalcloud v{major_minor}." in PROVIDER["source"]
