"""What a plan is for: the load, the steps of a run, where the model runs, what the team's time costs."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from outlast.contracts.base import InputModel
from outlast.errors import BadRequest, NotReady
from outlast.text.hints import hint
from outlast.text.json_text import from_json
from outlast.validation import validated
from outlast_workers.plan.arguments import MAX_CONCURRENT_RUNS

PRESETS = Path(__file__).parent / "workloads.toml"

ArchitectureName = Literal["serverless", "managed", "kubernetes", "hybrid"]

ARCHITECTURES: tuple[ArchitectureName, ...] = ("serverless", "managed", "kubernetes", "hybrid")

DAY_H = 24

USUAL_HOURS: Mapping[ArchitectureName, float] = {
    "serverless": 4.0,
    "managed": 6.0,
    "kubernetes": 24.0,
    "hybrid": 28.0,
}

Seconds = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]
Usd = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
Hours = Annotated[float, Field(ge=0, le=10_000, allow_inf_nan=False)]


class Arrivals(InputModel):
    """How runs arrive. `cv2` is the squared coefficient of variation of the time between two runs.

    0 is a fixed interval, 1 is random (Poisson), more comes in clusters. During a spike, `spike_factor`
    times as many runs arrive as between spikes. The mean over all the time stays the same.
    """

    cv2: float = Field(default=1.0, ge=0, le=100, allow_inf_nan=False)
    spike_factor: float = Field(default=1.0, ge=1, le=1_000, allow_inf_nan=False)
    spike_s: float = Field(default=60.0, gt=0, le=86_400, allow_inf_nan=False)
    spike_every_s: float = Field(default=1_800.0, gt=0, le=86_400, allow_inf_nan=False)

    @model_validator(mode="after")
    def _spikes_fit(self) -> Self:
        if self.spike_s >= self.spike_every_s:
            raise ValueError(
                f"spike_s is {self.spike_s:g}, and must be less than spike_every_s,"
                f" {self.spike_every_s:g}"
            )
        return self


class Model(InputModel):
    """Where the model runs: on GPUs of your own, or behind an API that bills tokens."""

    kind: Literal["gpu", "api"] = "gpu"
    gpu: Literal["A10G", "H100", "H200", "B200"] = "A10G"
    speed: float = Field(default=1.0, gt=0, le=100, allow_inf_nan=False)
    """How many times as fast as `model_s` of the workload this GPU is."""
    slots: int = Field(default=16, ge=1, le=1_024)
    """Calls that one GPU answers at once."""
    batch_slowdown: float = Field(default=0.0275, ge=0, le=10, allow_inf_nan=False)
    """By what share a call takes longer for each other call on the GPU.

    The default fits vLLM with Mistral 7B on an RTX 4090 from 4 to 48 calls within 1 % (mushfiqrahman.dev).
    """
    cold_start_s: Seconds = 82.0
    """From the start of a container until the model answers.

    The default is vLLM with an 8B model and filled caches on an L40S; it is 294 s without (tensorfuse.io).
    """
    prompt_usd: Usd = 0.5
    """For an API, per million tokens."""
    completion_usd: Usd = 1.5


class Team(InputModel):
    """What operating costs the team. Nobody can know this but you: the defaults are assumptions."""

    usd_per_hour: Usd = 100.0
    hours_per_month: dict[ArchitectureName, Hours] = Field(default_factory=lambda: {**USUAL_HOURS})
    self_hosted_temporal_hours: Hours = 16.0
    """A month, where Temporal is self-hosted."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        missing = [name for name in ARCHITECTURES if name not in self.hours_per_month]
        if missing:
            raise ValueError(f"hours_per_month lacks {', '.join(missing)}")
        return self


class Workload(InputModel):
    """The load of a month, and the run that it consists of. Times are means, in seconds."""

    concurrent_runs: float = Field(default=10.0, gt=0, le=MAX_CONCURRENT_RUNS, allow_inf_nan=False)
    """Runs in progress at a time, in the active hours, if no step had to wait."""
    active_hours_per_day: float = Field(default=24.0, gt=0, le=DAY_H, allow_inf_nan=False)
    arrivals: Arrivals = Arrivals()
    turns: int = Field(default=10, ge=1, le=1_000)
    model_s: float = Field(default=6.0, gt=0, le=3_600, allow_inf_nan=False)
    """One model call, alone on its GPU."""
    tool_s: Seconds = 4.0
    """The tool of a turn. The last turn is the answer and has no tool."""
    work_cv2: float = Field(default=0.5, ge=0, le=100, allow_inf_nan=False)
    """The squared coefficient of variation of both times."""
    prompt_tokens: int = Field(default=4_000, ge=0, le=10_000_000)
    """Of one model call."""
    completion_tokens: int = Field(default=300, ge=0, le=1_000_000)
    kilobytes_per_turn: float = Field(default=2.2, ge=0, le=10_000, allow_inf_nan=False)
    """What a turn adds to the history. The default is that of bench/README.md."""
    retention_days: float = Field(default=7.0, ge=0, le=90, allow_inf_nan=False)
    start_p95_s: Seconds = 120.0
    """Of 20 runs, 19 must start within this time. An architecture that misses it is not chosen."""
    model: Model = Model()
    team: Team = Team()
    temporal: Literal["usual", "cloud", "self-hosted"] = "usual"
    """`usual`: self-hosted with Kubernetes, Temporal Cloud with the others."""
    prices: dict[str, Usd] = Field(default_factory=dict)
    """Prices of your own by the names of the price files, in the unit of the file."""
    seed: int = Field(default=1, ge=0, le=2**31)

    @property
    def call_s(self) -> float:
        """Return the seconds of a model call alone on its GPU."""
        return self.model_s / (self.model.speed if self.model.kind == "gpu" else 1.0)

    @property
    def run_s(self) -> float:
        """Return the seconds of a run that never waits and never shares a GPU."""
        return self.turns * self.call_s + (self.turns - 1) * self.tool_s

    @property
    def runs_per_s(self) -> float:
        """Return the mean arrivals in an active second, by Little's law."""
        return self.concurrent_runs / self.run_s

    @property
    def runs_per_month(self) -> float:
        """Return the arrivals of a month of 730 hours."""
        return self.runs_per_s * 730 * 3_600 * self.active_hours_per_day / DAY_H


def preset(name: str) -> Workload:
    """Return a workload that comes with outlast; raises `NotReady` with the known names."""
    tables = tomllib.loads(PRESETS.read_text(encoding="utf-8"))
    if name not in tables:
        raise NotReady(
            f"--workload: {name[:60]!r} is neither a file nor a known workload; {hint(name, tables)}"
        )
    return Workload.model_validate(tables[name])


def read_workload(name: str) -> Workload:
    """Return the workload of a name, or of a TOML or JSON file."""
    path = Path(name)
    if path.suffix not in {".toml", ".json"}:
        return preset(name)
    try:
        text = path.read_bytes()
    except OSError as error:
        raise NotReady(f"{name}: cannot be read: {error.strerror}") from None
    try:
        table = from_json(text) if path.suffix == ".json" else tomllib.loads(text.decode())
        if not isinstance(table, dict):
            raise NotReady(f"{name}: must be a table with the fields of a workload")
        return validated(Workload, table)
    except BadRequest as error:
        raise NotReady(f"{name}: {error}") from None
    except ValueError as error:
        raise NotReady(f"{name}: is not {path.suffix[1:].upper()}: {error}") from None
