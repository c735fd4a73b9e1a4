"""The clock of a human request: what happens next, and what a request is once it has happened."""

from datetime import UTC, datetime, timedelta

import pytest
from outlast_workflows.people.escalation import ScheduledStep, after_step, next_step

from outlast import Approval, Escalation
from outlast.contracts.human import PendingRequest

OPENED = datetime(2026, 1, 1, tzinfo=UTC)

TWO_STEPS = (Escalation(audience="leads", after_s=40), Escalation(audience="ceo", after_s=80))


def opened(clock: Approval, *, reminders: int = 0, escalations: int = 0) -> PendingRequest:
    audience = clock.escalate[escalations - 1].audience if escalations else clock.audience
    return PendingRequest(
        request_id="1.1",
        tool="refund",
        arguments={},
        audience=audience,
        reminders=reminders,
        escalations=escalations,
        opened_at=OPENED,
        expires_at=OPENED + timedelta(seconds=clock.expires_s),
    )


@pytest.mark.parametrize(
    ("clock", "reminders", "escalations", "moment"),
    [
        # nothing but the end
        ({}, 0, 0, (100, "expire", "desk")),
        # reminders, one after another, and no more than fit
        ({"remind_s": 30}, 0, 0, (30, "remind", "desk")),
        ({"remind_s": 30}, 2, 0, (90, "remind", "desk")),
        ({"remind_s": 30}, 3, 0, (100, "expire", "desk")),
        ({"remind_s": 200}, 0, 0, (100, "expire", "desk")),
        # escalations: a step names the audience from then on
        ({"escalate": TWO_STEPS}, 0, 0, (40, "escalate", "leads")),
        ({"escalate": TWO_STEPS}, 0, 1, (80, "escalate", "ceo")),
        ({"escalate": TWO_STEPS}, 0, 2, (100, "expire", "ceo")),
        # both: reminders go to the current audience
        ({"remind_s": 30, "escalate": TWO_STEPS}, 1, 0, (40, "escalate", "leads")),
        ({"remind_s": 30, "escalate": TWO_STEPS}, 1, 1, (60, "remind", "leads")),
        # ties: what matters most comes first, and the other is not lost
        ({"remind_s": 40, "escalate": TWO_STEPS}, 0, 0, (40, "escalate", "leads")),
        ({"remind_s": 40, "escalate": TWO_STEPS}, 0, 1, (40, "remind", "leads")),
        ({"remind_s": 50}, 1, 0, (100, "expire", "desk")),
        # fractions of a second are kept
        ({"remind_s": 2.5}, 2, 0, (7.5, "remind", "desk")),
    ],
)
def test_the_next_moment(
    clock: dict[str, object], reminders: int, escalations: int, moment: tuple[float, str, str]
) -> None:
    made = Approval.model_validate({"audience": "desk", "expires_s": 100, "quorum": 2, **clock})
    request = opened(made, reminders=reminders, escalations=escalations)
    found = next_step(request, made)
    assert ((found.at - OPENED).total_seconds(), found.kind, found.audience) == moment


def test_a_moment_changes_what_it_says_and_nothing_else() -> None:
    request = opened(Approval(audience="desk", expires_s=100)).model_copy(
        update={"approved_by": ["ann"], "edited_by": "ann"}
    )
    reminded = after_step(request, ScheduledStep(OPENED, "remind", "desk"))
    escalated = after_step(reminded, ScheduledStep(OPENED, "escalate", "leads"))
    assert reminded == request.model_copy(update={"reminders": 1})
    assert escalated == request.model_copy(
        update={"reminders": 1, "escalations": 1, "audience": "leads"}
    )


def test_a_clock_that_was_not_looked_at_for_long_catches_up_and_ends() -> None:
    clock = Approval(audience="desk", remind_s=2, escalate=TWO_STEPS, expires_s=100)
    request = opened(clock)
    moments: list[ScheduledStep] = []
    while not moments or moments[-1].kind != "expire":
        moments.append(next_step(request, clock))
        request = after_step(request, moments[-1]) if moments[-1].kind != "expire" else request
    assert moments == sorted(moments, key=lambda moment: moment.at)
    assert [one.kind for one in moments].count("remind") == 49
    assert [one.audience for one in moments if one.kind == "escalate"] == ["leads", "ceo"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"expires_s": 31_536_001},
        {"expires_s": float("inf")},
        {"expires_s": float("nan")},
        {"remind_s": 31_536_001},
        {"remind_s": 0.1},
        {"audience": "x" * 101},
        {"escalate": [{"audience": "x" * 101, "after_s": 1}]},
        {"escalate": [{"audience": "x", "after_s": float("inf")}]},
        {"escalate": [{"audience": f"a{n}", "after_s": n} for n in range(1, 22)]},
    ],
)
def test_a_clock_that_no_run_could_keep_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        Approval.model_validate({"audience": "desk", **wrong})
