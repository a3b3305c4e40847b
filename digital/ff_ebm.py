"""The ff-EBM: feedforward stages and energy blocks in turn, then a feedforward readout.

```
x --F^1--> x^1 --E^1--> s^1 --F^2--> x^2 --E^2--> s^2 --readout--> logits
```

Backprop through this chain is the paper's BP-EP chaining as soon as each energy block gives its own gradients: nothing
here knows how. A stage, an energy block and the readout may be any `nn.Module`: a whole residual block, say, with an
energy block inside.
"""

from collections.abc import Sequence
from typing import NamedTuple, final

from torch import Tensor, nn

from .errors import StageError


class Link(NamedTuple):
    """One block of the paper: a feedforward stage and the energy block behind it."""

    feedforward: nn.Module
    energy: nn.Module


@final
class FfEbm(nn.Module):
    """A chain of links and a readout.

    Args:
        links: feedforward stage and energy block, in order; `nn.Identity()` where there is none of them.
        readout: from the last state to the logits.

    Raises:
        StageError: for no link at all, or a part that is no module.

    Source: Nest and Ernoult 2024, section 3 (x^k = F^k(s^(k-1)), s^k the equilibrium of E^k, o = F^N(s^(N-1))).
    """

    def __init__(self, links: Sequence[tuple[nn.Module, nn.Module]], readout: nn.Module) -> None:
        super().__init__()
        if not links:
            raise StageError("ff-EBM: no energy block; give at least one link of a feedforward stage and a block")
        for part in (*(part for link in links for part in link), readout):
            if not isinstance(part, nn.Module):
                raise StageError(f"ff-EBM: {part!r} is no torch module; give an instance, as nn.Linear(8, 4)")
        self.feedforward = nn.ModuleList([link[0] for link in links])
        self.energy = nn.ModuleList([link[1] for link in links])
        self.readout = readout

    @property
    def links(self) -> tuple[Link, ...]:
        """The links in order."""
        return tuple(Link(f, e) for f, e in zip(self.feedforward, self.energy, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, [batch, n_classes], of a batch of samples."""
        s = x
        for link in self.links:
            s = link.energy(link.feedforward(s))
        logits: Tensor = self.readout(s)
        return logits

    def inputs_and_states(self, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return the input x^k and the state s^k of each energy block, for tests of one block at a time."""
        inputs, states, s = [], [], x
        for link in self.links:
            inputs.append(link.feedforward(s))
            s = link.energy(inputs[-1])
            states.append(s)
        return inputs, states
