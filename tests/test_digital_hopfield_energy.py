from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from digital.errors import StageError
from digital.hopfield import (
    ConvCoupling,
    DenseCoupling,
    HopfieldConfig,
    HopfieldParameters,
    LastLayer,
    compute_energy,
    draw_goe,
    relax,
    smallest_eigenvalue,
    update_layer,
)
from digital.hopfield.curvature import build_matrices
from digital.hopfield.initialisation import draw_parameters

DENSE = HopfieldConfig(
    input_shape=(5,), couplings=(DenseCoupling(size=6), DenseCoupling(size=4)), slope=(0.5, 0.8), input_bias=True
)
# Rows and columns are left over: by the stride in STRIDED, by the pool in POOL.
CONV = HopfieldConfig(
    input_shape=(2, 7, 7),
    couplings=(
        ConvCoupling(channels=3, stride=2, padding=0),
        ConvCoupling(channels=4, kernel=2),
        DenseCoupling(size=3),
    ),
    last_layer=LastLayer.CLAMPED,
    slope=0.7,
)
STRIDED = HopfieldConfig(input_shape=(2, 6, 6), couplings=(ConvCoupling(channels=3, kernel=3, stride=2, bias=False),))
POOL = HopfieldConfig(
    input_shape=(2, 7, 7),
    couplings=(ConvCoupling(channels=3, pool=2), ConvCoupling(channels=2, kernel=2, pool=2), DenseCoupling(size=4)),
)
NETWORKS = {"dense": DENSE, "conv": CONV, "strided": STRIDED, "pool": POOL}


