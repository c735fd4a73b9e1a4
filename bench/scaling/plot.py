"""A plain picture of an autoscaler at work: for each policy its workers, and what is to do."""

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT, GAP, LEFT = 640, 110, 34, 36
LINES = (("demand", "#c2410c"), ("busy", "#64748b"), ("workers", "#1d4ed8"))

Sample = tuple[float, int, int, int]
"""Seconds, backlog, busy slots, workers."""


def drawn(series: Mapping[str, Sequence[Sample]], faster: float) -> str:
    """Return the samples as SVG, one panel for each policy, times in those of the real scale."""
    long = max(samples[-1][0] for samples in series.values())
    high = max(max(one[1] + one[2], one[3]) for samples in series.values() for one in samples)
    total = len(series) * (HEIGHT + GAP) + GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH + LEFT + 10} {total}">',
        "<style>text { font: 12px sans-serif }</style>",
        f'<rect width="100%" height="{total}" fill="#fff"/>',
    ]
    for index, (name, samples) in enumerate(series.items()):
        top = GAP / 2 + index * (HEIGHT + GAP)
        parts += _panel(name, samples, top=top, long=long, high=high)
    parts += [
        f'<text x="{LEFT + place * 90}" y="{total - 8}" fill="{colour}">{name}</text>'
        for place, (name, colour) in enumerate(LINES)
    ]
    end = f"{long * faster / 60:.0f} minutes"
    parts.append(f'<text x="{WIDTH + LEFT}" y="{total - 8}" text-anchor="end">{end}</text></svg>')
    return "\n".join(parts) + "\n"


def _panel(
    name: str, samples: Sequence[Sample], *, top: float, long: float, high: int
) -> list[str]:
    bottom = top + HEIGHT
    values = [(at, (waiting + busy, busy, workers)) for at, waiting, busy, workers in samples]
    parts = [
        f'<text x="{LEFT}" y="{top + 2}">{escape(name)}</text>',
        f'<text x="4" y="{top + 12}">{high}</text><text x="4" y="{bottom}">0</text>',
        f'<line x1="{LEFT}" x2="{WIDTH + LEFT}" y1="{bottom}" y2="{bottom}" stroke="#cbd5e1"/>',
    ]
    for index, (_, colour) in enumerate(LINES):
        points = " ".join(
            f"{LEFT + WIDTH * at / long:.1f},{bottom - (HEIGHT - 8) * shown[index] / high:.1f}"
            for at, shown in values
        )
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        )
    return parts
