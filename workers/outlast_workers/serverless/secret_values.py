"""Secrets of a serverless function, read by reference at each invocation.

A variable `SECRET_ARN__NAME` holds the ARN of a secret in AWS Secrets Manager. The variable `NAME` of the
process gets its value. A value in the function's configuration would stay in each published version, and
everyone who may read the function would see it.
"""

import importlib
import os
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

import structlog

from outlast.errors import NotReady

REFERENCE_PREFIX = "SECRET_ARN__"
"""`SECRET_ARN__TEMPORAL_API_KEY` holds the ARN of the secret whose value TEMPORAL_API_KEY gets."""

ReadSecret = Callable[[str], str]
"""Returns the value of a secret by its ARN; raises any exception if it cannot be read."""

log = structlog.get_logger("outlast.worker")


def secrets_manager() -> ReadSecret:
    """Return a function that reads from AWS Secrets Manager. Lambda's Python images contain boto3."""
    boto3: Any = importlib.import_module("boto3")
    client = boto3.client("secretsmanager")

    def read(arn: str) -> str:
        text: str = client.get_secret_value(SecretId=arn)["SecretString"]
        return text

    return read


class SecretVariables:
    """The variables of this process that hold secrets. `refresh` reads them again."""

    def __init__(
        self,
        variables: MutableMapping[str, str] = os.environ,
        connect: Callable[[], ReadSecret] = secrets_manager,
    ) -> None:
        self._variables = variables
        self._references = references(variables)
        self._read = connect() if self._references else None

    def refresh(self) -> bool:
        """Set the variables to the current values, and return whether one has changed.

        If a secret cannot be read, its last value stays. Raises `NotReady` if there is none yet.
        """
        has_changed = False
        for name, arn in self._references.items():
            value = self._current(name, arn)
            has_changed |= self._variables.get(name) != value
            self._variables[name] = value
        return has_changed

    def _current(self, name: str, arn: str) -> str:
        assert self._read is not None  # noqa: S101 there is a reference
        try:
            return self._read(arn)
        except Exception as error:  # noqa: BLE001 boto3 makes its exceptions at run time
            reason = f"{type(error).__name__}: {error}"
            if name not in self._variables:
                raise NotReady(
                    f"{REFERENCE_PREFIX}{name}: the secret {arn!r} cannot be read ({reason}): check the "
                    "ARN, and that the function's role may call secretsmanager:GetSecretValue on it"
                ) from None
            log.warning("secret.unreadable", variable=name, reason=reason)
            return self._variables[name]


def references(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the ARNs of secrets by the names of the variables that get their values."""
    return {
        name.removeprefix(REFERENCE_PREFIX): arn
        for name, arn in variables.items()
        if name.startswith(REFERENCE_PREFIX) and arn
    }
