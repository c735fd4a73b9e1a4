"""Secrets by reference: read at each invocation, kept if the store is away, named if they are missing."""

import pytest
from outlast_workers.serverless.secret_values import SecretVariables

from outlast.errors import NotReady

ARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:key"


class FakeStore:
    """A fake of a secret store: it has values, or is away."""

    def __init__(self, **values: str) -> None:
        self.values = values
        self.is_away = False

    def read(self, arn: str) -> str:
        if self.is_away:
            raise OSError("no route to host")
        return self.values[arn]


def test_a_rotated_secret_reaches_the_next_invocation() -> None:
    store = FakeStore(**{ARN: "old"})
    variables = {"SECRET_ARN__TEMPORAL_API_KEY": ARN, "SECRET_ARN__OUTLAST_MODEL__API_KEY": ""}
    secrets = SecretVariables(variables, lambda: store.read)
    assert secrets.refresh()
    assert variables["TEMPORAL_API_KEY"] == "old"
    assert "OUTLAST_MODEL__API_KEY" not in variables
    assert not secrets.refresh()
    store.values[ARN] = "new"
    assert secrets.refresh()
    assert variables["TEMPORAL_API_KEY"] == "new"


def test_the_last_value_stays_while_the_store_is_away() -> None:
    store = FakeStore(**{ARN: "value"})
    variables = {"SECRET_ARN__KEY": ARN}
    secrets = SecretVariables(variables, lambda: store.read)
    secrets.refresh()
    store.is_away = True
    assert not secrets.refresh()
    assert variables["KEY"] == "value"


def test_a_secret_that_was_never_read_is_named() -> None:
    secrets = SecretVariables({"SECRET_ARN__KEY": "arn:wrong"}, lambda: FakeStore().read)
    with pytest.raises(NotReady, match="SECRET_ARN__KEY: the secret 'arn:wrong' cannot be read"):
        secrets.refresh()


def test_a_function_without_references_needs_no_store() -> None:
    def connect() -> None:
        raise AssertionError("no store is needed")

    assert not SecretVariables({}, connect).refresh()  # type: ignore[arg-type]
