"""A plan as a picture: what a month costs on each architecture, by the runs at a time."""

import math
from collections.abc import Iterator, Sequence
from html import escape

from outlast_workers.plan.planning import Plan
from outlast_workers.plan.workload import ArchitectureName

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 640, 300, 70, 30, 60

COLOURS: dict[ArchitectureName, str] = {
    "serverless": "#c2410c",
    "managed": "#1d4ed8",
    "kubernetes": "#15803d",
    "hybrid": "#7e22ce",
}


def picture(made: Plan) -> str:
    """Return the SVG of a plan. Both axes are logarithmic."""
    points = [point for curve in made.curves.values() for point in curve]
    loads = _Axis([load for load, _ in points], LEFT, LEFT + WIDTH)
    dollars = _Axis([usd for _, usd in points], TOP + HEIGHT, TOP)
    total = TOP + HEIGHT + BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 20} {total}">',
        "<style>text { font: 12px sans-serif }</style>",
        f'<rect width="100%" height="{total}" fill="#fff"/>',
        f'<text x="{LEFT}" y="16">USD a month, by runs at a time</text>',
        *_grid(loads, dollars),
        *_lines(made, loads, dollars),
    ]
    for point in made.break_evens:
        x, y = loads.place(point.concurrent_runs), dollars.place(point.usd_per_month)
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="none" stroke="#000"/>')
    return "\n".join([*parts, "</svg>"]) + "\n"


class _Axis:
    """A logarithmic axis from the smallest to the largest value."""

    def __init__(self, values: Sequence[float], begin: float, end: float) -> None:
        self.low, self.high = max(min(values), 1e-6), max(values)
        self._begin, self._length = begin, end - begin

    def place(self, value: float) -> float:
        """Return where a value is."""
        span = math.log(self.high / self.low) or 1.0
        return self._begin + self._length * math.log(max(value, self.low) / self.low) / span

    def marks(self) -> Iterator[float]:
        """Yield round values within the axis."""
        for exponent in range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))):
            for digit in (1, 2, 5):
                value = digit * 10.0**exponent
                if self.low <= value <= self.high:
                    yield value


def _grid(loads: _Axis, dollars: _Axis) -> Iterator[str]:
    for value in dollars.marks():
        y = dollars.place(value)
        yield f'<line x1="{LEFT}" x2="{LEFT + WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e2e8f0"/>'
        yield f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:,.0f}</text>'
    for value in loads.marks():
        x = loads.place(value)
        yield f'<text x="{x:.1f}" y="{TOP + HEIGHT + 18}" text-anchor="middle">{value:g}</text>'


def _lines(made: Plan, loads: _Axis, dollars: _Axis) -> Iterator[str]:
    for index, (name, curve) in enumerate(made.curves.items()):
        points = " ".join(
            f"{loads.place(load):.1f},{dollars.place(usd):.1f}" for load, usd in curve
        )
        colour = COLOURS[name]
        yield f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
        x, y = LEFT + index * 110, TOP + HEIGHT + 44
        yield f'<text x="{x}" y="{y}" fill="{colour}">{escape(name)}</text>'
