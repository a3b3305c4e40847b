"""The report of a chip: for a terminal, for programs, and whether its powers balance."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, final

from rich.console import Group
from rich.table import Table

from .parts import PARTS, TITLES, EnergyParts
from .prices import CircuitPrice, Energies, TilePrice, sum_energies
from .settings import ChipSettings

BALANCE_LIMIT: Final = 1e-9  # of |delivered - dissipated| / delivered at every equilibrium
# The three networks that are compared, with what they are called.
CHIP, TANH, RELAXED = "chip", "tanh layers", "relaxed digitally"
_COMPARED, _NUDGES = "  in training", ("  first nudge", "  second nudge")
_PREFIXES: Final = ((1e-3, "m"), (1e-6, "u"), (1e-9, "n"), (1e-12, "p"), (1e-15, "f"))


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ChipReport:
    """What a chip costs.

    Args:
        target: the run or bundle.
        settings: of the chip.
        tiles: in the order of the network, the readout last.
        io_j: J — reading one image of a byte a value from DRAM, into the global buffer and out of it.
        batch_size: samples a training step; None where training was not priced.
        notes: sentences on what was assumed or left out.
    """

    target: Path
    settings: ChipSettings
    tiles: tuple[TilePrice, ...]
    io_j: float
    batch_size: int | None
    notes: tuple[str, ...]

    @property
    def circuits(self) -> tuple[tuple[str, CircuitPrice], ...]:
        """The tiles that have a circuit, with their names."""
        return tuple((tile.name, tile.circuit) for tile in self.tiles if tile.circuit is not None)

    @property
    def totals(self) -> dict[str, Energies]:
        """Energies of the chip and, where it has circuits, of the two networks without; images are read in each."""
        read = Energies(inference=EnergyParts(io=self.io_j), training=EnergyParts(io=self.io_j))
        return {name: sum_energies([*tiles, _like(read, tiles)]) for name, tiles in self._tiles().items()}

    @property
    def blocks_alone(self) -> dict[str, Energies]:
        """The same without what all three share: digital stages, readout, reading of images."""
        shared = sum_energies([tile.shared for tile in self.tiles])
        return {name: sum_energies(tiles) - shared for name, tiles in self._tiles().items()}

    def _tiles(self) -> dict[str, list[Energies]]:
        """Return the energies of every tile of each network."""
        kinds = {CHIP: [tile.energies for tile in self.tiles]}
        if self.circuits:
            kinds[TANH] = [tile.tanh for tile in self.tiles]
            kinds[RELAXED] = [tile.relaxed for tile in self.tiles]
        return kinds

    @property
    def balance_error(self) -> float:
        """Largest relative difference of power delivered and dissipated; 0 without a circuit."""
        return max((circuit.balance_error for _, circuit in self.circuits), default=0.0)

    @property
    def passed(self) -> bool:
        """Whether power delivered is power dissipated."""
        return self.balance_error <= BALANCE_LIMIT

    def sentences(self) -> tuple[str, ...]:
        """Return what was assumed, in sentences."""
        ideal = any(bank.is_assumed for _, c in self.circuits for bank in c.converters.banks if bank.channels)
        settings = self.settings
        inference, training = settings.arithmetic.value, settings.training_arithmetic.value
        said = [f"digital arithmetic: {inference} in inference, {training} in training; samples pass one by one"]
        if ideal:
            said.append(f"converters that the network takes for ideal have {settings.bits} bits here")
        if self.circuits:
            said.append(
                f"settling and power are those of images held out, {settings.samples} of them; sources and drivers are "
                "ideal, a circuit draws nothing while it is off, and turns of DACs cost no time"
            )
            said.append(
                'tanh layers: another network, as gradient = "backprop" trains it; relaxed digitally: the block\'s own '
                "equations, swept until the ADC could not tell"
            )
        else:
            said.append("no circuit in this network: `tellegen compile` makes circuits of hopfield stages")
        return (*said, *self.notes)

    def to_json(self) -> dict[str, Any]:
        """Return what `tellegen chip --json` writes."""
        settings, totals, alone = self.settings, self.totals, self.blocks_alone
        circuits = [circuit for _, circuit in self.circuits]
        return {
            "target": str(self.target),
            "pass": self.passed,
            "power_balance": {"max_relative_error": self.balance_error, "limit": BALANCE_LIMIT},
            "settings": {
                "tile": str(settings.tile),
                "bits_of_ideal_converters": settings.bits,
                "sharing": settings.sharing.value,
                "channels_per_converter": settings.channels_per_converter,
                "arithmetic": settings.arithmetic.value,
                "training_arithmetic": settings.training_arithmetic.value,
                "samples": settings.samples,
                "batch_size": self.batch_size,
            },
            "blocks": [tile.to_json() for tile in self.tiles],
            "totals": {
                "inventory": {
                    **{
                        name: sum(getattr(circuit.inventory, name) for circuit in circuits)
                        for name in (
                            "tiles",
                            "devices",
                            "units",
                            "clamp_diodes",
                            "active_leaks",
                            "amplifiers",
                            "dacs",
                            "adcs",
                        )
                    },
                    "digital_processors": len(self.tiles),
                },
                "time_s": {
                    "inference": sum(circuit.inference_s for circuit in circuits),
                    "training_step": None if self.batch_size is None else sum(c.training_s for c in circuits),
                },
                **totals[CHIP].to_json(),
            },
            "all_digital": {
                "tanh_layers": totals.get(TANH, totals[CHIP]).to_json(),
                "relaxation": totals.get(RELAXED, totals[CHIP]).to_json(),
            },
            "energy_blocks_alone": {
                key: alone[name].to_json()
                for key, name in (("chip", CHIP), ("tanh_layers", TANH), ("relaxation", RELAXED))
                if name in alone
            },
            "constants": settings.constants.to_json(),
            "notes": list(self.sentences()),
        }

    def tables(self) -> Group:
        """Return the tables for a terminal of 80 columns."""
        tables = [self._parts_table(), self._activity_table(), self._phases_table()] if self.circuits else []
        return Group(*tables, self._digital_table(), *self._energy_tables())

    def _parts_table(self) -> Table:
        table = _table(f"{self.target}: analog parts, tiles of {self.settings.tile}")
        for name in ("units", "tiles", "devices", "diodes", "active", "DACs", "ADCs"):
            table.add_column(name, justify="right")
        for name, c in self.circuits:
            i = c.inventory
            cells = (i.tiles, i.devices, i.clamp_diodes, i.active_leaks + i.amplifiers, i.dacs, i.adcs)
            table.add_row(name, c.sizes, *(f"{n:,}" for n in cells))
        return table

    def _activity_table(self) -> Table:
        table = _table("one inference, and one sample of a training step")
        for name in ("relaxations", "DAC", "ADC", "code bytes", "device writes"):
            table.add_column(name, justify="right")
        for name, c in self.circuits:
            for title, activity in ((name, c.inference), ("  training", c.training)):
                if activity is not None:
                    relaxations = activity.free_relaxations + activity.nudged_relaxations
                    counts = (relaxations, activity.count("DAC"), activity.count("ADC"), activity.code_bytes)
                    table.add_row(title, *(f"{n:,}" for n in counts), f"{activity.device_writes:,.0f}")
        return table

    def _phases_table(self) -> Table:
        table = _table("phases: power drawn, of it by active leaks; heat in sources; energy")
        for name in ("settles", "held", "power", "active", "in sources", "energy"):
            table.add_column(name, justify="right")
        for name, c in self.circuits:
            free, *nudged = c.training_phases
            rows = [(name, c.phases[0]), *([] if free is c.phases[0] else [(_COMPARED, free)])]
            for title, phase in (*rows, *zip(_NUDGES, nudged, strict=False)):
                powers = (phase.delivered_w, phase.active_w, phase.absorbed_w)
                cells = (quantity(phase.settling_s, "s"), quantity(phase.hold_s, "s"))
                table.add_row(title, *cells, *(quantity(p, "W") for p in powers), quantity(phase.energy_j, "J"))
        return table

    def _digital_table(self) -> Table:
        table = _table("digital processors, and buffers")
        for name in ("multiply-adds", "other", "bytes", "in training", "bytes", "buffer"):
            table.add_column(name, justify="right")
        for tile in self.tiles:
            p = tile.processor
            infer, train = p.work.inference, p.work.training
            cells = (infer.macs, infer.elementwise, p.moved_bytes[0], train.macs, p.moved_bytes[1])
            table.add_row(tile.name, *map(count, cells), count(max(p.inference_bytes, p.training_bytes)))
        return table

    def _energy_tables(self) -> list[Table]:
        totals, alone = self.totals, self.blocks_alone
        inference = {name: (totals[name].inference, alone[name].inference) for name in totals}
        tables = [_energy_table("energy of one inference", inference)]
        trained = {}
        for name, energies in totals.items():
            blocks = alone[name].training
            if energies.training is not None and blocks is not None:
                trained[name] = (energies.training, blocks)
        if trained:
            tables.append(_energy_table(f"energy of one sample of a step of {self.batch_size}", trained))
        return tables


def _like(energies: Energies, others: list[Energies]) -> Energies:
    """Return energies without training where others have none."""
    return energies if all(e.training is not None for e in others) else replace(energies, training=None)


def _energy_table(title: str, parts: Mapping[str, tuple[EnergyParts, EnergyParts]]) -> Table:
    """Return a column for each network: its parts, their sum, and of it what is not shared by all."""
    table = _table(title)
    for name in parts:
        table.add_column(name, justify="right")
    for part in PARTS[:-1]:
        table.add_row(TITLES[part], *(quantity(getattr(whole, part), "J") for whole, _ in parts.values()))
    table.add_section()
    table.add_row("total", *(quantity(whole.total_j, "J") for whole, _ in parts.values()))
    table.add_row("of it energy blocks", *(quantity(alone.total_j, "J") for _, alone in parts.values()))
    table.add_row(TITLES["io"], *(quantity(whole.io, "J") for whole, _ in parts.values()))
    return table


def _table(title: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("", overflow="fold")
    return table


def quantity(value: float, unit: str) -> str:
    """Return a number with a prefix, three digits: "1.23 nJ"; "0" for zero."""
    if value == 0:
        return "0"
    for factor, prefix in _PREFIXES:
        if abs(value) >= factor or factor == _PREFIXES[-1][0]:
            return f"{value / factor:.3g} {prefix}{unit}" if abs(value) < 1.0 else f"{value:.3g} {unit}"
    return f"{value:.3g} {unit}"


def count(value: float) -> str:
    """Return a number of things, short: "1,234", "56 k", "7.8 M"."""
    for factor, letter in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if value >= factor:
            return f"{value / (1e3 if letter == ' k' else factor):.3g}{letter}"
    return f"{value:,.0f}"
