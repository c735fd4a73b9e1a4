import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from outlast_workers.settings import Role, Settings, load_settings
from outlast_workers.settings_sections.model_servers import ModelSettings
from outlast_workers.settings_sections.workers import RoutesSettings

from outlast.contracts.agents import Leg, Price, Route
from outlast.errors import NotReady

pytestmark = pytest.mark.usefixtures("isolated")

EXAMPLE = """
agents = ["outlast_examples.refund_desk", "mine"]
roles = ["generate"]
drain_s = 5

[model]
url = "http://127.0.0.1:8000/v1"
name = "small"
price = { prompt_usd = 0.15, completion_usd = 0.6 }

[[routes.generate.legs]]
task_queue = "gpu"
start_within_s = 5

[[routes.generate.legs]]
task_queue = "cpu"
price = { prompt_usd = 1 }

[routes.tool.refund]
legs = [{ task_queue = "payments" }]
"""


def write(text: str, name: str = "outlast.toml") -> Path:
    file = Path(name)
    file.write_text(text)
    return file


def test_without_a_file_every_setting_has_a_default() -> None:
    settings = load_settings()
    assert settings == Settings()
    assert settings.roles == ("workflows", "generate", "tools")
    assert settings.route("generate") == Route(legs=(Leg(task_queue="agents"),))
    assert settings.route("tools") == Route(legs=(Leg(task_queue="agents"),))
    assert settings.queue("workflows") == "agents"
    assert settings.health.port is None


def test_a_file_is_read_into_plain_contracts() -> None:
    write(EXAMPLE)
    settings = load_settings()
    assert settings.agents == ("outlast_examples.refund_desk", "mine")
    assert settings.roles == ("generate",)
    assert settings.model.price == Price(prompt_usd=Decimal("0.15"), completion_usd=Decimal("0.6"))
    gpu = Leg(task_queue="gpu", start_within_s=5)
    cpu = Leg(task_queue="cpu", price=Price(prompt_usd=Decimal(1)))
    assert settings.routes.generate == Route(legs=(gpu, cpu))
    assert settings.routes.tool == {"refund": Route(legs=(Leg(task_queue="payments"),))}


def test_variables_win_over_the_file_key_by_key(monkeypatch: pytest.MonkeyPatch) -> None:
    write(EXAMPLE)
    monkeypatch.setenv("OUTLAST_MODEL__NAME", "large")
    monkeypatch.setenv("OUTLAST_ROLES", "workflows, tools")
    monkeypatch.setenv("OUTLAST_LOG_LEVEL", "DEBUG")
    monkeypatch.setenv("OUTLAST_ROUTES__GENERATE__LEGS", '[{"task_queue": "elsewhere"}]')
    settings = load_settings()
    assert settings.model.name == "large"
    assert settings.model.url == "http://127.0.0.1:8000/v1"
    assert settings.roles == ("workflows", "tools")
    assert settings.log_level == "debug"
    assert settings.routes.generate == Route(legs=(Leg(task_queue="elsewhere"),))


def test_a_named_file_is_read_instead_of_the_default_file(monkeypatch: pytest.MonkeyPatch) -> None:
    write("drain_s = 1")
    monkeypatch.setenv("OUTLAST_CONFIG", str(write("drain_s = 2", "second.toml")))
    assert load_settings().drain_s == 2
    assert load_settings(write("drain_s = 3", "third.toml")).drain_s == 3


