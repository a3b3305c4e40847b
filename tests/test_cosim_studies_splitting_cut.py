"""One network in every cut: the same couplings, sizes and parameters; and what crosses to the digital side where."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from cosim.errors import StudyError
from cosim.simulators.newton import NewtonSimulator
from cosim.studies.splitting_cut import cut_hopfield, cut_resistive
from cosim.studies.splitting_networks import FULL_NETWORKS, L6, LAYERS, NETWORKS, Method, SplitNetwork
from cosim.training.config import AnalogStage, DenseCouplingSection, HopfieldStage, StageSection
from cosim.training.network import build_network
from digital.ff_ebm import FfEbm
from digital.hopfield import HopfieldBlock

SIMULATOR = NewtonSimulator()


def build(network: SplitNetwork, block_size: int, seed: int = 0) -> FfEbm:
    config = network.configure(block_size, Method.EP, seed=seed)
    torch.manual_seed(seed)
    simulator = SIMULATOR if config.has_circuit else None
    generator = torch.Generator().manual_seed(seed)
    return build_network(config, shape=(3, 32, 32), n_classes=10, simulator=simulator, generator=generator)


def parameters(network: nn.Module) -> list[tuple[tuple[int, ...], int]]:
    """Return the shape of each parameter tensor and how many of it there are, whatever their names."""
    shapes = sorted(tuple(p.shape) for p in network.parameters())
    return [(shape, shapes.count(shape)) for shape in sorted(set(shapes))]


@pytest.mark.parametrize("network", FULL_NETWORKS, ids=lambda network: network.name)
def test_every_cut_has_the_same_parameters(network: SplitNetwork) -> None:
    cuts = [parameters(build(network, size)) for size in network.block_sizes]
    assert all(cut == cuts[0] for cut in cuts[1:])
    n_tensors = sum(count for _, count in cuts[0])
    # A weight and a bias each, or two conductances; the readout; the digital stem's three layers and two norms.
    assert n_tensors == {"hopfield-l6": 12 + 2, "hopfield-l12": 24 + 2, "resistive-l6": 12 + 2 + 10}[network.name]


@pytest.mark.parametrize("network", FULL_NETWORKS, ids=lambda network: network.name)
def test_every_cut_has_so_many_blocks(network: SplitNetwork) -> None:
    for size in network.block_sizes:
        blocks = network.configure(size, Method.ID, seed=0).network.energy_blocks
        assert len(blocks) * size == network.n_couplings


def list_layers(network: FfEbm, image: Tensor) -> list[tuple[tuple[int, ...], bool, float]]:
    """Return shape, box and slope of each layer of states, block by block."""
    found = []
    for link in network.links:
        block = link.energy
        assert isinstance(block, HopfieldBlock)
        found += list(zip(block.config.shapes, block.config.boxes, block.config.slopes, strict=True))
    network(image)  # and the digital stages fit them
    return found


@pytest.mark.parametrize("network", [n for n in FULL_NETWORKS if n.energy.value == "hopfield"], ids=lambda n: n.name)
def test_every_cut_has_the_same_layers_in_the_same_boxes(network: SplitNetwork) -> None:
    image = torch.zeros(2, 3, 32, 32)
    cuts = [list_layers(build(network, size), image) for size in network.block_sizes]
    assert len(cuts[0]) == network.n_couplings
    assert all(cut == cuts[0] for cut in cuts[1:])
    assert [is_boxed for _, is_boxed, _ in cuts[0]] == [True] * (network.n_couplings - 1) + [False]


def kinds(stages: Sequence[StageSection]) -> str:
    return " ".join(stage.kind for stage in stages)


def test_a_pool_is_digital_where_its_coupling_is() -> None:
    stages = cut_hopfield(L6, 3, slope=0.5, goe_variance=None)
    assert kinds(stages) == "conv max_pool batch_norm hopfield conv max_pool batch_norm hopfield"
    first, second = (stage for stage in stages if isinstance(stage, HopfieldStage))
    assert first.couplings == L6[1:3]
    assert second.couplings == L6[4:]
    assert [coupling.pool for coupling in first.couplings if coupling.kind == "conv"] == [2, None]
    assert kinds(cut_hopfield(L6, 6, slope=0.5, goe_variance=None)) == "conv max_pool batch_norm hopfield"


def test_a_bias_of_a_digital_coupling_is_inside_the_energy() -> None:
    dense = [DenseCouplingSection(kind="dense", size=4, bias=k != 2) for k in range(4)]
    stages = cut_hopfield(dense, 2, slope=1.0, goe_variance=None)
    assert kinds(stages) == "flatten linear batch_norm hopfield flatten linear batch_norm hopfield"
    assert [stage.input_bias for stage in stages if isinstance(stage, HopfieldStage)] == [True, False]
    assert not any(stage.bias for stage in stages if stage.kind == "linear")


def test_crossbars_are_driven_by_voltages_and_normalised_between_blocks() -> None:
    block = AnalogStage(kind="analog", layers=LAYERS[:1], name="replaced", g_min=1e-4, g_max=3.0)
    stages = cut_resistive(LAYERS, 3, gain=2.0, block=block)
    assert kinds(stages) == "batch_norm gain analog batch_norm gain analog"
    found = [stage for stage in stages if isinstance(stage, AnalogStage)]
    assert [stage.layers for stage in found] == [LAYERS[:3], LAYERS[3:]]
    assert {(stage.name, stage.g_min, stage.g_max, stage.drive.value) for stage in found} == {
        (None, 1e-4, 3.0, "voltage")
    }


@pytest.mark.parametrize(
    ("size", "why"),
    [
        (4, r"block size 4: 6 couplings are no multiple of it; choose 2, 3, 6"),
        (12, r"block size 12: 6 couplings are no multiple"),
        (1, r"block size 1: a block has two couplings or more, one of them in its energy; choose 2, 3, 6"),
        (0, r"block size 0: a block has two"),
        (-2, r"block size -2: a block has two"),
    ],
)
def test_a_cut_that_is_none_is_refused(size: int, why: str) -> None:
    with pytest.raises(StudyError, match=why):
        cut_hopfield(L6, size, slope=0.5, goe_variance=None)


def test_the_methods_of_a_cut_share_everything_else() -> None:
    for network in NETWORKS:
        whole = [network.configure(3, method, seed=1) for method in network.methods]
        gradients = [(c.gradient.value, c.simulator.name.value) for c in whole]
        assert gradients == [("implicit", "newton"), ("ep", "newton"), ("ep", "ngspice")][: len(whole)]
        rest = [c.model_dump(mode="json", exclude={"gradient", "simulator"}) for c in whole]
        assert all(tables == rest[0] for tables in rest)
