"""Chaos: a script that fails in every way in which model servers and the proxies before them do."""

import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from bench.scripted_model.scripts import Generation, Request, Script, Step, pieces_of, turns

LOOP_PIECES = 4096
"""How far a loop goes for a client that does not say `max_tokens`."""

BLANK = "\n   "
REPEATED = pieces_of("and then we see so, ")

BAD_GATEWAY = (
    "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n"
    "<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx/1.26.0</center>\r\n"
    "</body>\r\n</html>\r\n"
)
MAINTENANCE = "<!doctype html><title>Maintenance</title><p>We will be back shortly.</p>"


@dataclass(frozen=True)
class Setting:
    """What a fault is made from: the right answer, the bound of the request, and how long to wait."""

    step: Step
    max_tokens: int
    retry_after_s: float
    random: random.Random

    @property
    def pieces(self) -> tuple[str, ...]:
        """The right answer, piece by piece."""
        return self.step.pieces or ()

    def somewhere(self) -> int:
        """Return a place in the answer before its end."""
        return self.random.randrange(max(1, len(self.pieces)))


class Chaos:
    """Say what `script` says, but fail in a `share` of the requests, in a way that `seed` decides.

    What is said comes in pieces, `gap_s` apart, so that it is known what was generated when a client
    leaves. A wrapped script is asked in failing requests too: it should go by the request alone, as
    `turns` does. `happened` counts the faults, `generations` are those of the requests, in order.
    """

    def __init__(
        self,
        seed: int,
        script: Script | None = None,
        *,
        share: float = 0.5,
        gap_s: float = 0.001,
        retry_after_s: float = 0.05,
        faults: Sequence[str] | None = None,
    ) -> None:
        self.happened: Counter[str] = Counter()
        self.generations: list[Generation] = []
        self._script = script or turns(2)
        self._share = share
        self._gap_s = gap_s
        self._retry_after_s = retry_after_s
        self._faults = tuple(FAULTS if faults is None else faults)
        self._random = random.Random(seed)  # noqa: S311 chance, not secrets

    @property
    def spent_prompt_tokens(self) -> int:
        """Prompt tokens of every request whose answer was begun."""
        return sum(generation.prompt_tokens for generation in self.generations)

    @property
    def spent_completion_tokens(self) -> int:
        """Tokens of every answer as far as it was generated, read or not."""
        return sum(generation.completion_tokens for generation in self.generations)

    def __call__(self, request: Request) -> Step:
        """Answer, or fail."""
        self.generations.append(request.generation)
        step = self._script(request)
        if step.is_error:
            return step
        if step.pieces is None:
            step = replace(step, pieces=pieces_of(step.text))
        step = replace(step, gap_s=step.gap_s or self._gap_s)
        if self._random.random() >= self._share:
            return step
        name = self._random.choice(self._faults)
        self.happened[name] += 1
        most = request.max_tokens or LOOP_PIECES
        return FAULTS[name](Setting(step, most, self._retry_after_s, self._random))


def _throttled(_setting: Setting) -> Step:
    return Step("Rate limit reached", status=429, error_code="rate_limit_exceeded")


def _throttled_for_a_while(setting: Setting) -> Step:
    return replace(_throttled(setting), headers={"retry-after": f"{setting.retry_after_s:g}"})


def _throttled_until_a_reset(setting: Setting) -> Step:
    wait = f"{setting.retry_after_s * 1000:.0f}ms"
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": wait}
    return replace(_throttled(setting), headers=headers)


def _unavailable(_setting: Setting) -> Step:
    return Step("The server is overloaded, please try again later", status=503)


def _server_error(_setting: Setting) -> Step:
    return Step("Internal server error", status=500)


def _bad_gateway(_setting: Setting) -> Step:
    return Step(status=502, raw=BAD_GATEWAY)


def _maintenance_page(_setting: Setting) -> Step:
    return Step(raw=MAINTENANCE)


def _silent(setting: Setting) -> Step:
    return replace(setting.step, stalls_after=0)


def _stalled(setting: Setting) -> Step:
    return replace(setting.step, stalls_after=setting.somewhere())


def _broken(setting: Setting) -> Step:
    return replace(setting.step, breaks_after=setting.somewhere())


def _whitespace_loop(setting: Setting) -> Step:
    return _looping(setting, (BLANK,))


def _repetition_loop(setting: Setting) -> Step:
    return _looping(setting, REPEATED)


def _looping(setting: Setting, loop: tuple[str, ...]) -> Step:
    """Begin the right answer, then say the same until the request's `max_tokens` cut it."""
    begun = setting.pieces[: setting.somewhere()]
    rounds = setting.max_tokens // len(loop) + 1
    return replace(setting.step, pieces=begun + loop * rounds)


def _truncated(setting: Setting) -> Step:
    pieces = setting.pieces[: setting.somewhere()]
    return replace(setting.step, pieces=pieces, finish_reason="length")


def _invalid_json(setting: Setting) -> Step:
    pieces = (*setting.pieces[: setting.somewhere()], '"}]')
    return replace(setting.step, pieces=pieces)


def _against_the_schema(setting: Setting) -> Step:
    return replace(setting.step, pieces=pieces_of(json.dumps({"unheard_of": True})))


def _empty(setting: Setting) -> Step:
    return replace(setting.step, pieces=())


def _error_in_stream(setting: Setting) -> Step:
    error = {
        "message": "Internal server error",
        "type": "InternalServerError",
        "param": None,
        "code": 500,
    }
    pieces = setting.pieces[: setting.somewhere()]
    return replace(setting.step, pieces=pieces, error_in_stream=error)


FAULTS: dict[str, Callable[[Setting], Step]] = {
    "throttled": _throttled,
    "throttled_for_a_while": _throttled_for_a_while,
    "throttled_until_a_reset": _throttled_until_a_reset,
    "unavailable": _unavailable,
    "server_error": _server_error,
    "bad_gateway": _bad_gateway,
    "maintenance_page": _maintenance_page,
    "silent": _silent,
    "stalled": _stalled,
    "broken": _broken,
    "whitespace_loop": _whitespace_loop,
    "repetition_loop": _repetition_loop,
    "truncated": _truncated,
    "invalid_json": _invalid_json,
    "against_the_schema": _against_the_schema,
    "empty": _empty,
    "error_in_stream": _error_in_stream,
}
"""Every way to fail, by name."""
