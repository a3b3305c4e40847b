"""What a sweep of beta found: bias, noise, and the nudge at which they balance."""

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from ..phase_settings import Nudging
from .bias_and_noise import BiasAndNoise

BETAS = tuple(float(f"{beta:.1e}") for beta in np.geomspace(1e-7, 2.0, 16))  # below 1e-4 noise shows, at 2 bias does
FAR = 10.0  # a factor between a beta and the best one that is worth a word, where the error is worth one
ERROR_LIMIT = 1e-3  # below it there is nothing to gain

Floats = NDArray[np.float64]


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BetaSweep:
    """Relative errors of the gradient of all parameters of energy blocks, |g - g_ID| / |g_ID|.

    Args:
        betas: [n] nudges.
        error_ep: [n] centered, ideal converters, newton.
        error_ngspice: [n] the same in ngspice.
        error_one_sided: [n] from the free phase and one nudged phase, newton.
        error_converters: [n] the network's own nudging, reads and converters, newton; None where those are ideal.
        steps_fd: [m] steps of finite differences: the largest change of a parameter.
        error_fd: [m] of slopes along random directions.
        floor_solver: [n] what the solver's tolerance leaves open, in the worst block.
        floor_converters: [n] what half a step of the converters leaves open, likewise; None where they are ideal.
        ideal: bias and noise in newton with the network's own nudging, so of `error_ep` where that is centered.
        converters: the same bias, and the noise with the network's own converters; None where those are ideal.
        beta: the network's own nudge.
        nudging: its own nudging; one that is not centered if blocks differ.
    """

    betas: Floats
    error_ep: Floats
    error_ngspice: Floats
    error_one_sided: Floats
    error_converters: Floats | None
    steps_fd: Floats
    error_fd: Floats
    floor_solver: Floats
    floor_converters: Floats | None
    ideal: BiasAndNoise
    converters: BiasAndNoise | None
    beta: float
    nudging: Nudging

    def balance(self, found: BiasAndNoise | None) -> float | None:
        """Return the beta at which bias and noise balance; None where that is not within the sweep, so not measured."""
        beta = None if found is None else found.balance
        return beta if beta is not None and self.betas[0] <= beta <= self.betas[-1] else None

    def error(self, beta: float) -> float:
        """Return the error of the network as it is at a beta, between the measured ones by powers."""
        ideal = self.error_ep if self.nudging is Nudging.CENTERED else self.error_one_sided
        measured = ideal if self.error_converters is None else self.error_converters
        usable = np.isfinite(measured) & (measured > 0)
        if not usable.any():
            return 0.0
        return float(np.exp(np.interp(np.log(beta), np.log(self.betas[usable]), np.log(measured[usable]))))

    def advice(self) -> str | None:
        """Return what to do where the network's own beta is far from the best one, and pays for it.

        The best is the balance, or the beta of the smallest error where the sweep shows none.
        """
        best = self.balance(self.converters or self.ideal) or min(self.betas.tolist(), key=self.error)
        now, then = self.error(self.beta), self.error(best)
        if 1 / FAR <= self.beta / best <= FAR or now < ERROR_LIMIT or now < 2 * then:
            return None
        verb = "lower" if self.beta > best else "raise"
        return f"{verb} it towards {best:.1g}, where the error is {then:.1g}"

    def to_json(self) -> dict[str, Any]:
        """Return the entry `sweep` in the JSON of `tellegen gradcheck`."""
        own, ideal = self.converters, self.ideal
        return {
            "beta": self.beta,
            "betas": self.betas.tolist(),
            "error_ep": self.error_ep.tolist(),
            "error_ngspice": self.error_ngspice.tolist(),
            "error_one_sided": self.error_one_sided.tolist(),
            "error_converters": None if self.error_converters is None else self.error_converters.tolist(),
            "steps_fd": self.steps_fd.tolist(),
            "error_fd": self.error_fd.tolist(),
            "floor_solver": self.floor_solver.tolist(),
            "floor_converters": None if self.floor_converters is None else self.floor_converters.tolist(),
            "bias_order": None if ideal.bias is None else ideal.bias.order,
            "noise_order": None if ideal.noise is None else ideal.noise.order,
            "noise_order_converters": None if own is None or own.noise is None else own.noise.order,
            "optimal_beta": self.balance(ideal),
            "optimal_beta_converters": self.balance(own),
            "advice": self.advice(),
        }

    def table(self) -> Table:
        """Return the errors as a table for a terminal, with the balance below."""
        lines = [self._describe("ideal converters", self.ideal)]
        if self.converters is not None:
            lines.append(self._describe("own converters", self.converters))
        advice = self.advice() or "no need to change it"
        lines.append(f"the network's beta = {self.beta:g}: error {self.error(self.beta):.1g}; {advice}")
        table = Table(
            title="relative error of the gradient against beta",
            caption="\n".join(lines),
            title_justify="left",
            caption_justify="left",
        )
        columns = {
            "beta": self.betas,
            "centered": self.error_ep,
            "ngspice": self.error_ngspice,
            "one-sided": self.error_one_sided,
            "converters": self.error_converters,
            "tolerance": self.floor_solver,
            "half LSB": self.floor_converters,
        }
        shown = {name: values for name, values in columns.items() if values is not None}
        for name in shown:
            table.add_column(name, justify="right", no_wrap=True)
        for row in zip(*shown.values(), strict=True):
            table.add_row(f"{row[0]:.2g}", *(f"{value:.0e}" for value in row[1:]))
        return table

    def _describe(self, what: str, found: BiasAndNoise) -> str:
        """Say where bias and noise balance, or which of them outweighs the other throughout."""
        bias, noise = found.bias, found.noise
        if bias is None or noise is None:
            shown = [f"{n} ~ beta^{p.order:.2f}" for n, p in (("bias", bias), ("noise", noise)) if p is not None]
            return f"{what}: {', '.join(shown) or 'neither bias nor noise'} throughout"
        orders = f"bias ~ beta^{bias.order:.2f}, noise ~ beta^{noise.order:.2f}"
        beta = self.balance(found)
        if beta is not None:
            return f"{what}: {orders}, balanced at beta = {beta:.1g}"
        larger = "noise" if noise.at(self.betas[-1]) > bias.at(self.betas[-1]) else "bias"
        return f"{what}: {orders}, {larger} is the larger throughout"
