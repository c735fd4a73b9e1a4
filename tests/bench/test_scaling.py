"""The arithmetic of the simulated autoscalers."""

from bench.job_lives import Jobs, gpu_hours
from bench.scaling.bursts import Policy


def test_the_hpa_leaves_a_tenth_of_the_work_waiting_unless_it_aims_lower() -> None:
    full = Policy("demand", poll_s=1, minimum=1, slots=8, utilization=1.0)
    assert full.wanted(87, replicas=10) == 10, "7 calls wait, and no pod starts"
    assert Policy("demand", poll_s=1, minimum=1, slots=8).wanted(87, replicas=10) >= 11


def test_a_trickle_keeps_every_job_unless_their_life_is_bounded() -> None:
    endless = gpu_hours(Jobs())
    bounded = gpu_hours(Jobs(max_life_s=3600))
    assert endless > 0.8 * 8 * 2 * 24, "nearly all of them all day"
    assert bounded < endless / 3
