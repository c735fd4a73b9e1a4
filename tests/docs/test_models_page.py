"""docs/models.md lists each service with the URL, the profile and the ways that the code has."""

import re

import pytest
from outlast_activities.providers.hosted.gemini import Gemini
from outlast_activities.providers.profiles import UNKNOWN, profile_names, profile_of
from outlast_activities.providers.registry import ADAPTERS

from tests.docs.prose import ROOT

PAGE = (ROOT / "docs" / "models.md").read_text()


def rows() -> list[list[str]]:
    table = PAGE.partition("| you use |")[2].partition("\n\n")[0]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]


def words(cell: str) -> tuple[str, ...]:
    return tuple(re.findall(r"`([^`]+)`", cell))


def test_each_api_and_each_profile_has_a_row() -> None:
    assert {api for _, api_cell, *_ in rows() for api in words(api_cell)} == {*ADAPTERS}
    profiles = [name for *_, profile, _ in rows() for name in words(profile)]
    assert sorted(profiles) == sorted(profile_names())


@pytest.mark.parametrize("row", [row for row in rows() if words(row[3])], ids=lambda row: row[0])
def test_a_row_has_the_profile_of_its_url_and_its_ways(row: list[str]) -> None:
    (url,), (name,) = words(row[2]), words(row[3])
    profile = profile_of(url, None)
    assert (profile.name, profile.ways) == (name, words(row[4]))


@pytest.mark.parametrize("row", [row for row in rows() if "HOST" in row[2]], ids=lambda row: row[0])
def test_a_server_of_ones_own_has_no_profile(row: list[str]) -> None:
    assert profile_of("http://gpu-box:8000/v1", None) == UNKNOWN


def test_the_ways_of_the_other_apis_are_those_of_their_adapters() -> None:
    ways = {row[0]: words(row[4]) for row in rows()}
    assert ways["Gemini 3 or later"] == Gemini().facts("gemini-3-pro", {}).ways
    assert ways["Gemini 2.5"] == Gemini().facts("gemini-2.5-pro", {}).ways
    assert ways["OpenAI"] == ways["Azure OpenAI"] == ("native", "tools", "decision")
