"""Cut one list of couplings into blocks: the stages of a configuration, with the same parameters in every cut.

```
couplings   1  2  3  4  5  6                       --> one way: the block's input     = both ways: inside its energy
size 6     --> =  =  =  =  =
size 3     --> =  =   --> =  =
size 2     --> =   --> =   --> =
```

Takes: couplings in order, and how many of them a block has. Gives: stages. Must not know: how they are trained.

A Hopfield block's first coupling is digital, as in the paper; a resistive block's is the crossbar that the DACs drive,
whose rows are held at their voltages, so that nothing comes back through it either.
"""

from collections.abc import Sequence
from typing import TypeVar

from ..errors import StudyError
from ..training.config import (
    AnalogStage,
    BatchNormStage,
    ConvCouplingSection,
    ConvStage,
    CouplingSection,
    DigitalStage,
    FlattenStage,
    GainStage,
    HopfieldStage,
    LastLayerKind,
    LinearStage,
    MaxPoolStage,
    NodeLayerSection,
    StageSection,
)

_T = TypeVar("_T")


def cut_hopfield(
    couplings: Sequence[CouplingSection], block_size: int, *, slope: float, goe_variance: float | None
) -> tuple[StageSection, ...]:
    """Return the stages of a deep Hopfield network cut into blocks.

    Every layer of the uncut network but the last is kept in [0, 1], in every cut, and every layer has a bias inside
    its block's energy: behind the digital coupling that is the block's input bias. A max-pool behind a coupling is
    digital where that coupling is, else it is in the energy. Normalisation, which has no parameters, follows what is
    digital.

    Args:
        couplings: of the uncut network, from the image on.
        block_size: couplings of a block, the digital one counted; the paper's bs.
        slope: of all layers in [0, 1].
        goe_variance: of the initial convolutional weights inside the energies; None for torch's default.

    Raises:
        StudyError: if the blocks cannot all be of that size, or have no coupling in their energy.
    """
    groups = _cut(couplings, block_size)
    stages: list[StageSection] = []
    for k, (digital, *inside) in enumerate(groups, 1):
        stages += _digital(digital)
        stages.append(
            HopfieldStage(
                kind="hopfield",
                couplings=tuple(inside),
                slope=slope,
                last_layer=LastLayerKind.LINEAR if k == len(groups) else LastLayerKind.CLAMPED,
                input_bias=digital.bias,
                goe_variance=goe_variance,
            )
        )
    return tuple(stages)


def _digital(coupling: CouplingSection) -> list[DigitalStage]:
    """Return a coupling as digital stages; its bias, if it has one, is the next block's."""
    norm = BatchNormStage(kind="batch_norm", affine=False)
    if not isinstance(coupling, ConvCouplingSection):
        return [FlattenStage(kind="flatten"), LinearStage(kind="linear", size=coupling.size, bias=False), norm]
    convolution = ConvStage(kind="conv", bias=False, **coupling.model_dump(exclude={"kind", "pool", "bias"}))
    pool = [] if coupling.pool is None else [MaxPoolStage(kind="max_pool", kernel=coupling.pool)]
    return [convolution, *pool, norm]


def cut_resistive(
    layers: Sequence[NodeLayerSection], block_size: int, *, gain: float, block: AnalogStage
) -> tuple[StageSection, ...]:
    """Return the stages of a chain of crossbars cut into voltage-driven blocks.

    Between two blocks the states cross to the digital side, where they are normalised and multiplied by the gain, and
    back. Neither has parameters.

    Args:
        layers: one behind each crossbar.
        block_size: crossbars of a block, the driven one counted.
        gain: before each block: passive crossbars attenuate.
        block: conductances, scale and diodes of every block; its layers and its name are replaced.

    Raises:
        StudyError: if the blocks cannot all be of that size, or have one crossbar only.
    """
    stages: list[StageSection] = []
    for group in _cut(layers, block_size):
        stages.append(BatchNormStage(kind="batch_norm", affine=False))
        stages.append(GainStage(kind="gain", value=gain))
        stages.append(block.model_copy(update={"layers": tuple(group), "name": None}))
    return tuple(stages)


def _cut(couplings: Sequence[_T], block_size: int) -> list[Sequence[_T]]:
    """Return groups of so many couplings."""
    n = len(couplings)
    sizes = [k for k in range(2, n + 1) if n % k == 0]
    if block_size not in sizes:
        allowed = f"choose {', '.join(map(str, sizes))}" if sizes else "give more couplings"
        why = "a block has two couplings or more, one of them in its energy"
        if block_size > 1:
            why = f"{n} couplings are no multiple of it"
        raise StudyError(f"block size {block_size}: {why}; {allowed}")
    return [couplings[k : k + block_size] for k in range(0, n, block_size)]
