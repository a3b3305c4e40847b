"""Draw overview.png, the README's picture: a hybrid network above, one weight and one unit of its circuit below.

Run: python examples/pictures/draw_overview.py
"""

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch, Polygon

DIGITAL, ANALOG, EDGE, NUDGE = "#cfe0f3", "#fbdcb8", "#2b2b2b", "#b02318"
Point = tuple[float, float]


def wire(axes: Axes, *points: Point, color: str = EDGE) -> None:
    """Draw a wire through points."""
    axes.plot(*zip(*points, strict=True), color=color, lw=1.4, solid_capstyle="round", zorder=1)


def arrow(axes: Axes, start: Point, end: Point, color: str = EDGE) -> None:
    """Draw an arrow."""
    axes.annotate(
        "", end, start, arrowprops={"arrowstyle": "-|>", "color": color, "lw": 1.5, "shrinkA": 0, "shrinkB": 0}
    )


def box(axes: Axes, x: float, width: float, label: str, color: str, y: float = 7.0) -> None:
    """Draw a stage of the network."""
    style = "round,pad=0,rounding_size=0.12"
    axes.add_patch(FancyBboxPatch((x, y - 0.55), width, 1.1, boxstyle=style, fc=color, ec=EDGE, lw=1.2))
    axes.text(x + width / 2, y, label, ha="center", va="center", fontsize=9.5)


def resistor(axes: Axes, start: Point, end: Point, label: str, where: float = 0.5) -> None:
    """Draw a zigzag between two nodes, its label beside it."""
    a, b = np.array(start), np.array(end)
    along = (b - a) / np.linalg.norm(b - a)
    across = np.array([-along[1], along[0]])
    middle = a + where * (b - a)
    zigzag = [middle + (k - 3.5) * 0.11 * along + s * 0.12 * across for k, s in enumerate((0, 1, -1, 1, -1, 1, -1, 0))]
    wire(axes, start, *((float(p[0]), float(p[1])) for p in zigzag), end)
    x, y = middle + 0.3 * across
    axes.text(x, y, label, ha="center", va="center", fontsize=9)


def diode(axes: Axes, x: float, low: float, high: float) -> None:
    """Draw a diode that conducts upwards."""
    y = (low + high) / 2
    wire(axes, (x, low), (x, high))
    axes.add_patch(Polygon([(x - 0.13, y - 0.12), (x + 0.13, y - 0.12), (x, y + 0.12)], fc="white", ec=EDGE, zorder=2))
    wire(axes, (x - 0.14, y + 0.13), (x + 0.14, y + 0.13))


def draw_network(axes: Axes) -> None:
    """Draw the chain of stages with the two directions."""
    axes.text(0.3, 8.45, "A hybrid network is an ordinary torch model", fontsize=11.5, weight="bold")
    stages = (
        (0.3, 1.1, "image\n$s^0$", "white"),
        (2.0, 1.7, "digital stage\n$x^1=F^1(s^0)$", DIGITAL),
        (4.5, 2.2, "energy block $E^1$\n(SPICE circuit)", ANALOG),
        (7.5, 1.7, "digital stage\n$x^2=F^2(s^1)$", DIGITAL),
        (10.0, 2.2, "energy block $E^2$\n(SPICE circuit)", ANALOG),
        (13.0, 1.5, "readout,\nloss", DIGITAL),
    )
    for x, width, label, color in stages:
        box(axes, x, width, label, color)
    for (x, width, *_), (following, *_), label in zip(
        stages, stages[1:], ("", "DAC", "ADC", "DAC", "ADC"), strict=False
    ):
        arrow(axes, (x + width, 7.15), (following, 7.15))
        if label:  # the image needs no gradient
            arrow(axes, (following, 6.85), (x + width, 6.85), NUDGE)
        axes.text((x + width + following) / 2, 7.35, label, ha="center", fontsize=7.5)
    axes.text(0.3, 7.85, "forward: each circuit settles (free phase), the digital stages compute", fontsize=9.5)
    backward = "backward: backprop in the digital stages, two nudged relaxations ($\\pm\\beta$) in each circuit"
    axes.text(0.3, 5.9, backward, fontsize=9.5, color=NUDGE)


def draw_circuit(axes: Axes) -> None:
    """Draw a differential weight, and a unit with its clamps and its nudge."""
    axes.text(0.3, 4.75, "One weight: four devices", fontsize=11.5, weight="bold")
    left, right, p, n = 1.6, 5.2, 3.6, 1.6
    for (start, end), label, where in (
        (((left, p), (right, p)), "$G^+$", 0.5),
        (((left, n), (right, n)), "$G^+$", 0.5),
        (((left, p), (right, n)), "$G^-$", 0.28),
        (((left, n), (right, p)), "$G^-$", 0.28),
    ):
        resistor(axes, start, end, label, where)
    for (x, y), label, up in (
        ((left, p), "$x_p=+v_{unit}\\,x$", 0.25),
        ((left, n), "$x_n=-v_{unit}\\,x$", -0.42),
        ((right, p), "$v_p$", 0.25),
        ((right, n), "$v_n$", -0.42),
    ):
        axes.add_patch(Circle((x, y), 0.08, fc=EDGE, zorder=3))
        axes.text(x, y + up, label, ha="center", fontsize=9)
    axes.text(0.3, 0.45, "weight $w=G^+-G^-$,   state $s=(v_p-v_n)/2v_{unit}$", fontsize=9.5)

    axes.text(7.3, 4.75, "One unit: clamps and nudge", fontsize=11.5, weight="bold")
    x, y = 9.0, 2.6
    wire(axes, (7.6, y), (13.2, y))
    axes.text(7.6, y + 0.15, "devices", fontsize=9)
    axes.add_patch(Circle((x, y), 0.08, fc=EDGE, zorder=3))
    diode(axes, x, y, 3.9)
    diode(axes, x, 1.3, y)
    for rail, label in ((3.9, "upper rail"), (1.3, "lower rail")):
        wire(axes, (x - 0.35, rail), (x + 0.35, rail))
        axes.text(x + 0.5, rail - 0.1, label, fontsize=9)
    source = 12.0
    wire(axes, (source, y), (source, 2.25), color=NUDGE)
    axes.add_patch(Circle((source, 1.95), 0.3, fc="white", ec=NUDGE, lw=1.4))
    arrow(axes, (source, 2.15), (source, 1.72), NUDGE)
    wire(axes, (source, 1.65), (source, 1.3), color=NUDGE)
    wire(axes, (source - 0.2, 1.3), (source + 0.2, 1.3), color=NUDGE)
    axes.text(
        source + 0.45,
        1.85,
        "nudge\n$g_{unit}v_{unit}\\beta\\,\\partial L/\\partial s$",
        color=NUDGE,
        fontsize=9.5,
        va="center",
    )
    axes.text(13.3, y - 0.1, "$v_p$", fontsize=9.5)
    axes.text(
        7.3, 0.45, "gradient: $\\Delta\\,\\frac{1}{2}(v_a-v_b)^2/2\\beta$, mean over a pair of devices", fontsize=9.5
    )


def main() -> None:
    """Draw and write the picture."""
    mpl.rcParams["font.family"] = "DejaVu Sans"
    figure = Figure(figsize=(9.6, 5.8), dpi=130)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set(xlim=(0, 14.8), ylim=(0.1, 8.9))
    axes.axis("off")
    draw_network(axes)
    draw_circuit(axes)
    figure.savefig(Path(__file__).with_name("overview.png"), metadata={"Software": None})


if __name__ == "__main__":
    main()