def test_the_variables_of_the_worker_controller_set_the_version(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write('[versioning]\ndeployment_name = "in-file"\nbuild_id = "in-file"')
    monkeypatch.setenv("TEMPORAL_DEPLOYMENT_NAME", "agents/gpu-worker")
    monkeypatch.setenv("TEMPORAL_WORKER_BUILD_ID", "b1")
    monkeypatch.setenv("OUTLAST_VERSIONING__BUILD_ID", "b2")
    versioning = load_settings().versioning
    assert (versioning.deployment_name, versioning.build_id) == ("agents/gpu-worker", "b2")


def test_empty_variables_and_service_links_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTLAST_OTLP_ENDPOINT", "")
    monkeypatch.setenv("OUTLAST_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("OUTLAST_DEMAND_SERVICE_PORT_HTTP", "8080")
    monkeypatch.setenv("OUTLAST_DEMAND_PORT", "tcp://10.0.0.1:8080")
    monkeypatch.setenv("OUTLAST_DEMAND_PORT_8080_TCP_ADDR", "10.0.0.1")
    assert load_settings() == Settings()


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().drain_s = 3  # type: ignore[misc]  # it is what the test is about


def test_an_api_key_is_neither_in_the_repr_nor_in_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTLAST_MODEL__API_KEY", "s3cret")
    assert "s3cret" not in repr(load_settings())
    monkeypatch.setenv("OUTLAST_MODEL", "s3cret")
    with pytest.raises(NotReady) as error:
        load_settings()
    assert "s3cret" not in str(error.value)


BAD_FILES = {
    'agnets = ["a"]': "agnets: unknown key; did you mean 'agents'?",
    "[modle]": "modle: unknown key; did you mean 'model'?",
    '[[routes.generate.legs]]\ntask_queue = "agents"\nserver = "big"': (
        "routes.generate: a leg names the model server 'big', which is not in [servers]"
    ),
    '[servers.big]\nname = "m"': "servers.big: needs a url",
    "[model]\nmax_token = 3": "model.max_token: unknown key; did you mean 'max_tokens'?",
    "[[routes.generate.legs]]\ntask_queue = 'a'\nstart_withn_s = 3": (
        "routes.generate.legs[0].start_withn_s: unknown key; did you mean 'start_within_s'?"
    ),
    "[model.price]\nprompt_eur = 1": (
        "model.price.prompt_eur: unknown key; did you mean 'prompt_usd'?"
    ),
    "[model]\nui_url = 'http://a'": (
        "model.ui_url: unknown key; 'ui_url' is outside of all tables:"
        " in a file it stands above the first [table]"
    ),
    "public_url = 'http://a'": "public_url: unknown key; did you mean gateway.public_url?",
    "[media]\nport = 1": (
        "media.port: unknown key; did you mean callback.port or demand.port or gateway.port?"
    ),
    "[servers.big]\nmax_token = 3": (
        "servers.big.max_token: unknown key; did you mean 'max_tokens'?"
    ),
    "[audiences.leads]\nwebhok = 'http://a'": (
        "audiences.leads.webhok: unknown key; did you mean 'webhook'?"
    ),
    "[gateway.tokens.ann]\ntokn = 'a'": (
        "gateway.tokens.ann.tokn: unknown key; did you mean 'token'? (and 2 more)"
    ),
    "[routes.tool.refund]\nlegs = []": (
        "routes.tool.refund.legs: tuple should have at least 1 item after validation, not 0"
    ),
    "[model]\nmax_tokens = 0": (
        "model.max_tokens: input should be greater than or equal to 1, not 0"
    ),
    "[model]\nurl = 'x'\ntemperature = 9": (
        "model.url: must be http://… or https://…, without user and password, not 'x' (and 1 more)"
    ),
    "[model]\napi_key = 5": "model.api_key: input should be a valid string",
    "model = 'small'": "model: must be a table",
    "roles = 5": "roles: must be a list",
    "roles = []": "roles: value should have at least 1 item after validation, not 0",
    "roles = ['tools', 'tool']": (
        "roles[1]: input should be 'workflows', 'generate' or 'tools', not 'tool'"
    ),
    "roles = ['tools', 'tools']": "roles: has a value twice",
    "[versioning]\nbuild_id = 'b1'": (
        "versioning: a build_id needs a deployment_name too"
        " (TEMPORAL_WORKER_BUILD_ID and TEMPORAL_DEPLOYMENT_NAME set them)"
    ),
    "agents = [": "is not TOML: Invalid value (at end of document)",
}


@pytest.mark.parametrize(("text", "message"), BAD_FILES.items())
def test_an_invalid_file_gives_one_line_with_the_key(text: str, message: str) -> None:
    write(text)
    with pytest.raises(NotReady) as error:
        load_settings()
    assert str(error.value) == f"outlast.toml: {message}"


LISTS: dict[str, tuple[tuple[str, ...], Callable[[Settings], Any]]] = {
    "OUTLAST_AGENTS": (("shop.agents", "desk"), lambda settings: settings.agents),
    "OUTLAST_ROLES": (("tools", "generate"), lambda settings: settings.roles),
    "OUTLAST_DEMAND__QUEUES": (("a", "b"), lambda settings: settings.demand.queues),
    "OUTLAST_MEDIA__URL_HOSTS": (
        ("a.example", "b.example"),
        lambda settings: settings.media.url_hosts,
    ),
    "OUTLAST_EVENTS__URLS": (("http://a:1", "http://b:1"), lambda settings: settings.events.urls),
    "OUTLAST_GATEWAY__AGENTS": (("one", "two"), lambda settings: settings.gateway.agents),
    "OUTLAST_GATEWAY__ORIGINS": (
        ("http://a", "http://b"),
        lambda settings: settings.gateway.origins,
    ),
}


@pytest.mark.parametrize(
    "written", [",".join, " , ".join, json.dumps], ids=["a,b", "a , b", "JSON"]
)
@pytest.mark.parametrize("name", LISTS)
def test_a_variable_holds_a_list_of_words(
    name: str, written: Callable[[tuple[str, ...]], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words, setting = LISTS[name]
    monkeypatch.setenv(name, written(words))
    assert setting(load_settings()) == words


def test_a_variable_holds_one_word_of_a_list_in_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTLAST_GATEWAY__TOKENS__ANN__TOKEN", "x" * 16)
    monkeypatch.setenv("OUTLAST_GATEWAY__TOKENS__ANN__TENANT", "shop")
    monkeypatch.setenv("OUTLAST_GATEWAY__TOKENS__ANN__AUDIENCES", "leads,desk")
    tokens = load_settings().gateway.tokens
    assert [token.audiences for token in tokens.values()] == [("leads", "desk")]


BAD_VARIABLES = {
    ("OUTLAST_AGNETS", "a"): "OUTLAST_AGNETS: unknown setting; did you mean 'OUTLAST_AGENTS'?",
    ("OUTLAST_HEALTH_PORT", "80"): (
        "OUTLAST_HEALTH_PORT: unknown setting; did you mean 'OUTLAST_HEALTH__PORT'?"
    ),
    ("OUTLAST_HEALTH__PRT", "80"): "OUTLAST_HEALTH__PRT: unknown key; did you mean 'port'?",
    ("OUTLAST_DRAIN_S", "soon"): (
        "OUTLAST_DRAIN_S: input should be a valid number,"
        " unable to parse string as a number, not 'soon'"
    ),
    ("OUTLAST_ROUTES__GENERATE", '{"legs": [{}]}'): (
        "OUTLAST_ROUTES__GENERATE: legs[0].task_queue: field required"
    ),
    ("OUTLAST_ROUTES", "{"): (
        "OUTLAST_ROUTES: is not JSON: Expecting property name enclosed in double quotes:"
        " line 1 column 2 (char 1)"
    ),
    ("OUTLAST_CONFIG", "gone.toml"): "gone.toml: cannot be read: No such file or directory",
    ("TEMPORAL_WORKER_BUILD_ID", "b1"): (
        "settings: versioning: a build_id needs a deployment_name too"
        " (TEMPORAL_WORKER_BUILD_ID and TEMPORAL_DEPLOYMENT_NAME set them)"
    ),
}


@pytest.mark.parametrize(("variable", "message"), BAD_VARIABLES.items())
def test_an_invalid_variable_gives_one_line_that_names_it(
    variable: tuple[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(*variable)
    with pytest.raises(NotReady) as error:
        load_settings()
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("fields", "queues"),
    [
        ({}, ("agents", "agents", "agents")),
        ({"queues": {"workflows": "mine"}}, ("mine", "mine", "mine")),
        ({"queues": {"tools": "mine"}}, ("agents", "agents", "mine")),
        ({"roles": ("workflows",)}, ("agents", "generate", "tools")),
        ({"roles": ("workflows", "tools")}, ("agents", "generate", "tools")),
        ({"roles": ("generate",), "queues": {"generate": "gpu"}}, ("agents", "gpu", "tools")),
    ],
)
def test_roles_share_a_queue_only_in_a_process_that_has_them_all(
    fields: dict[str, Any], queues: tuple[str, str, str]
) -> None:
    settings = Settings(**fields)
    roles: tuple[Role, ...] = ("workflows", "generate", "tools")
    assert tuple(settings.queue(role) for role in roles) == queues
    assert settings.route("generate").legs[0].task_queue == queues[1]
    assert settings.route("tools").legs[0].task_queue == queues[2]


def test_a_route_of_a_model_has_the_price_of_its_server() -> None:
    price = Price(prompt_usd=Decimal("0.15"))
    large = Route(legs=(Leg(task_queue="generate-large"),))
    settings = Settings(model=ModelSettings(price=price), routes=RoutesSettings(model={"m": large}))
    assert settings.step_routes().of_model("m").legs[0].price == price


def test_the_default_leg_has_the_price_of_the_model() -> None:
    price = Price(prompt_usd=Decimal("0.15"), completion_usd=Decimal("0.60"))
    settings = Settings(model=ModelSettings(price=price))
    assert settings.route("generate").legs[0].price == price
    assert settings.route("tools").legs[0].price is None


def test_specs_are_unlimited_until_a_list_limits_them(monkeypatch: pytest.MonkeyPatch) -> None:
    specs = Settings().specs
    assert (specs.enabled, specs.tools, specs.models, specs.audiences) == (True, None, None, None)
    monkeypatch.setenv("OUTLAST_SPECS__TOOLS", "look,page")
    monkeypatch.setenv("OUTLAST_SPECS__MODELS", "[]")
    monkeypatch.setenv("OUTLAST_SPECS__ENABLED", "false")
    specs = load_settings().specs
    assert (specs.enabled, specs.tools, specs.models) == (False, ("look", "page"), ())
