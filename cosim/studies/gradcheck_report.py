"""What a gradient check found: agreement of every tensor, as JSON and as tables."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from rich.table import Table

from .ac_check import AcCheck, ac_table
from .beta_sweep import BetaSweep

COSINE_LIMIT = 0.9999
NORM_LIMIT = 1e-3


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class TensorCheck:
    """Agreement of one gradient tensor from one simulator.

    Args:
        block: module that owns the tensor; a block's input is tensor "input".
        tensor: name within the module.
        simulator: where equilibrium propagation ran.
        cosine_id, norm_ratio_id: against implicit differentiation, whole tensor.
        cosine_fd, norm_ratio_fd: against central finite differences of the loss: some entries and one random direction.
    """

    block: str
    tensor: str
    simulator: str
    cosine_id: float
    norm_ratio_id: float
    cosine_fd: float
    norm_ratio_fd: float

    @property
    def passed(self) -> bool:
        """Whether both cosines and both norm ratios are within limits."""
        cosines, norms = (self.cosine_id, self.cosine_fd), (self.norm_ratio_id, self.norm_ratio_fd)
        # Each compared by itself: NaN must fail, and `max` may pass it over.
        return all(c >= COSINE_LIMIT for c in cosines) and all(abs(n - 1.0) <= NORM_LIMIT for n in norms)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ConverterEffect:
    """What the network's own converters and devices do to one gradient tensor (newton); not part of pass or fail."""

    block: str
    tensor: str
    simulator: str
    cosine_id: float
    norm_ratio_id: float


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class GradcheckReport:
    """All checks of one network.

    Args:
        tensors: every parameter tensor and block input in each simulator.
        converter_effect: the same with converters on, and devices and sources as made.
        beta: nudge used.
        plot: the bar plot, where one was asked for.
        bent: blocks with piecewise-linear diodes, whose bends a nudge may cross.
        ac: the comparison with ngspice's own small-signal analysis; None where it was not asked for.
        sweep: errors against beta; None likewise.
        sweep_plot: its plot.
    """

    tensors: tuple[TensorCheck, ...]
    converter_effect: tuple[ConverterEffect, ...]
    beta: float
    plot: Path | None
    bent: tuple[str, ...] = ()
    ac: tuple[AcCheck, ...] | None = None
    sweep: BetaSweep | None = None
    sweep_plot: Path | None = None

    @property
    def passed(self) -> bool:
        """Whether every tensor passed; a sweep only advises."""
        return all(c.passed for c in self.tensors) and all(c.passed for c in self.ac or ())

    @property
    def advice(self) -> str | None:
        """Return what may have failed the check though the gradients are right; None where nothing is known."""
        if self.passed or not self.bent:
            return None
        bent = ", ".join(f"'{name}'" for name in self.bent)
        return (
            f"piecewise-linear diodes in {bent}: where the bend of one lies between the states at -beta and +beta the "
            "estimate is off by more than beta^2; lower --beta, or see by --betas how errors depend on it"
        )

    def to_json(self) -> dict[str, Any]:
        """Return what `tellegen gradcheck --json` writes; `ac` and `sweep` are there where asked for."""
        names = ("block", "tensor", "simulator", "cosine_id", "norm_ratio_id")
        return {
            "pass": self.passed,
            "beta": self.beta,
            "tensors": [
                {name: getattr(c, name) for name in (*names, "cosine_fd", "norm_ratio_fd")} for c in self.tensors
            ],
            "converter_effect": [{name: getattr(c, name) for name in names} for c in self.converter_effect],
            **({} if self.advice is None else {"advice": self.advice}),
            **({} if self.ac is None else {"ac": [c.to_json() for c in self.ac]}),
            **({} if self.sweep is None else {"sweep": self.sweep.to_json()}),
        }

    def tables(self) -> tuple[Table, ...]:
        """Return everything as tables for a terminal of 80 columns."""
        found = [self.table()]
        if self.ac is not None:
            found.append(ac_table(self.ac))
        if self.sweep is not None:
            found.append(self.sweep.table())
        return tuple(found)

    def table(self) -> Table:
        """Return the report as a table for a terminal: the worse of both references, in each simulator."""
        verdict = "pass" if all(check.passed for check in self.tensors) else "FAIL"
        title = f"gradients at beta = {self.beta:g}: {verdict}"
        caption = "worse of implicit differentiation and finite differences; last: cosine with converters, devices on"
        table = Table(title=title, caption=caption, title_justify="left", caption_justify="left")
        simulators = list(dict.fromkeys(c.simulator for c in self.tensors))
        table.add_column("tensor", overflow="fold")
        for simulator in simulators:
            table.add_column(f"{simulator}\n1 - cos", justify="right", no_wrap=True)
            table.add_column(f"{simulator}\nnorm - 1", justify="right", no_wrap=True)
        table.add_column("conv.", justify="right", no_wrap=True)
        table.add_column("", no_wrap=True)
        effects = {(e.block, e.tensor): e.cosine_id for e in self.converter_effect}
        for name in dict.fromkeys((c.block, c.tensor) for c in self.tensors):
            checks = [c for c in self.tensors if (c.block, c.tensor) == name]
            cells = []
            for c in checks:
                worst_norm = max(c.norm_ratio_id - 1, c.norm_ratio_fd - 1, key=abs)
                cells += [f"{max(0.0, 1 - c.cosine_id, 1 - c.cosine_fd):.0e}", f"{worst_norm:+.0e}"]
            effect = f"{effects[name]:.3f}" if name in effects else ""
            table.add_row(" ".join(name), *cells, effect, "ok" if all(c.passed for c in checks) else "FAIL")
        return table
