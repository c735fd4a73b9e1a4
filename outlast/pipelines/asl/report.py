"""What an import finds: parts that cannot be moved, and remarks about parts that change a little."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

from outlast.pipelines.asl.paths import NotPortable
from outlast.pipelines.fields import quoted
from outlast.pipelines.places import Problem, below


@dataclass
class Report:
    """The findings of one import, by their places in the state machine."""

    holes: list[Problem] = field(default_factory=list)
    """Parts that cannot be moved. Their state is a task that the check of the document rejects."""
    remarks: list[Problem] = field(default_factory=list)
    """Parts that are moved, or left out, with a difference."""

    def remark(self, place: str, reason: str) -> None:
        """Add a remark, unless it is there already."""
        problem = Problem(place, reason)
        if problem not in self.remarks:
            self.remarks.append(problem)


class Part:
    """The fields of one state, or of an object in it. Each field that nobody reads is a hole."""

    def __init__(self, value: Mapping[str, JsonValue], place: str, report: Report) -> None:
        self.value = value
        self.place = place
        self.report = report
        self._read = {"Comment"}

    def __contains__(self, name: str) -> bool:
        """Tell whether a field is present."""
        return name in self.value

    def at(self, *names: str | int) -> str:
        """Return the place of a field."""
        place = self.place
        for name in names:
            place = below(place, name)
        return place

    def get(self, name: str, default: JsonValue = None) -> JsonValue:
        """Return a field, or the default."""
        self._read.add(name)
        return self.value.get(name, default)

    def object(self, name: str) -> "Part":
        """Return the fields of an object. Raises `NotPortable` if it is not one."""
        value = self.get(name)
        if not isinstance(value, dict):
            raise NotPortable(f"{quoted(value)} is not an object", name)
        return Part(value, self.at(name), self.report)

    def number(self, name: str, default: float | None = None) -> float | None:
        """Return a number that is not negative. Raises `NotPortable` if it is not one."""
        value = self.get(name, default)
        if value is None and name not in self.value:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise NotPortable(f"{quoted(value)} is not a number from 0 on", name)
        return value

    def remark(self, name: str, reason: str) -> None:
        """Read a field without a counterpart, and say what is different, if it is present."""
        self._read.add(name)
        if name in self.value:
            self.report.remark(self.at(name), reason)

    def close(self) -> None:
        """Raise `NotPortable` for the first field that nobody has read."""
        for name in self.value:
            if name not in self._read:
                raise NotPortable(_REASONS.get(name, "is not known, and is not moved"), name)


_REASONS = {
    "Arguments": "belongs to JSONata, which cannot be moved",
    "Output": "belongs to JSONata, which cannot be moved",
    "Assign": "variables cannot be moved; write the value with ResultPath",
    "Credentials": "cannot be moved: the settings of the workers hold credentials",
    "ItemReader": "cannot be moved; read the items in a tool before this state",
    "ItemBatcher": "cannot be moved; make the batches in a tool before this state",
    "ResultWriter": "cannot be moved; write the results in a tool after this state",
    "ToleratedFailureCount": "cannot be moved; see on_error of `for` in docs/pipelines.md",
    "ToleratedFailurePercentage": "cannot be moved; see on_error of `for` in docs/pipelines.md",
}
"""Why a field is not read."""
