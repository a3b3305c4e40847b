"""What programming did to the blocks of a bundle, for people: in a terminal, and in the bundle's README."""

from typing import Final

import numpy as np

from ..programming.report import SOURCE_HOPFIELD
from .block_entry import BlockEntry
from .description import programming_report
from .manifest import AccuracyEntry, Manifest

_HOPFIELD: Final = (
    "A hopfield block was trained digitally. Its weight w = (G+ - G-) / g_unit couples two units, and the devices load "
    "each of their nodes with G+ + G-, which the unit's leak makes up for: it is g_unit / a, a the slope of the unit, "
    "less every conductance that meets there. So the circuit has the network's energy, and its equilibrium but for the "
    "clamps, which are as sharp as n V_t / v_unit is small. Where the smallest eigenvalue of that energy's Hessian, "
    "with no unit at a clamp, is above zero, there is one equilibrium only."
)
_SCALE: Final = (
    "g_unit is the one scale of a block, of its leaks and input currents as well: all that the digital side knows of "
    "it is the current that an input of 1 is."
)


def programming_lines(manifest: Manifest) -> list[str]:
    """Return a line a block that was programmed and below it what was done, and what it cost."""
    lines = []
    for block in manifest.blocks:
        if block.programming is not None:
            report = programming_report(block.programming)
            lines += [f"{block.name}, from {_with_article(report.source)}:", *(f"  {text}" for text in report.texts())]
    accuracy = None if manifest.run is None else manifest.run.accuracy
    return lines if accuracy is None else [*lines, accuracy_text(accuracy)]


def accuracy_text(accuracy: AccuracyEntry) -> str:
    """Return what it cost that no leak is active, as a sentence."""
    if accuracy.active is None:
        active = "no value on circuits with active leaks, which may have several equilibria"
    else:
        active = f"{accuracy.active:.4f} on circuits with active leaks"
    return (
        f"test accuracy on {accuracy.images:,} images, in newton: {accuracy.trained:.4f} as trained, {active}, "
        f"{accuracy.passive:.4f} passive"
    )


def programming_section(manifest: Manifest) -> list[str]:
    """Return the README's paragraphs on it, none where no block was programmed."""
    programmed = [block for block in manifest.blocks if block.programming is not None]
    if not programmed:
        return []
    paragraphs = ["## How it was programmed"]
    if any(block.programming.source == SOURCE_HOPFIELD for block in programmed if block.programming):
        paragraphs.append(_HOPFIELD)
    paragraphs.append(_SCALE)
    for block in programmed:
        paragraphs += _block(block)
    if manifest.run is not None and manifest.run.accuracy is not None:
        paragraphs.append(f"What it cost that no leak is active: {accuracy_text(manifest.run.accuracy)}.")
    return paragraphs


def _block(block: BlockEntry) -> list[str]:
    """Return what was done to a block, and an active leak of it."""
    if block.programming is None:
        return []
    report = programming_report(block.programming)
    unit = f"an input of 1 is {block.v_unit_v:g} V, v_unit"
    if block.drive == "current":
        unit = f"an input of 1 is {block.g_unit_s * block.v_unit_v:g} A, g_unit v_unit"
    items = "\n".join(f"- {text}" for text in (*report.texts(), unit))
    return [f"Block `{block.name}`, from {_with_article(report.source)}:", items, *_active_leak(block)]


def _active_leak(block: BlockEntry) -> list[str]:
    """Return where a block's active leaks are, with the largest of them."""
    found = [
        (leak_s, node)
        for layer in block.layers
        for leak_s, node in zip(np.broadcast_to(layer.leak_s, layer.size).tolist(), layer.units.p, strict=True)
        if leak_s < 0
    ]
    if not found:
        return []
    leak_s, node = min(found)
    text = (
        "An active leak pushes its unit away from zero, so it is a controlled source and no resistor: a VCCS between p "
        f"and n, controlled by their own voltage, in `{block.folder}/neurons.inc`; with g_min from each to ground it "
        f"acts as the leak. The largest is `gactive_{node.removesuffix('p')}`, a leak of {leak_s:.6g} S."
    )
    return [text]


def _with_article(source: str) -> str:
    return f"{'an' if source[0] in 'aeiou' else 'a'} {source}"
