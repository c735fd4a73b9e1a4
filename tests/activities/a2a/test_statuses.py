"""The errors of A2A calls by HTTP status: each number that a server can send has an error of the DSL."""

import pytest
from outlast_activities.a2a.failures import named_by_status

from outlast.contracts.http_calls import call_failed
from outlast.errors import HttpCallFailed
from outlast.pipelines.errors import AUTHENTICATION, AUTHORIZATION, COMMUNICATION

NAMED = {401: AUTHENTICATION, 403: AUTHORIZATION}


@pytest.mark.parametrize("status", [100, 299, 400, 401, 403, 404, 418, 419, 499, 520, 599, 999])
def test_each_status_has_an_error_of_the_dsl(status: int) -> None:
    with pytest.raises(HttpCallFailed) as failed, named_by_status():
        raise call_failed("the server answered", COMMUNICATION, status)

    (problem,) = failed.value.details
    assert problem == {"type": NAMED.get(status, COMMUNICATION), "status": status}
