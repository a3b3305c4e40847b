"""An SVG picture: boxes, lines, text and resistors, written as text so that the same calls give the same bytes."""

from typing import Final, final
from xml.sax.saxutils import escape

import numpy as np

INK: Final = "#262626"
SOFT: Final = "#555555"
FAINT: Final = "#8a8a8a"
ANALOG: Final = "#fbdcb9"
DIGITAL: Final = "#cfe0f3"
PLAIN: Final = "#f4f4f4"
MARGIN: Final = 24.0
LETTER: Final = 0.57  # mean width of a letter over the size of its type
_MONO: Final = 0.61
_PLAIN_FONT: Final = "Helvetica, Arial, 'DejaVu Sans', sans-serif"
_MONO_FONT: Final = "'DejaVu Sans Mono', Menlo, Consolas, monospace"


@final
class Picture:
    """An SVG drawing under construction; it grows to hold what is drawn. Lengths in px, y downwards."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self.width = 0.0
        self.height = 0.0

    def _reach(self, x: float, y: float) -> None:
        self.width, self.height = max(self.width, x), max(self.height, y)

    def box(
        self, x: float, y: float, width: float, height: float, *, fill: str = "white", stroke: str = INK, dash: str = ""
    ) -> None:
        """Draw a box with round corners."""
        more = f' stroke-dasharray="{dash}"' if dash else ""
        self._parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="5" fill="{fill}" stroke="{stroke}" '
            f'stroke-width="1.2"{more}/>'
        )
        self._reach(x + width, y + height)

    def line(self, *points: tuple[float, float], stroke: str = INK, width: float = 1.2) -> None:
        """Draw a line through points."""
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        self._parts.append(
            f'<polyline points="{path}" fill="none" stroke="{stroke}" stroke-width="{width:g}" '
            'stroke-linejoin="round"/>'
        )
        self._reach(max(x for x, _ in points), max(y for _, y in points))

    def arrow(self, *points: tuple[float, float], width: float = 1.6) -> None:
        """Draw a line through points with a head at its end."""
        self.line(*points, width=width)
        (x0, y0), (x, y) = points[-2:]
        length = max(1e-9, float(np.hypot(x - x0, y - y0)))
        u, v = (x - x0) / length, (y - y0) / length
        head = [(x, y), (x - 9 * u - 4 * v, y - 9 * v + 4 * u), (x - 9 * u + 4 * v, y - 9 * v - 4 * u)]
        path = " ".join(f"{a:g},{b:g}" for a, b in head)
        self._parts.append(f'<polygon points="{path}" fill="{INK}"/>')

    def dot(self, x: float, y: float, radius: float = 4.0) -> None:
        """Draw a node."""
        self._parts.append(f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" fill="{INK}"/>')
        self._reach(x + radius, y + radius)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = 11.0,
        anchor: str = "start",
        bold: bool = False,
        mono: bool = False,
        colour: str = INK,
    ) -> None:
        """Write a line of text on its base line."""
        more = ' font-weight="bold"' if bold else ""
        more += f' font-family="{_MONO_FONT}"' if mono else ""
        self._parts.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" text-anchor="{anchor}" fill="{colour}"{more}>'
            f"{escape(text)}</text>"
        )
        share = {"start": 1.0, "middle": 0.5, "end": 0.0}[anchor]
        self._reach(x + share * (_MONO if mono else LETTER) * size * len(text), y)

    def resistor(self, start: tuple[float, float], end: tuple[float, float], at: float = 0.5) -> None:
        """Draw a resistor on a line, its middle at a share of the line's length."""
        (xa, ya), (xb, yb) = start, end
        length = float(np.hypot(xb - xa, yb - ya))
        u, v = (xb - xa) / length, (yb - ya) / length
        first = at * length - 27.0

        def point(along: float, across: float) -> tuple[float, float]:
            return xa + along * u - across * v, ya + along * v + across * u

        zigzag = [point(first + 4.5 + 9.0 * k, 8.0 if k % 2 else -8.0) for k in range(6)]
        self.line(start, point(first, 0.0), *zigzag, point(first + 54.0, 0.0), end, width=1.5)

    def svg(self) -> str:
        """Return the text of the file."""
        width, height = self.width + MARGIN, self.height + MARGIN
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
            f'viewBox="0 0 {width:g} {height:g}" font-family="{_PLAIN_FONT}">'
        )
        ground = f'<rect width="{width:g}" height="{height:g}" fill="white"/>'
        return "\n".join([head, ground, *self._parts, "</svg>"]) + "\n"
