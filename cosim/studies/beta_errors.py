"""Measure the errors of equilibrium propagation against beta.

Centered and one-sided estimates are held against implicit differentiation, and finite differences against the same. The
bias falls with beta; what a solver's tolerance or a converter's step leaves open grows as beta falls. With the
network's own converters the reference has them too, at the crossings of the free phase, so that the error is of the
nudge and the read alone; ranges that a run found for what is in proportion to beta are taken in proportion to it.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor, nn

from digital.hopfield import Gradient as HopfieldGradient

from ..analog_block import AnalogBlock, Gradient
from ..converters import Converters, Crossing, NoiseDraw
from ..phase_settings import NudgeScaling, Nudging, PhaseSettings
from ..progress import counting_bar
from ..reading import NudgeWarning
from ..simulators.base import AbstractSimulator
from ..training.trainer import Loss
from ..twin import twin
from .beta_sweep import BETAS, BetaSweep
from .bias_and_noise import fit_bias_and_noise, require_betas
from .converter_floor import converter_floor, solver_floor
from .gradient_probe import GradientProbe, with_beta, with_hopfield_gradient, with_nudging

SMALLEST_STEP, N_STEPS, N_DIRECTIONS = 1e-9, 10, 2  # of the finite differences

Floats = NDArray[np.float64]
Names = tuple[tuple[str, str], ...]
TensorGradients = Mapping[tuple[str, str], Floats]


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class _Run:
    """One network at one beta: the error of its gradient, and the floors in its worst block."""

    error: float
    solver_floor: float
    converter_floor: float


def sweep_beta(
    network: nn.Module,
    x: Tensor,
    y: Tensor,
    loss_of: Loss,
    *,
    newton: AbstractSimulator,
    ngspice: AbstractSimulator,
    betas: Sequence[float] = BETAS,
    seed: int = 0,
    console: Console | None = None,
) -> BetaSweep:
    """Measure errors of the gradient over a sweep of beta.

    Args:
        network: in float64, off the edges of its windows, with devices as asked and its own converters.
        x: [batch, ...] samples.
        y: [batch] classes.
        loss_of: mean loss of logits and classes.
        newton: reference for implicit differentiation and finite differences.
        ngspice: the other simulator.
        betas: nudges, the smallest first.
        seed: of the directions of the finite differences.
        console: where a progress bar is shown.

    Returns:
        the sweep.

    Raises:
        StudyError: for betas that are not finite, above zero and rising, or fewer than two.
    """
    values = np.array(betas, dtype=np.float64)
    require_betas(values)
    ideal, blocks = Converters.ideal(), [m for m in network.modules() if isinstance(m, AnalogBlock)]
    unrolled = with_hopfield_gradient(network, HopfieldGradient.ID)
    exact = GradientProbe(twin(unrolled, simulator=newton, gradient=Gradient.IMPLICIT, converters=ideal), x, y, loss_of)
    reference, names = exact.gradients(), exact.of_blocks
    nudged = with_hopfield_gradient(twin(network, simulator=newton, gradient=Gradient.EP), HopfieldGradient.EP)
    centered = with_nudging(twin(nudged, converters=ideal), Nudging.CENTERED)
    kinds: dict[str, tuple[nn.Module, TensorGradients]] = {
        "centered": (centered, reference),
        "one-sided": (with_nudging(centered, Nudging.POSITIVE), reference),
        "ngspice": (twin(centered, simulator=ngspice), reference),
    }
    if any(_has_effect(m.converters) for m in blocks):
        own = GradientProbe(twin(unrolled, simulator=newton, gradient=Gradient.IMPLICIT), x, y, loss_of)
        kinds["converters"] = (nudged, own.gradients())
    runs: dict[str, list[_Run]] = {kind: [] for kind in kinds}
    with counting_bar(console) as bar, warnings.catch_warnings():
        warnings.simplefilter("ignore", NudgeWarning)  # nudges that are too small are what is measured
        task = bar.add_task("sweep of beta", total=len(kinds) * len(values))
        for beta in betas:
            for kind, (ran, against) in kinds.items():
                probe = GradientProbe(_at_beta(ran, beta), x, y, loss_of)
                runs[kind].append(_run(probe, against, names))
                bar.advance(task)
    errors = {kind: np.array([run.error for run in found]) for kind, found in runs.items()}
    nudging = next((n for m in blocks if (n := m.settings.nudging) is not Nudging.CENTERED), Nudging.CENTERED)
    parts = fit_bias_and_noise(values, errors["centered" if nudging is Nudging.CENTERED else "one-sided"])
    with_converters = errors.get("converters")
    floors = np.array([run.converter_floor for run in runs.get("converters", ())])
    steps, error_fd = _finite_differences(exact, reference, names, np.random.default_rng(seed))
    return BetaSweep(
        betas=values,
        error_ep=errors["centered"],
        error_ngspice=errors["ngspice"],
        error_one_sided=errors["one-sided"],
        error_converters=with_converters,
        steps_fd=steps,
        error_fd=error_fd,
        floor_solver=np.array([run.solver_floor for run in runs["ngspice"]]),
        floor_converters=floors if floors.any() else None,
        ideal=parts,
        converters=None if with_converters is None else fit_bias_and_noise(values, with_converters, bias=parts.bias),
        beta=max((m.settings.beta for m in blocks), default=PhaseSettings().beta),
        nudging=nudging,
    )


def _at_beta(network: nn.Module, beta: float) -> nn.Module:
    """Return a copy with another beta, and ranges of what is in proportion to it as training would find them there."""
    copied = with_beta(network, beta)
    for before, block in zip(network.modules(), copied.modules(), strict=True):
        if isinstance(before, AnalogBlock) and isinstance(block, AnalogBlock):
            follow = [Crossing.DIFFERENCE, Crossing.CURRENT_DIFFERENCE]
            if block.settings.scaling is NudgeScaling.NONE:
                follow.append(Crossing.NUDGE)
            block.get_buffer("converter_ranges")[follow] *= beta / before.settings.beta
    return copied


def _has_effect(converters: Converters) -> bool:
    """Return whether converters change anything: a seed alone draws nothing."""
    return replace(converters, seed=0, noise_draw=NoiseDraw.ANEW) != Converters.ideal()


def _run(probe: GradientProbe, reference: TensorGradients, names: Names) -> _Run:
    """Return the error of a network's gradients, and the floors of solver and converters of its blocks."""
    nudges: dict[AnalogBlock, Floats] = {}

    def keep(block: nn.Module, _inputs: object, outputs: tuple[Tensor, ...]) -> None:
        if isinstance(block, AnalogBlock):
            nudges[block] = outputs[0].flatten(1).double().numpy()

    for block in probe.blocks:
        block.register_full_backward_hook(keep)
    found = probe.gradients()
    moved = [(block, ds, nudge) for block, ds in nudges.items() if (nudge := block.last_nudge) is not None]
    return _Run(
        error=_relative(found, reference, names),
        solver_floor=max((solver_floor(nudge) for _, _, nudge in moved), default=0.0),
        converter_floor=max((converter_floor(block, ds, nudge) for block, ds, nudge in moved), default=0.0),
    )


