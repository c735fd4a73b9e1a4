from datetime import timedelta

import pytest
from outlast_activities.providers import breaker as providers_breaker
from outlast_activities.providers.breaker import FAILURES, FIRST_REST_S, LONGEST_REST_S, Breaker

from outlast.errors import ModelError, ModelFailure

DOWN = ModelError("cannot be reached", kind=ModelFailure.CONNECTION)
ODD = ModelError("no such model", kind=ModelFailure.UNKNOWN_MODEL)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def opened(clock: Clock) -> Breaker:
    breaker = Breaker(clock)
    for number in range(FAILURES):
        breaker.admit()
        breaker.record_failure(DOWN, session=f"run-{number}")
    return breaker


def test_a_server_that_failed_in_a_row_is_left_alone_and_says_for_how_long() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 2
    with pytest.raises(
        ModelError, match="failed 3 times in a row; the next call is made in 3 s"
    ) as refused:
        breaker.admit()
    assert refused.value.kind is ModelFailure.CONNECTION
    assert refused.value.retry_after == timedelta(seconds=FIRST_REST_S - 2)


def test_one_call_looks_when_the_rest_is_over_and_the_others_wait_for_it() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += FIRST_REST_S
    breaker.admit()
    with pytest.raises(ModelError):
        breaker.admit()
    breaker.record_success()
    breaker.admit()
    breaker.admit()


def test_each_look_that_fails_doubles_the_rest_up_to_its_bound() -> None:
    clock = Clock()
    breaker = opened(clock)
    rests = []
    for _ in range(6):
        clock.now += LONGEST_REST_S
        breaker.admit()
        breaker.record_failure(DOWN, session="run-1")
        with pytest.raises(ModelError) as refused:
            breaker.admit()
        assert refused.value.retry_after is not None
        rests.append(refused.value.retry_after.total_seconds())
    assert rests == [10, 20, 40, 60, 60, 60]


def test_a_failure_of_the_request_shows_that_the_server_is_there() -> None:
    breaker = Breaker(Clock())
    for _ in range(FAILURES - 1):
        breaker.record_failure(DOWN, session="run-1")
    breaker.record_failure(ODD, session="run-2")
    breaker.record_failure(DOWN, session="run-1")
    breaker.admit()


@pytest.mark.parametrize("kind", sorted(providers_breaker.DOWN))
def test_one_run_cannot_open_the_breaker_for_the_others(kind: ModelFailure) -> None:
    breaker = Breaker(Clock())
    for _ in range(10 * FAILURES):
        breaker.admit()
        breaker.record_failure(ModelError("broke", kind=kind), session="poison")
    breaker.admit()

    breaker.record_failure(DOWN, session="another")
    with pytest.raises(ModelError, match="times in a row"):
        breaker.admit()
