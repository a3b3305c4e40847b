"""Draw an energy block's circuit as SVG: its drivers, the tiles of its crossbars, the rows of clamps and leaks.

```
inputs --- tiles of w1          a crossbar's rows enter from the left,
             |   |              its columns leave below, through the clamps and leaks of the layer,
           clamps, leaks        and turn right to be the rows of the next crossbar
             `------- tiles of w2
                        |   |
```

More than MOST_SHOWN tiles each way are abbreviated.
"""

from collections.abc import Sequence
from typing import Final, final

from circuits.arrays import Floats
from circuits.block_circuit import BlockCircuit
from circuits.clamp import Clamp
from circuits.crossbar import Crossbar, UnitNodes
from circuits.elements import Resistors
from circuits.energy_block import Drive, Polarity
from circuits.tiles import Tile, TileSize

from .netlist import Netlist
from .picture import ANALOG, DIGITAL, FAINT, MARGIN, PLAIN, SOFT, Picture

MOST_SHOWN: Final = 10  # tiles each way
_CELL: Final = (112.0, 62.0)
_GAP: Final = 12.0
_STRIP: Final = 36.0
_BIAS: Final = 36.0
_LABELS: Final = 124.0  # room for the names of the rows
_DRIVER: Final = 112.0
_RAILS: Final = 156.0
_INSET: Final = (520.0, 262.0)


def draw_block(block_circuit: BlockCircuit, netlist: Netlist, tiles: Sequence[Tile], size: TileSize) -> str:
    """Return the drawing of a block's circuit.

    Args:
        block_circuit: the block.
        netlist: its circuit with its conductances, for the names and values of devices.
        tiles: of its crossbars.
        size: the largest tile.

    Returns:
        the text of an SVG file.
    """
    return _BlockDrawing(block_circuit, netlist, tiles, size).draw()


def shown(n: int) -> list[int | None]:
    """Return which of n tiles are drawn, None for those left out."""
    return list(range(n)) if n <= MOST_SHOWN else [*range(MOST_SHOWN - 2), None, n - 1]