def _finite_differences(
    exact: GradientProbe, reference: TensorGradients, names: Names, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Return steps, and the errors of slopes along some directions in the space of all parameters of blocks."""
    directions = [{name: rng.standard_normal(reference[name].shape) for name in names} for _ in range(N_DIRECTIONS)]
    for direction in directions:
        scale = max(float(np.abs(part).max()) for part in direction.values())
        direction.update({name: part / scale for name, part in direction.items()})
    largest = min(1.0, *(exact.largest_step(direction) for direction in directions))
    steps = np.geomspace(min(SMALLEST_STEP, largest / 10), largest * (1 - 1e-9), N_STEPS)  # on the edge, not over it
    expected = np.array([sum(float((reference[n] * part).sum()) for n, part in d.items()) for d in directions])
    slopes = np.array([[exact.slope(direction, float(step)) for direction in directions] for step in steps])
    size = float(np.linalg.norm(expected)) or 1.0
    return steps, np.asarray(np.linalg.norm(slopes - expected, axis=1) / size)


def _relative(found: TensorGradients, reference: TensorGradients, names: Names) -> float:
    """Return the norm of the difference over the norm, of several tensors together; two zeros agree."""
    error = float(np.sqrt(sum(float(np.square(found[name] - reference[name]).sum()) for name in names)))
    size = float(np.sqrt(sum(float(np.square(reference[name]).sum()) for name in names)))
    return error / size if size > 0 else (0.0 if error == 0 else float("inf"))
