"""Lay out the clamps of an energy block: a row of diodes a limit, each to the rail that the limit asks for."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np

from .arrays import Indices
from .clamp import Clamp
from .crossbar import UnitNodes
from .elements import Diodes
from .layout import Layout


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Row:
    """Diodes between equal nodes of consecutive units and one rail.

    Args:
        names: of the diodes.
        nodes: [n] of the units.
        rail: node of the rail.
        rail_v: V — its voltage.
        is_upper: True where they conduct from the nodes to the rail.
        clamp: that they belong to.
    """

    names: tuple[str, ...]
    nodes: Indices
    rail: int
    rail_v: float
    is_upper: bool
    clamp: Clamp


def lay_clamps(layout: Layout, layers: tuple[UnitNodes, ...]) -> tuple[Diodes, list[tuple[int, float]]]:
    """Lay out the clamp diodes and return them with the rails as (node, voltage)."""
    rows = [row for index, nodes in enumerate(layers, start=1) for row in _rows(layout, index, nodes)]
    if not rows:
        return Diodes(), []
    models = tuple(dict.fromkeys(row.clamp.diode for row in rows))
    rails = [np.full(len(row.nodes), row.rail) for row in rows]
    diodes = Diodes(
        names=tuple(name for row in rows for name in row.names),
        anode=np.concatenate([row.nodes if row.is_upper else rail for row, rail in zip(rows, rails, strict=True)]),
        cathode=np.concatenate([rail if row.is_upper else row.nodes for row, rail in zip(rows, rails, strict=True)]),
        model=np.repeat([models.index(row.clamp.diode) for row in rows], [len(row.nodes) for row in rows]),
        models=models,
    )
    return diodes, [(row.rail, row.rail_v) for row in rows]


def _rows(layout: Layout, index: int, nodes: UnitNodes) -> Iterator[_Row]:
    """Return the rows of a layer, counted from 1: those of p nodes, upper before lower, then those of n nodes."""
    block = layout.block
    layer = block.layers[index - 1]
    for run, (units, clamp) in enumerate(layer.clamp_runs):
        several = isinstance(layer.clamp, tuple)
        name = f"rail{index}_{run}" if several else f"rail{index}"
        label = f"layer {index} units {units.start} to {units.stop - 1}" if several else f"layer {index}"
        low_v, high_v = clamp.rails_v(block.temperature_k, block.k_over_q_v_per_k)
        # The mirror image of the p side's upper rail is the n side's lower rail.
        high = None if high_v is None else layout.units([f"{name}_h"], [f"{label} rail, upper p, lower n"])
        low = None if low_v is None else layout.units([f"{name}_l"], [f"{label} rail, lower p, upper n"])
        for sign, column in (("p", nodes.p), ("n", nodes.n)):
            if column is None:
                continue
            upper, lower = ((high, high_v), (low, low_v)) if sign == "p" else ((low, low_v), (high, high_v))
            side = sign if len(layout.signs) > 1 else ""
            for letter, (rail, rail_v) in (("u", upper), ("d", lower)):
                at = None if rail is None else rail.p if sign == "p" else rail.n
                if at is None or rail_v is None:
                    continue
                yield _Row(
                    names=tuple(f"clamp{index}_{j}{side}_{letter}" for j in range(units.start, units.stop)),
                    nodes=column[units],
                    rail=int(at[0]),
                    rail_v=rail_v if sign == "p" else -rail_v,
                    is_upper=letter == "u",
                    clamp=clamp,
                )
