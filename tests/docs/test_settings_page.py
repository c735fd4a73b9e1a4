"""docs/workers.md lists every setting, and no other."""

import re

from outlast_workers.settings import Settings

from tests.docs.prose import ROOT
from tests.workers.test_bad_settings import leaves

PAGE = (ROOT / "docs" / "workers.md").read_text()

EXPLAINED_ELSEWHERE = ("routes.", "audiences.", "servers.")


def keys_on_page() -> set[str]:
    """Return the keys in the first column of the table of all settings."""
    table = PAGE.partition("### All settings")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return {key for row in rows for key in re.findall(r"`([a-z_.]+)`", row)}


def test_the_page_lists_every_setting() -> None:
    settings = {name.lower().replace("__", ".") for name, _ in leaves(Settings)}
    lists = {"agents", "roles", "demand.queues", "demand.versions", "demand.slots"}
    lists |= {"gateway.tokens", "gateway.origins", "media.url_hosts", "events.urls"}
    lists |= {"gateway.oidc.algorithms", "http.hosts", "http.private_networks", "http.secrets"}
    named = {key for key in settings if not key.startswith(EXPLAINED_ELSEWHERE)}
    assert keys_on_page() == named | lists


def test_the_defaults_on_the_page_are_those_of_the_code() -> None:
    settings = Settings()
    for key, default in re.findall(r"^\| `([a-z_.]+)` \| ([\d.,]+) \|", PAGE, re.MULTILINE):
        value: object = settings
        for part in key.split("."):
            value = getattr(value, part)
        assert float(default.replace(",", "")) == value, key
