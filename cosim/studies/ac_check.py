"""Implicit differentiation read out of ngspice itself, by one small-signal `.ac` analysis a sample.

It is held against equilibrium propagation as beta goes to 0, both in the same simulator, and against newton's implicit
differentiation. Hopfield blocks among the circuits are unrolled in all three: they have no netlist.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from rich.table import Table
from torch import Tensor, nn

from digital.hopfield import Gradient as HopfieldGradient

from ..analog_block import Gradient
from ..converters import Converters
from ..phase_settings import PhaseSettings
from ..simulators.base import AbstractSimulator
from ..training.trainer import Loss
from ..twin import twin
from .gradient_probe import GradientProbe, with_hopfield_gradient

EP_LIMIT = 1e-4
ID_LIMIT = 1e-6
BETA = 1e-3  # and half of it: the bias that is left is of order beta^4, the solver's tolerance over beta about 1e-9

TensorGradients = Mapping[tuple[str, str], NDArray[np.float64]]


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class AcCheck:
    """Agreement of one gradient tensor with ngspice's own linearisation.

    Args:
        block: module that owns the tensor; a block's input is tensor "input".
        tensor: name within the module.
        relative_error_ep: of equilibrium propagation, centered and extrapolated to beta = 0, against `.ac`: norm of
            the difference over the norm.
        relative_error_id: of `.ac` against newton's implicit differentiation, likewise.
    """

    block: str
    tensor: str
    relative_error_ep: float
    relative_error_id: float

    @property
    def passed(self) -> bool:
        """Whether both errors are within limits; NaN is not."""
        return self.relative_error_ep <= EP_LIMIT and self.relative_error_id <= ID_LIMIT

    def to_json(self) -> dict[str, Any]:
        """Return a row of `ac` in the JSON of `tellegen gradcheck`."""
        return {
            "block": self.block,
            "tensor": self.tensor,
            "relative_error_ep": self.relative_error_ep,
            "relative_error_id": self.relative_error_id,
        }


def check_ac(
    network: nn.Module,
    x: Tensor,
    y: Tensor,
    loss_of: Loss,
    *,
    reference: TensorGradients,
    simulator: AbstractSimulator,
    ac: AbstractSimulator,
) -> tuple[AcCheck, ...]:
    """Compare the gradients of a network by small-signal analysis with those of nudged phases, and with a reference.

    Equation: EP at beta -> 0 is (4 EP(beta / 2) - EP(beta)) / 3 (Richardson), which is free of the term in beta^2.

    Args:
        network: in float64, with devices as asked.
        x: [batch, ...] samples.
        y: [batch] classes.
        loss_of: mean loss of logits and classes.
        reference: gradient of every tensor by newton's implicit differentiation, hopfield blocks unrolled.
        simulator: where equilibrium propagation runs.
        ac: a simulator with a small-signal analysis of its own.

    Returns:
        one check a tensor.
    """
    unrolled = with_hopfield_gradient(network, HopfieldGradient.ID)

    def gradients(where: AbstractSimulator, gradient: Gradient, beta: float) -> TensorGradients:
        settings = PhaseSettings(beta=beta)  # centered, each sample scaled
        ran = twin(unrolled, simulator=where, gradient=gradient, settings=settings, converters=Converters.ideal())
        return GradientProbe(ran, x, y, loss_of).gradients()

    small_signal = gradients(ac, Gradient.IMPLICIT, BETA)
    whole, half = (gradients(simulator, Gradient.EP, beta) for beta in (BETA, BETA / 2))
    return tuple(
        AcCheck(
            block=name[0],
            tensor=name[1],
            relative_error_ep=relative_error((4 * half[name] - whole[name]) / 3, small_signal[name]),
            relative_error_id=relative_error(small_signal[name], reference[name]),
        )
        for name in reference
    )


def relative_error(value: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    """Return |value - reference| / |reference|, whole arrays; two zeros agree."""
    error, norm = float(np.linalg.norm(value - reference)), float(np.linalg.norm(reference))
    return error / norm if norm > 0 else (0.0 if error == 0 else float("inf"))


def ac_table(checks: Sequence[AcCheck]) -> Table:
    """Return the comparison as a table for a terminal."""
    verdict = "pass" if all(check.passed for check in checks) else "FAIL"
    table = Table(
        title=f"gradients by ngspice's .ac: {verdict}",
        caption=f"relative errors: EP at beta -> 0 against .ac (limit {EP_LIMIT:.0e}), .ac against newton's implicit "
        f"differentiation (limit {ID_LIMIT:.0e})",
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("tensor", overflow="fold")
    table.add_column("EP - .ac", justify="right", no_wrap=True)
    table.add_column(".ac - ID", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for c in checks:
        cells = (f"{c.relative_error_ep:.0e}", f"{c.relative_error_id:.0e}", "ok" if c.passed else "FAIL")
        table.add_row(f"{c.block} {c.tensor}", *cells)
    return table
