"""What an evaluated point measures: accuracy and loss on the images held out, and how good its gradients are.

Equations, over the conductance gradients of all blocks, g, on some training images in eval mode:
`gradient_cosine = g.r / (|g| |r|)`, `gradient_norm_ratio = |g| / |r|`, g by equilibrium propagation under the point's
configuration, r exact (implicit), of the base network with all effects and converters ideal: what everything together
does. `estimate_cosine` and `estimate_norm_ratio` likewise against the exact gradient of the point's own circuit with
ideal converters: what the estimation alone loses.
"""

from collections.abc import Mapping
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from digital.hopfield import Gradient as HopfieldGradient
from digital.images import ImageDataset

from ..analog_block import Gradient
from ..converters import Converters
from ..simulators.base import AbstractSimulator
from ..studies.agreement import cosine_and_norm_ratio
from ..studies.gradient_probe import GradientProbe, with_hopfield_gradient
from ..training.config import Config
from ..training.data import evaluation_batches
from ..training.network import list_analog_blocks
from ..training.nonideality_sections import EFFECTS
from ..training.trainer import LOSSES, Loss, Score, score
from ..twin import twin

Gradients = Mapping[tuple[str, str], NDArray[np.float64]]


@final
class Probe:
    """The training images that gradients are measured on: the first of them.

    Args:
        images: of the run.
        n: how many.
        loss_of: mean loss of logits and classes.
    """

    def __init__(self, images: ImageDataset, n: int, loss_of: Loss) -> None:
        samples = images.train.take(torch.arange(min(n, len(images.train))))
        self.x: Tensor = images.scaled(samples.pixels)
        self._y, self._loss_of = samples.labels, loss_of

    def estimated(self, network: nn.Module) -> Gradients:
        """Return the conductance gradients by equilibrium propagation, the network's own converters included.

        Full scales that follow the data are those of these images: a nudge other than that of the training would be
        clipped, which training itself never does.
        """
        estimating = with_hopfield_gradient(twin(network, gradient=Gradient.EP), HopfieldGradient.EP)
        for block in list_analog_blocks(estimating):
            block.get_buffer("converter_ranges").zero_()
        return self._gradients(estimating)

    def exact(self, network: nn.Module) -> Gradients:
        """Return the exact conductance gradients of a network's circuits, with ideal converters."""
        exact = twin(network, gradient=Gradient.IMPLICIT, converters=Converters.ideal())
        return self._gradients(with_hopfield_gradient(exact, HopfieldGradient.ID))

    def _gradients(self, network: nn.Module) -> Gradients:
        """Return the conductance gradients of a network that is a copy."""
        found = GradientProbe(network.double().eval(), self.x, self._y, self._loss_of).gradients()
        return {name: value for name, value in found.items() if name[1].startswith(("g_plus.", "g_minus."))}

    def voltages(self, network: nn.Module, simulator: AbstractSimulator) -> list[NDArray[np.float64]]:
        """Return the states of every layer of every block in a simulator, V, with ideal converters."""
        other = twin(network, simulator=simulator, converters=Converters.ideal()).eval()
        with torch.no_grad():
            other(self.x)
        return [states for block in list_analog_blocks(other) for states in block.last_voltages() or ()]


def agreement(value: Gradients, reference: Gradients) -> tuple[float | None, float | None]:
    """Return cosine and norm ratio over all tensors; two zeros agree, and without any tensor there is no answer."""
    if not reference:
        return None, None
    a, b = (np.concatenate([gradients[name].ravel() for name in sorted(reference)]) for gradients in (value, reference))
    return cosine_and_norm_ratio(a, b)


def ideal(config: Config) -> Config:
    """Return a configuration without any effect, relaxed by newton; converters are seen to by `Probe.exact`."""
    tables = config.model_dump(mode="json")
    off = dict.fromkeys(EFFECTS)
    simulator = {**tables["simulator"], "name": "newton", "workers": 0, "dask": None}
    return Config.model_validate({**tables, **off, "simulator": simulator, "start": None, "circuit": None})


def score_held_out(network: nn.Module, config: Config, images: ImageDataset) -> Score:
    """Return loss and accuracy on the images held out, as `tellegen eval` does."""
    return score(network, LOSSES[config.training.loss], evaluation_batches(images, images.test))
