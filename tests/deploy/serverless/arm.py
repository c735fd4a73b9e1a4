"""ARM templates, evaluated as far as ours need it."""

import re
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

_FQDN = "outlast-demand.internal.example.io"


def evaluated(template: Mapping[str, Any], parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the resources that a template deploys; raises where an expression names what is not there."""
    declared = template["parameters"]
    unknown = set(parameters) - set(declared)
    assert not unknown, unknown
    values = {name: parameters.get(name, declared[name].get("defaultValue")) for name in declared}
    missing = [name for name, value in values.items() if value is None]
    assert not missing, missing

    def value_of(node: Any) -> Any:
        if isinstance(node, dict):
            return {value_of(key): value_of(value) for key, value in node.items()}
        if isinstance(node, list):
            return [value_of(each) for each in node]
        if isinstance(node, str) and re.fullmatch(r"\[[^\[].*\]", node):
            return value_of(_call(node[1:-1]))
        return node

    def _call(expression: str) -> Any:
        # An expression of these functions is one of Python too, but for the keywords.
        code = re.sub(r"\b(if|and|not)\(", r"\1_(", expression)
        return eval(code, {"__builtins__": {}}, functions)  # noqa: S307 our own file

    ingress = SimpleNamespace(ingress=SimpleNamespace(fqdn=_FQDN))
    functions = {
        "empty": lambda value: not value,
        "concat": lambda *parts: (
            "".join(parts) if isinstance(parts[0], str) else [one for part in parts for one in part]
        ),
        "and_": lambda *conditions: all(conditions),
        "not_": lambda condition: not condition,
        "if_": lambda condition, yes, no: yes if condition else no,
        "parameters": values.__getitem__,
        "variables": template["variables"].__getitem__,
        "resourceId": lambda kind, name: f"/subscriptions/s/resourceGroups/g/{kind}/{name}",
        "reference": lambda name: SimpleNamespace(configuration=ingress),
        "resourceGroup": lambda: SimpleNamespace(location="swedencentral"),
    }
    resources: list[dict[str, Any]] = value_of(template["resources"])
    return [each for each in resources if each.pop("condition", True)]
