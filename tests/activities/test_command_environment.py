import pytest
from outlast_activities.channels import command_environment

SECRETS = [
    "OUTLAST_MODEL__API_KEY",
    "OUTLAST_SERVERS__BIG__API_KEY",
    "OUTLAST_CALLBACK__SECRET",
    "OUTLAST_AUDIENCES__LEADS__SECRET",
    "TEMPORAL_API_KEY",
    "TEMPORAL_TLS_CLIENT_KEY_DATA",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "OPENAI_API_KEY",
    "HF_TOKEN",
    "GITHUB_TOKEN",
    "PGPASSWORD",
    "DATABASE_URL",
    "LD_PRELOAD",
    "PYTHONPATH",
    "outlast_model__api_key",
    "MY_NOTICE_TOKEN",
]


@pytest.mark.parametrize("name", SECRETS)
def test_a_command_does_not_get_the_secrets_of_the_worker(name: str) -> None:
    assert command_environment({name: "CANARY", "PATH": "/bin"}) == {"PATH": "/bin"}


@pytest.mark.parametrize(
    "name", ["PATH", "HOME", "LANG", "LC_ALL", "TZ", "https_proxy", "NO_PROXY", "NOTICE_TOKEN"]
)
def test_a_command_gets_what_programs_need(name: str) -> None:
    assert command_environment({name: "x"}) == {name: "x"}