def draw(config: HopfieldConfig, seed: int = 0, n: int = 4) -> tuple[HopfieldParameters, Tensor, list[Tensor]]:
    """Weights of size 0.4, an input and states, some of which are at their clamps."""
    generator = torch.Generator().manual_seed(seed)

    def normal(shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    drawn = draw_parameters(config)
    parameters = drawn.replace([0.4 * normal(tensor.shape) for tensor in drawn.flatten()])
    states = [normal((n, *shape)) for shape in config.shapes]
    states = [s.clamp(0, 1) if box else s for s, box in zip(states, config.boxes, strict=True)]
    return parameters, normal((n, *config.input_shape)), states


def slope_of_energy(
    config: HopfieldConfig, parameters: HopfieldParameters, x: Tensor, states: list[Tensor], layer: int, nudge: Tensor
) -> Tensor:
    """dE/ds of one layer, by autograd through the energy."""
    leaf = states[layer].clone().requires_grad_()
    energy = compute_energy(config, parameters, x, [*states[:layer], leaf, *states[layer + 1 :]], nudge=nudge)
    return torch.autograd.grad(energy.sum(), leaf)[0]


@pytest.mark.parametrize("name", NETWORKS)
def test_each_update_minimises_the_energy_in_its_layer(name: str) -> None:
    config = NETWORKS[name]
    parameters, x, states = draw(config)
    nudge = 0.3 * torch.randn_like(states[-1])
    at_clamp = 0
    for layer, box in enumerate(config.boxes):
        if layer < len(config.couplings) and config.couplings[layer].pool is not None:
            continue  # not quadratic: the next test
        best = [*states]
        best[layer] = update_layer(config, parameters, x, states, layer, nudge=nudge)
        slope = slope_of_energy(config, parameters, x, best, layer, nudge)
        low, high = (best[layer] == 0) & box, (best[layer] == 1) & box
        assert float(slope[~low & ~high].abs().max()) < 1e-14
        assert bool((slope[low] >= 0).all())  # it would fall only outside of the box
        assert bool((slope[high] <= 0).all())
        at_clamp += int(low.sum() + high.sum())
        least = compute_energy(config, parameters, x, best, nudge=nudge)
        for _ in range(5):
            other = [*states]
            other[layer] = torch.rand_like(states[layer])
            assert bool((compute_energy(config, parameters, x, other, nudge=nudge) > least).all())
    assert at_clamp > 0


@pytest.mark.parametrize("name", NETWORKS)
def test_each_update_is_a_step_down_the_slope_of_the_energy(name: str) -> None:
    config = NETWORKS[name]
    parameters, x, states = draw(config)
    nudge = 0.3 * torch.randn_like(states[-1])
    for layer, (a, box) in enumerate(zip(config.slopes, config.boxes, strict=True)):
        step = states[layer] - a * slope_of_energy(config, parameters, x, states, layer, nudge)
        updated = update_layer(config, parameters, x, states, layer, nudge=nudge)
        torch.testing.assert_close(updated, step.clamp(0, 1) if box else step, rtol=0, atol=1e-14)


def test_the_energy_of_a_small_network_by_hand() -> None:
    config = HopfieldConfig(input_shape=(2,), couplings=(DenseCoupling(size=1),), slope=0.5)
    w = torch.tensor([[3.0, -1.0]])
    parameters = HopfieldParameters((w,), (None, torch.tensor([0.25])))
    x, s1, s2 = torch.tensor([[2.0, 1.0]]), torch.tensor([[0.5, 1.0]]), torch.tensor([[-2.0]])
    # (0.25 + 1) / (2 x 0.5) + 4 / 2 - (1 + 1) + 0.25 x 2 + 2 x (1.5 - 1)
    assert compute_energy(config, parameters, x, (s1, s2)).item() == pytest.approx(1.25 + 2 - 2 + 0.5 + 1)
    assert update_layer(config, parameters, x, (s1, s2), 0).tolist() == [[0, 1]]  # 0.5 (2 - 6) and 0.5 (1 + 2)
    assert update_layer(config, parameters, x, (s1, s2), 1).tolist() == [[0.75]]  # no slope, no clamp
    assert update_layer(config, parameters, x, (s1, s2), 1, nudge=torch.tensor([[1.0]])).tolist() == [[-0.25]]


def test_couplings_are_torchs_own_layers() -> None:
    torch.manual_seed(0)
    image = torch.randn(3, 2, 9, 8)
    for coupling in (
        ConvCoupling(channels=4, kernel=3, stride=1, padding=1),
        ConvCoupling(channels=4, kernel=4, stride=3, padding=2),
        ConvCoupling(channels=4, kernel=2, stride=2, padding=0, pool=2),
    ):
        conv = nn.Conv2d(2, 4, coupling.kernel, stride=coupling.stride, padding=coupling.padding, bias=False)
        wanted = conv(image) if coupling.pool is None else nn.MaxPool2d(coupling.pool)(conv(image))
        assert torch.equal(coupling.forward(image, conv.weight), wanted)
        assert coupling.next_shape((2, 9, 8), "here") == tuple(wanted.shape[1:])
        assert coupling.weight_shape((2, 9, 8)) == tuple(conv.weight.shape)
    linear = nn.Linear(2 * 9 * 8, 5, bias=False)
    torch.testing.assert_close(DenseCoupling(size=5).forward(image, linear.weight), linear(image.flatten(1)))


def test_the_alternating_steps_never_raise_the_energy() -> None:
    for config in (DENSE, CONV, STRIDED):
        parameters, x, states = draw(config)
        energies = [compute_energy(config, parameters, x, states)]
        for _ in range(10):
            states = list(relax(config, parameters, x, states, steps=1).states)
            energies.append(compute_energy(config, parameters, x, states))
        assert all(bool((after <= before + 1e-12).all()) for before, after in pairwise(energies))


def test_a_convex_energy_has_one_equilibrium_and_another_may_have_two() -> None:
    config = HopfieldConfig(input_shape=(1,), couplings=(DenseCoupling(size=1),), last_layer=LastLayer.CLAMPED, slope=1)
    low, high = torch.zeros(1, 1), torch.ones(1, 1)
    ends = []
    for w, x, bias in ((0.9, -0.05, 0.1), (2.0, -0.4, -0.4)):
        parameters = HopfieldParameters((torch.tensor([[w]]),), (None, torch.tensor([bias])))
        ends += [relax(config, parameters, torch.full((1, 1), x), (s, s), steps=500).states for s in (low, high)]
        assert smallest_eigenvalue(config, parameters) == pytest.approx(1 - w)
    found = [[s.item() for s in states] for states in ends]
    assert found[0] == pytest.approx([0.04 / 0.19, 0.055 / 0.19], abs=1e-6)  # s^1 = 0.9 s^2 - 0.05, s^2 = 0.9 s^1 + 0.1
    assert found[1] == pytest.approx(found[0], abs=1e-6)
    assert found[2:] == [[0, 0], [1, 1]]


def test_relaxation_stops_at_the_tolerance_and_says_how_far_it_is() -> None:
    parameters, x, states = draw(DENSE)
    parameters = parameters.replace([0.5 * tensor for tensor in parameters.flatten()])
    settled = relax(DENSE, parameters, x, states, steps=1000, tolerance=1e-9)
    assert 3 < settled.steps < 200
    assert 0 < settled.change < 1e-9
    before = relax(DENSE, parameters, x, states, steps=settled.steps - 1)
    assert before.change >= 1e-9
    largest = max(float((new - old).abs().max()) for old, new in zip(before.states, settled.states, strict=True))
    assert settled.change == largest
    assert relax(DENSE, parameters, x, states, steps=0).change == 0


@pytest.mark.parametrize("name", ["dense", "conv", "strided"])
def test_matrices_are_the_couplings(name: str) -> None:
    config = NETWORKS[name]
    parameters, _, states = draw(config)
    matrices = build_matrices(config, parameters)
    assert [tuple(m.shape) for m in matrices] == [(math.prod(b), math.prod(a)) for a, b in pairwise(config.shapes)]
    for number, (coupling, weight, matrix) in enumerate(
        zip(config.couplings, parameters.weights, matrices, strict=True)
    ):
        below, above = states[number], states[number + 1]
        up, down = coupling.forward(below, weight), coupling.backward(above, below, weight)
        torch.testing.assert_close(up.flatten(1), below.flatten(1) @ matrix.T)
        torch.testing.assert_close(down.flatten(1), above.flatten(1) @ matrix)


@pytest.mark.parametrize("name", ["dense", "conv", "strided"])
def test_the_smallest_eigenvalue_is_that_of_the_hessian(name: str) -> None:
    config = NETWORKS[name]
    parameters, x, states = draw(config, n=1)
    sizes = [math.prod(shape) for shape in config.shapes]

    def energy(flat: Tensor) -> Tensor:
        parts = [s.reshape(1, *shape) for s, shape in zip(flat.split(sizes), config.shapes, strict=True)]
        return compute_energy(config, parameters, x, parts)[0]

    hessian = torch.autograd.functional.hessian(energy, torch.cat([s.flatten() for s in states]))
    wanted = float(torch.linalg.eigvalsh(hessian)[0])
    assert smallest_eigenvalue(config, parameters) == pytest.approx(wanted, abs=1e-12)
    assert smallest_eigenvalue(config, parameters, dense_up_to=0) == pytest.approx(wanted, abs=1e-7)


def test_two_layers_are_convex_where_the_slopes_and_the_norm_say() -> None:
    config = HopfieldConfig(
        input_shape=(6,), couplings=(DenseCoupling(size=4),), last_layer="clamped", slope=(0.5, 0.8)
    )
    w = torch.randn(4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    w /= torch.linalg.matrix_norm(w, 2) * math.sqrt(0.5 * 0.8)
    for factor in (0.99, 1.01):
        found = smallest_eigenvalue(config, HopfieldParameters((factor * w,), (None, None)))
        assert (found > 0) == (factor < 1)


def test_lanczos_takes_a_convolution_of_many_units() -> None:
    config = HopfieldConfig(input_shape=(6, 12, 12), couplings=(ConvCoupling(channels=6),), slope=0.5)
    parameters = draw_parameters(config, generator=torch.Generator().manual_seed(0))
    found = smallest_eigenvalue(config, parameters)  # 1,728 units
    norm = float(torch.linalg.matrix_norm(build_matrices(config, parameters)[0].double(), 2))
    wanted = torch.linalg.eigvalsh(torch.tensor([[2.0, -norm], [-norm, 1.0]], dtype=torch.float64))[0]
    assert found == pytest.approx(float(wanted), abs=1e-6)
    assert found == smallest_eigenvalue(config, parameters)  # to the bit


def test_what_a_max_pool_cannot_have_is_refused_by_name() -> None:
    parameters, _, _ = draw(POOL)
    assert POOL.has_max_pool
    assert not CONV.has_max_pool
    with pytest.raises(StageError, match=r"'hopfield': coupling 1 has a max-pool inside the energy \(pool = 2\)"):
        build_matrices(POOL, parameters)
    with pytest.raises(StageError, match="so the smallest eigenvalue cannot be given"):
        smallest_eigenvalue(POOL, parameters)


def test_matrices_too_large_and_weights_that_are_no_numbers_are_refused() -> None:
    parameters, _, _ = draw(DENSE)
    with pytest.raises(StageError, match=r"coupling 1 as a matrix would be 6 x 5, more than 29 entries"):
        build_matrices(DENSE, parameters, max_entries=29)
    parameters.weights[0][0, 0] = math.nan
    with pytest.raises(StageError, match="a weight is not finite"):
        smallest_eigenvalue(DENSE, parameters)


def test_goe_kernels_have_the_papers_statistics() -> None:
    variance = 8.351e-5
    kernels = draw_goe((80, 60, 3, 3), variance=variance, generator=torch.Generator().manual_seed(0)).double()
    assert torch.equal(kernels, kernels.mT)
    diagonal = kernels.diagonal(dim1=-2, dim2=-1)  # 14,400 numbers each
    off = torch.stack([kernels[..., 0, 1], kernels[..., 0, 2], kernels[..., 1, 2]])
    assert float(off.var()) == pytest.approx(variance / 3, rel=0.05)
    assert float(diagonal.std()) == pytest.approx(math.sqrt(8 * variance / 3), rel=0.025)
    for values in (off, diagonal):
        assert abs(float(values.mean())) < 4 * float(values.std()) / math.sqrt(values.numel())
        assert float((values**4).mean() / values.var() ** 2) == pytest.approx(3, rel=0.1)  # Gaussian
    mixed = torch.corrcoef(torch.stack([off[0].flatten(), off[1].flatten(), diagonal[..., 0].flatten()]))
    assert float((mixed - torch.eye(3)).abs().max()) < 0.05
    wide = draw_goe((200, 60, 5, 5), variance=1.0, generator=torch.Generator().manual_seed(0))
    assert float(wide[..., 0, 4].var()) == pytest.approx(1 / 5, rel=0.05)


def test_a_generator_decides_the_weights_and_leaves_the_global_one_alone() -> None:
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    first, second = (draw_parameters(CONV, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.flatten(), second.flatten(), strict=True))
    assert [bias is None or float(bias.abs().max()) == 0 for bias in first.biases] == [True, True, True, False]


def test_torchs_defaults_are_torchs() -> None:
    config = HopfieldConfig(input_shape=(2, 4, 4), couplings=(ConvCoupling(channels=3), DenseCoupling(size=5)))
    torch.manual_seed(7)
    conv, linear = nn.Conv2d(2, 3, 3, padding=1), nn.Linear(48, 5)
    torch.manual_seed(7)
    drawn = draw_parameters(config, goe_variance=None)
    for found, wanted in zip(drawn.weights, (conv.weight, linear.weight), strict=True):
        torch.testing.assert_close(found, wanted)
    for found, wanted in zip(drawn.biases[1:], (conv.bias, linear.bias), strict=True):
        torch.testing.assert_close(found, wanted)


def test_shapes_slopes_and_boxes_of_each_layer() -> None:
    assert CONV.shapes == ((2, 7, 7), (3, 3, 3), (4, 4, 4), (3,))
    assert POOL.shapes == ((2, 7, 7), (3, 3, 3), (2, 2, 2), (4,))
    assert CONV.output_shape == (3,)
    assert DENSE.slopes == (0.5, 0.8, 1.0)
    assert DENSE.boxes == (True, True, False)
    assert CONV.slopes == (0.7,) * 4
    assert CONV.boxes == (True,) * 4
    assert HopfieldConfig(input_shape=[2], couplings=[DenseCoupling(size=1)], last_layer="clamped").boxes[1]


def test_numbers_that_a_network_cannot_have_are_refused() -> None:
    one = (DenseCoupling(size=1),)
    with pytest.raises(StageError, match=r"'b': slope = -1; give a finite number above zero"):
        HopfieldConfig(name="b", input_shape=(2,), couplings=one, slope=-1)
    with pytest.raises(StageError, match="3 slopes for 1 of 2 layers that have a box"):
        HopfieldConfig(input_shape=(2,), couplings=one, slope=(1, 1, 1))
    with pytest.raises(StageError, match=r"input_shape = \(2, 2\); give \(units,\) or \(channels, height, width\)"):
        HopfieldConfig(input_shape=(2, 2), couplings=one)
    with pytest.raises(StageError, match="no couplings; give one or more"):
        HopfieldConfig(input_shape=(2,), couplings=())
    with pytest.raises(StageError, match="coupling 1 is 3; give a DenseCoupling or a ConvCoupling"):
        HopfieldConfig(input_shape=(2,), couplings=(3,))
    with pytest.raises(StageError, match="last_layer = 'free'; allowed are 'linear', 'clamped'"):
        HopfieldConfig(input_shape=(2,), couplings=one, last_layer="free")
    with pytest.raises(StageError, match=r"coupling 2: couples images .*, gets shape \(1,\); use a dense one"):
        HopfieldConfig(input_shape=(2,), couplings=(*one, ConvCoupling(channels=1)))
    with pytest.raises(StageError, match="coupling 1: kernel = 5 is larger than the layer below, 2x2 and padding 1"):
        HopfieldConfig(input_shape=(1, 2, 2), couplings=(ConvCoupling(channels=1, kernel=5),))
    with pytest.raises(StageError, match="coupling 1: pool = 3 is larger than what the convolution gives, 2x2"):
        HopfieldConfig(input_shape=(1, 2, 2), couplings=(ConvCoupling(channels=1, pool=3),))
    with pytest.raises(StageError, match="conv coupling: stride = 0; give a whole number, 1 or more"):
        ConvCoupling(channels=1, stride=0)
    with pytest.raises(StageError, match=r"dense coupling: size = 2.5; give a whole number"):
        DenseCoupling(size=2.5)
    with pytest.raises(StageError, match="GOE initialisation: kernels of 3x2; only square ones"):
        draw_goe((1, 1, 3, 2), variance=1.0)
    with pytest.raises(StageError, match=r"GOE initialisation: variance = 0\.0"):
        draw_goe((1, 1, 3, 3), variance=0.0)
