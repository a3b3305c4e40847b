"""Draw the chain of a network as SVG: digital stages, energy blocks, and the converters on the crossings."""

import re
from typing import Final

from netlists.picture import ANALOG, DIGITAL, FAINT, SOFT, Picture

from .block_entry import BlockEntry, ConverterEntry
from .bundle import count_devices, format_sizes
from .manifest import AnalogStep, DigitalStep, Manifest

_LETTERS: Final = 34  # of a module's text
# Arguments that a picture can do without, and names of those that it shows.
_LEFT_OUT: Final = re.compile(
    r"(?:, |(?<=\())(?:(?:eps|momentum|start_dim|end_dim|ceil_mode)=[^=,)]*|"
    r"(?:affine|bias|track_running_stats)=True)"
)
_UNNAMED: Final = re.compile(r"(?:in_features|out_features|p)=")
_LINES: Final = 14  # of a digital stage
_WIDTHS: Final = {"digital": 236.0, "analog": 190.0}
_BETWEEN: Final = 84.0
_ROW: Final = 1500.0  # px, after which the chain goes on below
_LINE: Final = 15.0
_LEFT: Final = 24.0


def draw_chain(manifest: Manifest) -> str:
    """Return the text of an SVG file."""
    picture = Picture()
    blocks = {block.name: block for block in manifest.blocks}
    picture.text(_LEFT, 38.0, "A hybrid network: digital stages and energy blocks", size=20.0, bold=True)
    steps = list(manifest.chain)
    heights = [_height(step) for step in steps]
    x, y, tallest = _LEFT, 70.0, 0.0
    rows: list[list[int]] = [[]]
    for k, step in enumerate(steps):
        if rows[-1] and x + _WIDTHS[step.kind] > _ROW:
            rows.append([])
            x = _LEFT
        rows[-1].append(k)
        x += _WIDTHS[step.kind] + _BETWEEN
    for row in rows:
        tallest = max((heights[k] for k in row), default=0.0)
        x = _LEFT
        for k in row:
            _draw_crossing(picture, steps, blocks, k, x, y + tallest / 2)
            x += _BETWEEN
            _draw_step(picture, steps[k], blocks, x, y + (tallest - heights[k]) / 2, heights[k])
            x += _WIDTHS[steps[k].kind]
        y += tallest + 50.0
    _draw_crossing(picture, steps, blocks, len(steps), x, y - 50.0 - tallest / 2)
    return picture.svg()


def _lines(step: DigitalStep) -> list[str]:
    texts = [_shortened(layer.text) for layer in step.layers]
    return texts if len(texts) <= _LINES else [*texts[: _LINES - 2], f"... {len(texts) - _LINES + 1} more", texts[-1]]


def _shortened(text: str) -> str:
    short = _UNNAMED.sub("", _LEFT_OUT.sub("", text)).removesuffix("()").replace("(, ", "(")
    return short if len(short) <= _LETTERS else f"{short[: _LETTERS - 3]}..."


def _height(step: DigitalStep | AnalogStep) -> float:
    return 46.0 + _LINE * len(_lines(step)) if isinstance(step, DigitalStep) else 178.0


def _draw_step(
    picture: Picture, step: DigitalStep | AnalogStep, blocks: dict[str, BlockEntry], x: float, y: float, height: float
) -> None:
    width = _WIDTHS[step.kind]
    if isinstance(step, DigitalStep):
        picture.box(x, y, width, height, fill=DIGITAL)
        picture.text(x + 14.0, y + 24.0, f"digital: {step.module}", size=13.0, bold=True)
        for k, text in enumerate(_lines(step)):
            picture.text(x + 14.0, y + 42.0 + _LINE * k, text, size=11.0)
        return
    block = blocks[step.block]
    picture.box(x, y, width, height, fill=ANALOG)
    picture.text(x + width / 2, y + 26.0, block.name, size=14.0, bold=True, anchor="middle")
    picture.text(x + width / 2, y + 45.0, f"{format_sizes(block)}", size=12.0, anchor="middle")
    _draw_icon(picture, x + width / 2, y + 58.0)
    picture.text(
        x + width / 2, y + height - 30.0, f"{block.drive}-driven, {block.polarity}", size=11.0, anchor="middle"
    )
    tiles = "1 tile" if len(block.tiles) == 1 else f"{len(block.tiles):,} tiles"
    counts = f"{count_devices(block):,} devices, {tiles}"
    picture.text(x + width / 2, y + height - 14.0, counts, size=11.0, anchor="middle")


def _draw_icon(picture: Picture, x: float, y: float) -> None:
    """Draw a small crossbar."""
    for k in range(4):
        picture.line((x - 34.0, y + 12.0 + 14.0 * k), (x + 34.0, y + 12.0 + 14.0 * k))
        picture.line((x - 21.0 + 14.0 * k, y), (x - 21.0 + 14.0 * k, y + 66.0))
    for i in range(4):
        for j in range(4):
            picture.dot(x - 21.0 + 14.0 * j, y + 12.0 + 14.0 * i, 2.6)


def _draw_crossing(
    picture: Picture, steps: list[DigitalStep | AnalogStep], blocks: dict[str, BlockEntry], k: int, x: float, y: float
) -> None:
    """Draw the arrow before step k, with the converters that it passes."""
    picture.arrow((x + 6.0, y), (x + _BETWEEN - 6.0, y))
    before, after = (steps[i] if 0 <= i < len(steps) else None for i in (k - 1, k))
    above = []
    if isinstance(before, AnalogStep):
        above.append(_converter(blocks[before.block].converters.output))
    if isinstance(after, AnalogStep):
        above.append(_converter(blocks[after.block].converters.input))
    for number, text in enumerate(reversed(above)):
        picture.text(x + _BETWEEN / 2, y - 9.0 - 13.0 * number, text, size=11.0, anchor="middle", colour=SOFT)
    if k in {0, len(steps)}:
        picture.text(
            x + _BETWEEN / 2, y + 17.0, "input" if k == 0 else "output", size=11.0, anchor="middle", colour=FAINT
        )


def _converter(converter: ConverterEntry) -> str:
    bits = "ideal" if converter.bits is None else f"{converter.bits} bits"
    return f"{converter.kind.upper()}, {bits}"
