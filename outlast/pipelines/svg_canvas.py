"""The shapes of a picture as SVG: boxes, texts and arrows, in ASCII and without scripts or fonts."""

import unicodedata
from collections.abc import Sequence
from html import escape

LETTER = 7.0
"""Width of a letter of 12 px. Fonts differ, so boxes have some space left."""

_STYLE = """\
text{font:12px system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;fill:#1f2937}
.name{font-weight:600}.kind{fill:#4b5563}.way{fill:#4b5563;font-size:11px}
rect{stroke:#9ca3af;fill:#f9fafb}.page{stroke:none;fill:#fff}
.agent{fill:#dbeafe;stroke:#3b82f6}.tool{fill:#dcfce7;stroke:#22a55b}.ask{fill:#fef3c7;stroke:#d97706}
.switch{fill:#ede9fe;stroke:#8b5cf6}.raise{fill:#fee2e2;stroke:#dc2626}.group{fill:#fff}
.catch{fill:#fff7f7;stroke:#dc2626;stroke-dasharray:4 3}.mark{fill:#374151;stroke:none}
path{fill:none;stroke:#6b7280;stroke-width:1.3;stroke-linejoin:round}"""

_ARROW = (
    '<marker id="a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0L8 4L0 8z" style="fill:#6b7280;stroke:none"/></marker>'
)

Point = tuple[float, float]


def width_of(text: str) -> float:
    """Return the width of a text; letters of East Asia are twice as wide."""
    return sum(LETTER * (2 if unicodedata.east_asian_width(each) in "WF" else 1) for each in text)


class Canvas:
    """The shapes that were drawn so far."""

    def __init__(self) -> None:
        self._shapes: list[str] = []

    def box(self, at: Point, size: Point, style: str, tip: str, *, round_px: int = 6) -> None:
        """Draw a box, whose tip a browser shows below the mouse."""
        (x, y), (width, height) = at, size
        self._shapes.append(
            f'<rect class="{style}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"'
            f' rx="{round_px}"><title>{escape(tip)}</title></rect>'
        )

    def text(self, at: Point, text: str, style: str, *, anchor: str = "middle") -> None:
        """Write a text, whose baseline is at a point."""
        self._shapes.append(
            f'<text class="{style}" x="{at[0]:g}" y="{at[1]:g}" text-anchor="{anchor}">'
            f"{escape(text)}</text>"
        )

    def arrow(self, points: Sequence[Point]) -> None:
        """Draw a line through points, with an arrow at the last one."""
        steps = "L".join(f"{x:g} {y:g}" for x, y in points)
        self._shapes.append(f'<path d="M{steps}" marker-end="url(#a)"/>')

    def svg(self, width: float, height: float, title: str) -> str:
        """Return the picture as the text of an SVG file, one shape a line."""
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}"'
            f' viewBox="0 0 {width:g} {height:g}" role="img">'
        )
        page = '<rect class="page" width="100%" height="100%"/>'
        name = f"<title>{escape(title)}</title>"
        lines = [head, name, f"<style>{_STYLE}</style>", _ARROW, page, *self._shapes, "</svg>"]
        return ("\n".join(lines) + "\n").encode("ascii", "xmlcharrefreplace").decode()
