"""The plot of a sweep of beta: bias, noise and floors of the gradient on logarithmic axes."""

import io
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..files import write_atomically
from .beta_sweep import BetaSweep

_BLUE, _SKY, _ORANGE, _RED, _GREEN, _GREY = "#0072b2", "#56b4e9", "#e69f00", "#d55e00", "#009e73", "#666666"
_MARGIN = 3.0  # a factor around the measured errors


def plot_sweep(sweep: BetaSweep, path: Path) -> Path:
    """Draw the errors of a sweep against beta, and those of finite differences against their step.

    Args:
        sweep: what was measured.
        path: PNG to write.

    Returns:
        the path.

    Raises:
        RunError: if the file cannot be written.
    """
    figure = Figure(figsize=(8.0, 6.8), layout="constrained")
    axis = figure.subplots()
    betas = sweep.betas
    axis.loglog(betas, sweep.error_one_sided, "^-", color=_ORANGE, label="EP one-sided")
    axis.loglog(betas, sweep.error_ep, "o-", color=_BLUE, label="EP centered, newton")
    axis.loglog(betas, sweep.error_ngspice, "s--", color=_SKY, markerfacecolor="white", label="EP centered, ngspice")
    if sweep.error_converters is not None:
        axis.loglog(betas, sweep.error_converters, "D-", color=_RED, label="EP, own converters")
    axis.loglog(sweep.steps_fd, sweep.error_fd, "x-", color=_GREEN, label="finite differences (step)")
    axis.loglog(betas, sweep.floor_solver, ":", color=_SKY, linewidth=2, label="solver's tolerance")
    if sweep.floor_converters is not None:
        axis.loglog(betas, sweep.floor_converters, ":", color=_RED, linewidth=2, label="half a step of the converters")
    _limit(axis, sweep)
    axis.axvline(sweep.beta, color=_GREY, linewidth=1, label=f"the network's beta = {sweep.beta:g}")
    for found, color, what in ((sweep.ideal, _BLUE, "ideal"), (sweep.converters, _RED, "own converters")):
        balance = sweep.balance(found)
        if found is not None and balance is not None:
            label = f"balance, {what}: beta = {balance:.1g}"
            axis.plot(balance, found.error(balance), "*", color=color, markersize=15, label=label, zorder=5)
    axis.set_xlabel("beta, or step of a finite difference")
    axis.set_ylabel("relative error of the gradient of energy blocks")
    advice = sweep.advice()
    title = f"Error of the gradient; the network has beta = {sweep.beta:g}"
    axis.set_title(title if advice is None else f"{title}: {advice}", fontsize="medium")
    axis.grid(visible=True, alpha=0.3)
    figure.legend(*axis.get_legend_handles_labels(), fontsize="small", ncols=3, loc="outside lower center")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    write_atomically(path, buffer.getvalue())
    return path


def _limit(axis: Axes, sweep: BetaSweep) -> None:
    """Show the measured errors; a floor far from them leaves the picture."""
    curves = [sweep.error_one_sided, sweep.error_ep, sweep.error_ngspice, sweep.error_fd]
    if sweep.error_converters is not None:
        curves.append(sweep.error_converters)
    measured = np.concatenate(curves)
    measured = measured[np.isfinite(measured) & (measured > 0)]
    if len(measured):
        axis.set_ylim(float(measured.min()) / _MARGIN, float(measured.max()) * _MARGIN)
