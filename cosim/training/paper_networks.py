"""The paper's networks, block by block, as its released code has them; every convolution is 3x3 with padding 1.

Takes: nothing. Gives: `PaperNetwork`. Must not know: configuration files, torch.
A block is written as a row of layers: "128m 256m fc256" is a feedforward convolution to 128 channels, an energy
coupling to 256 channels, and one to 256 units; m is a 2x2 max-pool behind a layer, inside the energy where that is.

Source: Nest & Ernoult 2024, arXiv 2409.03306; github.com/rain-neuromorphics/hybrid_bp_ep_official, hydra_conf/model.
"""

from dataclasses import dataclass
from typing import Final, final


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class PaperLayer:
    """A layer of a block.

    Args:
        size: channels, or units of a dense layer.
        is_dense: whether every unit of the layer before couples to each of its units.
        is_pooled: whether a max-pool of 2x2 is behind the convolution.
    """

    size: int
    is_dense: bool = False
    is_pooled: bool = False

    def shrunk(self, width: float) -> "PaperLayer":
        """Return the layer with a share of its channels or units, at least one."""
        size = max(1, round(width * self.size))
        return PaperLayer(size=size, is_dense=self.is_dense, is_pooled=self.is_pooled)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class PaperBlock:
    """A feedforward convolution and the energy block behind it.

    Args:
        layers: the first is the feedforward convolution's, and so the first of the energy block; the others are coupled
            to the one before. A single one has no coupling: its state is its current.
        is_normalised: whether batch normalisation stands between convolution and energy block.
        is_clamped: whether the block's last layer has a box.
    """

    layers: tuple[PaperLayer, ...]
    is_normalised: bool = True
    is_clamped: bool = False

    def shrunk(self, width: float) -> "PaperBlock":
        """Return the block with a share of its channels and units."""
        layers = tuple(layer.shrunk(width) for layer in self.layers)
        return PaperBlock(layers=layers, is_normalised=self.is_normalised, is_clamped=self.is_clamped)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class PaperNetwork:
    """A chain of blocks; flattened, the last one's state enters a linear readout.

    Args:
        file: of the released code.
        blocks: in order.
    """

    file: str
    blocks: tuple[PaperBlock, ...]

    @property
    def n_layers(self) -> int:
        """L: feedforward convolutions and couplings, without the readout."""
        return sum(len(block.layers) for block in self.blocks)

    def shrunk(self, width: float) -> "PaperNetwork":
        """Return the network with a share of its channels and units."""
        return PaperNetwork(file=self.file, blocks=tuple(block.shrunk(width) for block in self.blocks))


def _block(row: str, *, is_normalised: bool = True, is_clamped: bool = False) -> PaperBlock:
    return PaperBlock(
        layers=tuple(
            PaperLayer(
                size=int(word.removeprefix("fc").removesuffix("m")),
                is_dense=word.startswith("fc"),
                is_pooled=word.endswith("m"),
            )
            for word in row.split()
        ),
        is_normalised=is_normalised,
        is_clamped=is_clamped,
    )


L6_BS6: Final = PaperNetwork(file="splitting_small_1block.yaml", blocks=(_block("128m 256m 256m 512m 512 fc256"),))
L6_BS3: Final = PaperNetwork(
    file="splitting_small_2block.yaml",
    blocks=(_block("128m 256m 256m", is_clamped=True), _block("512m 512m fc256", is_normalised=False)),
)
L6_BS2: Final = PaperNetwork(
    file="splitting_small_3block.yaml",
    blocks=(
        _block("128m 256m", is_clamped=True),
        _block("256m 512m", is_normalised=False, is_clamped=True),
        _block("512 fc256", is_normalised=False),
    ),
)
L12_BS4: Final = PaperNetwork(
    file="splitting_large_3block.yaml",
    blocks=(_block("128 128 128m 128"), _block("256m 256 256 256"), _block("512m 512 512 512")),
)
L12_BS3: Final = PaperNetwork(
    file="splitting_large_4block.yaml",
    blocks=(_block("128 128 128"), _block("128m 256 256"), _block("256m 256 512"), _block("512m 512 512")),
)
L12_BS2: Final = PaperNetwork(
    file="splitting_large_6block.yaml",
    blocks=tuple(map(_block, ("128 128", "128m 128", "256m 256", "256 256", "512m 512", "512 512"))),
)
L12_BS2_SCALING: Final = PaperNetwork(
    file="scaling_small.yaml",
    blocks=tuple(map(_block, ("128m 128", "128 128", "256m 256", "256 256", "512m 512", "512 512"))),
)
L15_BS2: Final = PaperNetwork(
    file="scaling_large.yaml",
    blocks=tuple(map(_block, ("64 64", "128m 128", "128 128", "256m 256", "256 256", "512m 512", "512 512", "512"))),
)