@final
class _BlockDrawing:
    """The state of `draw_block`: where the picture has got to."""

    def __init__(self, built: BlockCircuit, netlist: Netlist, tiles: Sequence[Tile], size: TileSize) -> None:
        self.built, self.netlist, self.size = built, netlist, size
        self.picture = Picture()
        self.tiles: dict[str, dict[tuple[int, int], Tile]] = {crossbar.name: {} for crossbar in built.crossbars}
        for tile in tiles:
            self.tiles[tile.crossbar][tile.index] = tile
        self.wires = 2 if built.block.polarity is Polarity.DIFFERENTIAL else 1

    def draw(self) -> str:
        """Draw the stages along the diagonal, then what is written beside them."""
        y = self._heading()
        x = MARGIN + (_DRIVER + _LABELS if self.built.inputs is not None or self._biases() else 30.0)
        x_inset = 0.0
        for layer, nodes in enumerate(self.built.layers):
            right, bottom = self._stage(layer, nodes, x, y)
            x_inset = x_inset or right + 50.0
            if layer + 1 < len(self.built.layers):
                next_y = max(bottom + 44.0, _INSET[1] + MARGIN + 40.0)
                x = self._turn(layer, x, right, bottom, next_y)
                y = next_y
        if self.built.crossbars:
            self._inset(x_inset, MARGIN, self.built.crossbars[0])
        return self.picture.svg()

    def _biases(self) -> bool:
        return any(layer.bias for layer in self.built.block.layers)

    def _heading(self) -> float:
        block, circuit = self.built.block, self.netlist.circuit
        sizes = [layer.size for layer in block.layers]
        if self.built.inputs is not None:
            sizes.insert(0, block.n_inputs)
        n_tiles = sum(map(len, self.tiles.values()))
        self.picture.text(MARGIN, 38.0, f"{block.name}: {'-'.join(map(str, sizes))}", size=20.0, bold=True)
        facts = [
            f"{block.drive.value}-driven, {block.polarity.value}",
            f"{circuit.n_nodes - 1:,} nodes, {_resistors_text(circuit.resistors)}, {len(circuit.diodes):,} diodes"
            + (f", {len(circuit.amplifiers):,} amplifiers" if len(circuit.amplifiers) else ""),
            f"{n_tiles:,} tiles of {self.size} wires at most",
            f"v_unit {block.v_unit_v:g} V, g_unit {block.g_unit_s:g} S, {block.temperature_k:g} K",
        ]
        for k, fact in enumerate(facts):
            self.picture.text(MARGIN, 60.0 + 16.0 * k, fact, size=12.0, colour=SOFT)
        return 170.0

    def _node(self, units: UnitNodes, unit: int) -> str:
        """Return the names of a unit's nodes."""
        names = [self.netlist.nodes[units.p[unit]]] + ([] if units.n is None else [self.netlist.nodes[units.n[unit]]])
        return " ".join(names)

    def _crossbars_of(self, layer: int) -> tuple[Crossbar | None, Crossbar | None]:
        """Return the crossbar of a layer's bias and that from the units before it."""
        nodes = self.built.layers[layer]
        own = [crossbar for crossbar in self.built.crossbars if crossbar.columns is nodes]
        bias = next((c for c in own if c.rows is self.built.bias), None)
        return bias, next((c for c in own if c.rows is not self.built.bias), None)

    def _grid(self, crossbar: Crossbar) -> tuple[list[int | None], list[int | None]]:
        indices = list(self.tiles[crossbar.name])
        return shown(1 + max(i for i, _ in indices)), shown(1 + max(j for _, j in indices))

    def _stage(self, layer: int, nodes: UnitNodes, x: float, y: float) -> tuple[float, float]:
        """Draw a layer with the crossbars that lead to it; return its right and lower edge."""
        bias, weights = self._crossbars_of(layer)
        columns: list[int | None] = next((self._grid(c)[1] for c in (weights, bias) if c is not None), [0])
        width = len(columns) * (_CELL[0] + _GAP) - _GAP
        n_rows = len(self._grid(weights)[0]) if weights is not None else 0
        strips = self._strips(layer)
        bottom = y + (_BIAS + _GAP if bias is not None else 0.0) + n_rows * (_CELL[1] + _GAP)
        bottom += len(strips) * (_STRIP + _GAP)
        for k, column in enumerate(columns):
            centre = x + k * (_CELL[0] + _GAP) + _CELL[0] / 2
            if column is None:
                continue
            for wire in range(self.wires):
                at = centre + 14.0 * (wire - (self.wires - 1) / 2)
                self.picture.line((at, y - 8.0), (at, bottom + 8.0), stroke=FAINT)
        if bias is not None:
            self._driver("bias", _count(self.wires), x, y, _BIAS)
            self._row_wires(x, width, y + _BIAS / 2)
            self._tile_row(bias, 0, columns, x, y, _BIAS)
            y += _BIAS + _GAP
        if weights is not None:
            y = self._weights(weights, layer, columns, x, y, width)
        self._column_names(weights or bias, nodes, columns, x, bottom + 22.0)
        for kind, name, text in strips:
            self.picture.box(x, y, width, _STRIP, fill=PLAIN)
            self.picture.text(x + width / 2, y + 15.0, name, bold=True, anchor="middle")
            self.picture.text(x + width / 2, y + 29.0, text, size=10.0, anchor="middle")
            if kind == "clamps":
                self._rails(layer, x + width, y)
            if kind == "nudge":
                self.picture.arrow((x + width, y + _STRIP / 2), (x + width + 44.0, y + _STRIP / 2))
                self.picture.text(x + width + 50.0, y + _STRIP / 2 + 4.0, "ADC")
            y += _STRIP + _GAP
        right = x + width + (_RAILS if self.built.block.layers[layer].is_clamped else 0.0)
        return right, bottom + 36.0

    def _weights(
        self, crossbar: Crossbar, layer: int, columns: Sequence[int | None], x: float, y: float, width: float
    ) -> float:
        """Draw the tiles of a crossbar, row by row; return where they end."""
        rows = self._grid(crossbar)[0]
        height = len(rows) * (_CELL[1] + _GAP) - _GAP
        if layer == 0:
            sources = self.wires * len(crossbar.rows)
            self._driver("inputs", _count(sources), x, y, height)
        for row in rows:
            if row is None:
                self.picture.text(x - 22.0, y + _CELL[1] / 2 + 4.0, "...", anchor="end", size=14.0)
            else:
                self._row_wires(x, width, y + _CELL[1] / 2)
                self._row_names(crossbar, row, x, y)
            self._tile_row(crossbar, row, columns, x, y, _CELL[1])
            y += _CELL[1] + _GAP
        return y

    def _row_wires(self, x: float, width: float, y: float) -> None:
        for wire in range(self.wires):
            at = y + 10.0 * (wire - (self.wires - 1) / 2)
            self.picture.line((x - _LABELS, at), (x + width + 6.0, at), stroke=FAINT)

    def _row_names(self, crossbar: Crossbar, row: int, x: float, y: float) -> None:
        """Name the first and the last unit of a row of tiles, above and below its wires."""
        units = next(tile.row_units for (i, _), tile in self.tiles[crossbar.name].items() if i == row)
        middle = y + _CELL[1] / 2
        self.picture.text(x - _LABELS + 8.0, middle - 11.0, self._node(crossbar.rows, units.start), size=9.0, mono=True)
        if units.stop - units.start > 1:
            last = self._node(crossbar.rows, units.stop - 1)
            self.picture.text(x - _LABELS + 8.0, middle + 19.0, f"... {last}", size=9.0, mono=True)

    def _column_names(
        self, crossbar: Crossbar | None, nodes: UnitNodes, columns: Sequence[int | None], x: float, y: float
    ) -> None:
        """Name the first and the last unit of each column of tiles, below it."""
        for k, column in enumerate(columns):
            centre = x + k * (_CELL[0] + _GAP) + _CELL[0] / 2
            if column is None:
                self.picture.text(centre, y, "...", anchor="middle", size=14.0)
                continue
            units = slice(0, len(nodes))
            if crossbar is not None:
                units = next(t.column_units for (_, j), t in self.tiles[crossbar.name].items() if j == column)
            names = [self._node(nodes, units.start)]
            if units.stop - units.start > 1:
                names.append(f"... {self._node(nodes, units.stop - 1)}")
            for line, name in enumerate(names):
                self.picture.text(centre, y + 12.0 * line, name, size=9.0, anchor="middle", mono=True)

    def _tile_row(
        self, crossbar: Crossbar, row: int | None, columns: Sequence[int | None], x: float, y: float, height: float
    ) -> None:
        for k, column in enumerate(columns):
            left = x + k * (_CELL[0] + _GAP)
            tile = None if row is None or column is None else self.tiles[crossbar.name].get((row, column))
            if tile is None:
                abbreviated = row is None or column is None
                self.picture.box(left, y, _CELL[0], height, fill="white", stroke=FAINT, dash="4 3")
                self.picture.text(
                    left + _CELL[0] / 2,
                    y + height / 2 + 4.0,
                    "..." if abbreviated else "no device",
                    size=11.0,
                    anchor="middle",
                    colour=FAINT,
                )
                continue
            self.picture.box(left, y, _CELL[0], height, fill=ANALOG)
            use = f"{len(tile.resistors):,} devices"
            wires = f"{tile.n_rows} x {tile.n_columns} wires"
            middle = left + _CELL[0] / 2
            if height < _CELL[1]:
                self.picture.text(middle, y + 15.0, tile.name, bold=True, anchor="middle")
                self.picture.text(middle, y + 29.0, use, size=10.0, anchor="middle")
                continue
            self.picture.text(middle, y + 21.0, tile.name, bold=True, anchor="middle")
            self.picture.text(middle, y + 37.0, wires, size=10.0, anchor="middle")
            self.picture.text(middle, y + 51.0, use, size=10.0, anchor="middle")

    def _driver(self, name: str, what: str, x: float, y: float, height: float) -> None:
        left = x - _LABELS - _DRIVER
        self.picture.box(left, y, _DRIVER, height, fill=DIGITAL)
        middle = y + height / 2
        self.picture.text(left + _DRIVER / 2, middle - 2.0, name, bold=True, anchor="middle")
        self.picture.text(left + _DRIVER / 2, middle + 12.0, what, size=10.0, anchor="middle")

    def _strips(self, layer: int) -> list[tuple[str, str, str]]:
        """Return kind, name and text of the rows below a layer's crossbars."""
        block, units = self.built.block, self.wires * self.built.block.layers[layer].size
        section, number = block.layers[layer], layer + 1
        strips = []
        if layer == 0 and block.drive is Drive.CURRENT:
            strips.append(("inputs", "inputs", f"{units:,} current sources"))
        if section.is_clamped:
            per_unit = sum((run.stop - run.start) * len(clamp.limits_v) for run, clamp in section.clamp_runs)
            strips.append(("clamps", f"clamps{number}", f"{self.wires * per_unit:,} diodes"))
        if len(section.leaks_s):
            strips.append(("leaks", f"leaks{number}", f"{units:,} x {_leaks_text(section.leaks_s)}"))
        if section.amplification is not None:
            strips.append(("amplifiers", f"amplifiers{number}", f"{units:,} of gain {section.amplification:g}"))
        if layer in {k % len(block.layers) for k in block.output_layers}:
            strips.append(("nudge", f"nudge{number}", f"{units:,} current sources"))
        return strips

    def _rails(self, layer: int, x: float, y: float) -> None:
        """Draw the rails beside a row of clamps."""
        block = self.built.block
        runs = block.layers[layer].clamp_runs
        if not runs:
            return
        found = [clamp.rails_v(block.temperature_k, block.k_over_q_v_per_k) for _, clamp in runs]
        rails = [f"{rail_v:+.4g}" for low_v, high_v in found for rail_v in (high_v, low_v) if rail_v is not None]
        for at in (y + 12.0, y + 24.0):
            self.picture.line((x, at), (x + 18.0, at), stroke=FAINT)
        self.picture.box(x + 18.0, y, _RAILS - 18.0, _STRIP, fill=DIGITAL)
        middle = x + 18.0 + (_RAILS - 18.0) / 2
        named = (
            f"rail{'' if len(rails) == 1 else 's'} {', '.join(rails)} V" if len(rails) < 3 else f"{len(rails)} rails"
        )
        self.picture.text(middle, y + 15.0, named, bold=True, anchor="middle", size=10.0)
        held = "; ".join(_limits_text(clamp) for _, clamp in runs)
        self.picture.text(middle, y + 29.0, f"hold {held} V", size=10.0, anchor="middle")

    def _turn(self, layer: int, x: float, right: float, bottom: float, next_y: float) -> float:
        """Lead the wires of a layer to the right, as rows of the next crossbar; return where that begins."""
        clamped = self.built.block.layers[layer].is_clamped
        width = right - x - (_RAILS if clamped else 0.0)
        next_x = max(x + width + 40.0, x + width / 2 + _LABELS + 24.0)
        bias, weights = self._crossbars_of(layer + 1)
        if weights is None:
            return next_x
        if bias is not None:  # its driver stands left of the names of the rows
            next_x = max(next_x, x + width / 2 + _LABELS + _DRIVER + 24.0)
        rows = self._grid(weights)[0]
        start = next_y + (_BIAS + _GAP if bias is not None else 0.0)
        ends = [start + k * (_CELL[1] + _GAP) + _CELL[1] / 2 for k, row in enumerate(rows) if row is not None]
        centre = x + width / 2
        self.picture.line((x + 20.0, bottom + 4.0), (x + width - 20.0, bottom + 4.0), width=3.0)
        self.picture.line((centre, bottom + 4.0), (centre, ends[-1]), width=3.0)
        for end in ends:
            self.picture.line((centre, end), (next_x - _LABELS + 1.0, end), width=3.0)
        nets = self.wires * self.built.block.layers[layer].size
        self.picture.text(centre + 8.0, bottom + 22.0, f"layer {layer + 1}: {nets} nets", size=11.0)
        return next_x

    def _inset(self, x: float, y: float, crossbar: Crossbar) -> None:
        """Draw the devices of one weight."""
        width, height = _INSET
        picture, names = self.picture, self.netlist.resistors
        picture.box(x, y, width, height, fill="white", stroke=FAINT)
        picture.text(x + 16.0, y + 24.0, f"one weight of {crossbar.name}: row 0, column 0", size=12.0, bold=True)
        conductance_s = self.netlist.circuit.resistors.conductance_s
        # The first pair of a convolution may be another one than unit 0 with unit 0.
        at = (0,) * (crossbar.plus.ndim - 1)
        devices = [int(side[at]) for group in (crossbar.plus, crossbar.minus) if group is not None for side in group]
        row, column = (int(units[at]) for units in crossbar.wiring.pairs())
        left, right, upper, lower = x + 70.0, x + width - 70.0, y + 78.0, y + height - 66.0
        if crossbar.rows.n is None or crossbar.columns.n is None:
            ends = [((left, upper + 40.0), (right, upper + 40.0), 0.5)]
            nodes = [((left, upper + 40.0), crossbar.rows.p[row]), ((right, upper + 40.0), crossbar.columns.p[column])]
        else:
            ends = [
                ((left, upper), (right, upper), 0.5),
                ((left, lower), (right, lower), 0.5),
                ((left, upper), (right, lower), 0.26),
                ((left, lower), (right, upper), 0.26),
            ]
            nodes = [
                ((left, upper), crossbar.rows.p[row]),
                ((left, lower), crossbar.rows.n[row]),
                ((right, upper), crossbar.columns.p[column]),
                ((right, lower), crossbar.columns.n[column]),
            ]
        # The diagonals' names stand where these are far apart: the one that ends above, above.
        middle = (upper + lower) / 2
        places = [
            ((left + right) / 2, upper - 16.0, "middle"),
            ((left + right) / 2, lower + 24.0, "middle"),
            (right + 58.0, middle + 18.0, "end"),
            (right + 58.0, middle - 8.0, "end"),
        ]
        if len(devices) == 1:
            places[0] = ((left + right) / 2, upper + 24.0, "middle")
        for device, (start, end, share), (at_x, at_y, anchor) in zip(devices, ends, places, strict=False):
            picture.resistor(start, end, share)
            picture.text(
                at_x, at_y, f"{names[device]} {conductance_s[device]:.3g} S", size=9.5, anchor=anchor, mono=True
            )
        for (at_x, at_y), node in nodes:
            picture.dot(at_x, at_y)
            on_left = at_x == left
            picture.text(
                at_x + (-9.0 if on_left else 9.0),
                at_y + 4.0,
                self.netlist.nodes[int(node)],
                size=10.0,
                mono=True,
                anchor="end" if on_left else "start",
            )
        formula = "w = G+ - G-, each twice: p-p and n-n, p-n and n-p" if len(devices) > 1 else "w = G"
        if devices[0] in self.netlist.circuit.resistors.cubic:
            k3 = self.netlist.circuit.resistors.k3_per_v2[devices[0]]
            formula += f"; I = G (V + k3 V^3), k3 = {k3:.3g} /V^2"
        picture.text(x + 16.0, y + height - 16.0, formula, size=11.0, colour=SOFT)


def _count(sources: int) -> str:
    return f"{sources:,} source{'' if sources == 1 else 's'}"


def _resistors_text(resistors: Resistors) -> str:
    """Return how many resistors there are, and how many of them are cubic."""
    cubic = f" ({len(resistors.cubic):,} cubic)" if len(resistors.cubic) else ""
    return f"{len(resistors):,} resistors{cubic}"


def _limits_text(clamp: Clamp) -> str:
    """Return the limits of a clamp, in V."""
    if clamp.low_v is None:
        return f"below {clamp.high_v:g}"
    return f"above {clamp.low_v:g}" if clamp.high_v is None else f"{clamp.low_v:g} to {clamp.high_v:g}"


def _leaks_text(leaks_s: Floats) -> str:
    """Return the leaks of a layer's units, and how many are active."""
    low, high, active = leaks_s.min(), leaks_s.max(), int((leaks_s < 0).sum())
    values = f"{low:g} S" if low == high else f"{low:.3g} to {high:.3g} S"
    return f"{values}, {active:,} active units" if active else values
