"""AnalogBlock is a torch module like any other: containers, optimisers, copies, precision, and what it refuses."""

from __future__ import annotations

import copy
import pickle
from contextlib import closing

import numpy as np
import pytest
import torch
from analog_blocks import analog, draw_block, gradients, relative_error, small_block
from torch import nn

from circuits import Clamp, DiodeModel, Drive, EnergyBlock, NodeLayer, Polarity
from cosim.analog_block import AnalogBlock, Gradient
from cosim.conductance import Conductance
from cosim.converters import Converters
from cosim.errors import BlockError, ConvergenceError
from cosim.phase_settings import DifferenceRead, PhaseSettings
from cosim.relaxation import Reduce, RelaxationOptions
from cosim.simulators.newton import NewtonSimulator
from cosim.simulators.ngspice.simulator import NgspiceSimulator
from cosim.simulators.ngspice.thermal import measure_k_over_q

NEWTON = NewtonSimulator()


def make_block(*, drive: Drive = Drive.VOLTAGE, polarity: Polarity = Polarity.DIFFERENTIAL, **options) -> AnalogBlock:
    description = small_block("first", 4, 4, 3, drive=drive, polarity=polarity)
    generator = torch.Generator().manual_seed(1)
    return AnalogBlock(description, simulator=options.pop("simulator", NEWTON), generator=generator, **options)


def make_network(**options) -> nn.Sequential:
    second = AnalogBlock(small_block("second", 5, 5, 3, drive=Drive.CURRENT), simulator=NEWTON, **options)
    return nn.Sequential(nn.Linear(6, 4), make_block(**options), nn.Linear(3, 5), nn.Tanh(), second, nn.Linear(3, 3))


def draw_x(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def class_loss(network: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(network(x), torch.arange(len(x)) % 3)


# ------------------------------------------------------------------------------------------------ a torch module


def test_parameters_have_names_shapes_and_a_window() -> None:
    block = make_block()
    shapes = {name: tuple(parameter.shape) for name, parameter in block.named_parameters()}
    assert shapes == {
        f"g_{sign}.{name}": shape
        for sign in ("plus", "minus")
        for name, shape in (("w1", (4, 4)), ("w2", (4, 3)), ("b1", (1, 4)))
    }
    low, high = block.block.window
    for parameter in block.parameters():
        assert isinstance(parameter, Conductance)
        assert parameter.window == (low, high)
        assert parameter.dtype == torch.float32
        assert bool(((parameter >= low) & (parameter <= high)).all())
    # The smaller device of a pair sits at g_min.
    smaller = torch.minimum(block.g_plus["w1"], block.g_minus["w1"])
    torch.testing.assert_close(smaller, torch.full_like(smaller, low))
    assert [name for name, _ in make_block(polarity=Polarity.SINGLE).named_parameters()] == [
        "g_plus.w1", "g_plus.w2", "g_plus.b1"
    ]  # fmt: skip


def test_initial_weights_come_from_the_generator() -> None:
    one, other = make_block(), make_block()
    assert torch.equal(one.g_plus["w1"], other.g_plus["w1"])
    torch.manual_seed(0)
    third = AnalogBlock(one.block, simulator=NEWTON)
    assert not torch.equal(one.g_plus["w1"], third.g_plus["w1"])


def test_hybrid_network_learns() -> None:
    torch.manual_seed(0)
    network = make_network()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    x = draw_x(12, 6)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = class_loss(network, x)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.85 * losses[0]


def test_every_stage_of_a_network_gets_the_gradient_of_backprop() -> None:
    torch.manual_seed(0)
    network = make_network(settings=PhaseSettings(beta=1e-3)).double()
    reference = copy.deepcopy(network)
    for k in (1, 4):
        reference[k] = reference[k].configured(gradient=Gradient.IMPLICIT)
    x = draw_x(5, 6, dtype=torch.float64)
    for model in (network, reference):
        class_loss(model, x).backward()
    for (name, found), exact in zip(network.named_parameters(), reference.parameters(), strict=True):
        assert found.grad is not None
        assert exact.grad is not None
        np.testing.assert_allclose(
            found.grad, exact.grad, rtol=0, atol=1e-4 * float(exact.grad.abs().max()), err_msg=name
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("weights", [torch.float32, torch.float64])
def test_digital_side_keeps_its_precision(dtype: torch.dtype, weights: torch.dtype) -> None:
    block = make_block().to(weights)
    x = draw_x(3, 4).to(dtype).requires_grad_()
    states = block(x)
    assert states.dtype == dtype
    states.sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == dtype
    for parameter in block.parameters():
        assert isinstance(parameter, Conductance)
        assert parameter.grad is not None
        assert parameter.grad.dtype == parameter.dtype == weights
    assert block.get_buffer("converter_ranges").dtype == weights


def test_both_precisions_agree() -> None:
    block = make_block()
    x = draw_x(3, 4)
    single = block(x)
    double = block.double()(x.double())
    torch.testing.assert_close(single.double(), double, rtol=0, atol=1e-6)


@pytest.mark.parametrize("drive", Drive)
@pytest.mark.parametrize("polarity", Polarity)
def test_torchs_gradcheck(polarity: Polarity, drive: Drive) -> None:
    layers = (NodeLayer(size=2, clamp=Clamp(low_v=-0.3, high_v=0.3), bias=True), NodeLayer(size=2, leak_s=5e-5))
    description = EnergyBlock(name="g", n_inputs=2, layers=layers, drive=drive, polarity=polarity)
    block = AnalogBlock(description, simulator=NEWTON, gradient=Gradient.IMPLICIT).double()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.clamp_(0.1, 1.0)
    x = draw_x(2, 2, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, *_: block(x), (x, *block.parameters()), atol=1e-7, rtol=1e-5)


def test_input_without_gradient() -> None:
    block = make_block()
    block(draw_x(3, 4)).sum().backward()
    assert all(parameter.grad is not None for parameter in block.parameters())
    x = draw_x(3, 4).requires_grad_()
    for parameter in block.parameters():
        parameter.requires_grad_(False).grad = None
    block(x).sum().backward()
    assert x.grad is not None
    assert all(parameter.grad is None for parameter in block.parameters())


def test_no_grad_relaxes_the_free_phase_only() -> None:
    block = make_block().eval()
    with torch.no_grad():
        states = block(draw_x(3, 4))
    assert not states.requires_grad
    assert block.counters.relaxations == 3
    with_graph = block(draw_x(3, 4))
    assert with_graph.requires_grad
    torch.testing.assert_close(with_graph, states, rtol=0, atol=0)
    assert block.counters.relaxations == 6
    with_graph.sum().backward()
    assert block.counters.relaxations == 12


def test_train_and_eval_decide_on_ranges_alone() -> None:
    block = make_block(
        converters=Converters.uniform(8), settings=PhaseSettings(difference_read=DifferenceRead.SAMPLE_AND_HOLD)
    )
    block.train()(draw_x(8, 4))
    before = block.get_buffer("converter_ranges").clone()
    assert float(before[0]) > 0
    block.eval()(5 * draw_x(8, 4))
    assert torch.equal(block.get_buffer("converter_ranges"), before)
    block.train()(5 * draw_x(8, 4))
    assert float(block.get_buffer("converter_ranges")[0]) == pytest.approx(5 * float(before[0]))


def test_state_dict_round_trip() -> None:
    block = make_block(converters=Converters.uniform(6))
    x = draw_x(6, 4)
    block(x)
    state = copy.deepcopy(block.state_dict())
    assert set(state) == {*dict(block.named_parameters()), "converter_ranges"}
    assert bool(state["converter_ranges"][:2].all())
    other = AnalogBlock(block.block, simulator=NEWTON, converters=Converters.uniform(6))
    assert other.load_state_dict(state).missing_keys == []
    assert all(isinstance(parameter, Conductance) for parameter in other.parameters())
    # Quantised by the ranges that were loaded: a smaller batch meets the same steps.
    block.eval()
    other.eval()
    torch.testing.assert_close(other(0.1 * x), block(0.1 * x), rtol=0, atol=0)


def test_same_input_again_gives_the_same_bits() -> None:
    block = make_block()
    x = draw_x(5, 4)
    assert torch.equal(block(x), block(x))


def test_empty_batch() -> None:
    block = make_block()
    x = torch.zeros(0, 4, requires_grad=True)
    states = block(x)
    assert states.shape == (0, 3)
    states.sum().backward()
    assert x.grad is not None
    assert x.grad.shape == (0, 4)


def test_graph_can_be_used_twice() -> None:
    block = make_block()
    loss = block(draw_x(3, 4)).sum()
    loss.backward(retain_graph=True)
    once = block.g_plus["w1"].grad.clone()
    loss.backward()
    torch.testing.assert_close(block.g_plus["w1"].grad, 2 * once)


def test_two_forward_passes_before_one_backward() -> None:
    # A block used twice in one graph: each pass has its own equilibrium.
    block = make_block().double()
    one, other = draw_x(3, 4, dtype=torch.float64), draw_x(3, 4, dtype=torch.float64, seed=5)
    (block(one).sum() + block(other).sum()).backward()
    together = block.g_plus["w1"].grad.clone()
    block.zero_grad()
    block(one).sum().backward()
    block(other).sum().backward()
    torch.testing.assert_close(together, block.g_plus["w1"].grad, rtol=1e-9, atol=1e-12)


def test_backward_after_a_change_of_the_weights_is_torchs_error() -> None:
    block = make_block()
    loss = block(draw_x(3, 4)).sum()
    with torch.no_grad():
        block.g_minus["w2"].add_(0.01)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_second_derivative_is_refused() -> None:
    block = make_block()
    x = draw_x(2, 4).requires_grad_()
    (slope,) = torch.autograd.grad(torch.sin(block(x)).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


def test_functional_call_takes_other_weights() -> None:
    block = make_block()
    other = {name: torch.full_like(p, 0.5) for name, p in block.named_parameters()}
    states = torch.func.functional_call(block, other, (draw_x(2, 4),))
    assert not torch.allclose(states, block(draw_x(2, 4)), atol=1e-3)


# ---------------------------------------------------------------------------------------------------- optimisers


OPTIMIZERS = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=3.0, momentum=0.9),
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.3),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=0.3, weight_decay=0.1),
    "adam-foreach": lambda parameters: torch.optim.Adam(parameters, lr=0.3, foreach=True),
    "lbfgs": lambda parameters: torch.optim.LBFGS(parameters, lr=1.0, max_iter=8),
    "lbfgs-wolfe": lambda parameters: torch.optim.LBFGS(parameters, max_iter=8, line_search_fn="strong_wolfe"),
}


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("keyword", [False, True])
def test_weights_stay_in_the_window_after_each_step(make, keyword: bool) -> None:
    block = make_block(settings=PhaseSettings(beta=0.01))
    optimizer = make(block.parameters())
    x = draw_x(6, 4)
    low, high = block.block.window
    losses = []

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = ((block(x) - 0.5) ** 2).sum()
        loss.backward()
        losses.append(float(loss.detach()))
        return loss

    at_an_edge = 0
    for _ in range(4):
        if keyword or isinstance(optimizer, torch.optim.LBFGS):
            optimizer.step(closure=closure) if keyword else optimizer.step(closure)
        else:
            closure()
            optimizer.step()
        for parameter in block.parameters():
            assert isinstance(parameter, Conductance)
            values = parameter.detach()
            assert bool(((values >= low) & (values <= high)).all())
            at_an_edge += int(((values == np.float32(low)) | (values == np.float32(high))).sum())
    assert at_an_edge > 0  # so the window did act
    assert min(losses) < losses[0]
    block(x)


def test_other_parameters_of_an_optimiser_are_left_alone() -> None:
    network = nn.Sequential(nn.Linear(4, 4), make_block())
    with torch.no_grad():
        network[0].weight.fill_(-3.0)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    network(draw_x(2, 4)).sum().backward()
    optimizer.step()
    assert bool((network[0].weight < -2.0).all())


# -------------------------------------------------------------------------------------------------------- copies


def test_deepcopy_has_its_own_weights_and_shares_the_simulator() -> None:
    block = (
        make_block(converters=Converters.uniform(8), relaxation=RelaxationOptions(reduce=Reduce.FOLD)).double().eval()
    )
    x = draw_x(3, 4, dtype=torch.float64)
    block.g_plus["w1"].requires_grad_(False)
    copied = copy.deepcopy(block)
    assert copied.simulator is block.simulator
    assert copied.training is False
    assert copied.relaxation_options == block.relaxation_options
    assert [p.requires_grad for p in copied.parameters()] == [p.requires_grad for p in block.parameters()]
    assert all(isinstance(p, Conductance) and p.window == block.block.window for p in copied.parameters())
    torch.testing.assert_close(copied(x), block(x), rtol=0, atol=0)
    before = block(x)
    with torch.no_grad():
        copied.g_plus["w1"].fill_(1.0)
    torch.testing.assert_close(block(x), before, rtol=0, atol=0)
    assert not torch.allclose(copied(x), before, atol=1e-3)
    copied(x).sum().backward()
    assert copied.g_minus["w2"].grad is not None
    assert block.g_minus["w2"].grad is None
    copied.get_buffer("converter_ranges").fill_(7.0)
    assert not bool((block.get_buffer("converter_ranges") == 7.0).any())


def test_deepcopy_of_a_network_works_and_draws_no_random_numbers() -> None:
    network = make_network()
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    copied = copy.deepcopy(network)
    assert torch.equal(torch.rand(1), expected)
    x = draw_x(4, 6)
    torch.testing.assert_close(copied(x), network(x), rtol=0, atol=0)
    # An optimiser copied along with the network steers the copy.
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    again, other = copy.deepcopy((network, optimizer))
    class_loss(again, x).backward()
    other.step()
    assert not torch.equal(again[1].g_plus["w1"], network[1].g_plus["w1"])


def test_configured_changes_what_is_named_and_keeps_the_rest() -> None:
    block = make_block(settings=PhaseSettings(beta=0.3), converters=Converters.uniform(5)).eval()
    block.get_buffer("converter_ranges").fill_(2.0)
    other = NewtonSimulator()
    changed = block.configured(simulator=other, gradient=Gradient.IMPLICIT)
    assert changed.simulator is other
    assert changed.gradient is Gradient.IMPLICIT
    assert changed.settings == block.settings
    assert changed.converters == block.converters
    assert not changed.training
    assert bool((changed.get_buffer("converter_ranges") == 2.0).all())
    for one, two in zip(block.parameters(), changed.parameters(), strict=True):
        assert torch.equal(one, two)
        assert one is not two
    assert block.configured(settings=PhaseSettings(beta=0.1)).settings.beta == 0.1
    assert block.configured(converters=Converters.ideal()).converters == Converters()
    options = RelaxationOptions(reduce=Reduce.NONE)
    assert block.configured(relaxation=options).relaxation_options is options
    assert block.counters.relaxations == 0


def test_repr_names_sizes_drive_and_simulator() -> None:
    assert repr(make_block()).startswith("AnalogBlock(\n  'first', 4-4-3, voltage-driven, newton")


def test_clamped_share() -> None:
    drawn = draw_block(1, Polarity.DIFFERENTIAL, Drive.VOLTAGE, 2)
    block = analog(drawn)
    assert block.clamped_share is None
    block(torch.from_numpy(drawn.x))
    assert block.clamped_share == drawn.built.clamped_share(block.free_phase(torch.from_numpy(drawn.x)).point.voltage_v)
    assert 0.1 < block.clamped_share < 0.9


# ----------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_input_that_is_not_finite(value: float) -> None:
    x = draw_x(3, 4)
    x[2, 1] = value
    with pytest.raises(BlockError, match=rf"block 'first': input 1 of sample 2 is {value}; look for a division"):
        make_block()(x)


@pytest.mark.parametrize("shape", [(4,), (2, 5), (2, 4, 1), (0, 3)])
def test_input_of_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(BlockError, match=r"block 'first': input of shape \(.*\); it takes \[batch, 4\]"):
        make_block()(torch.zeros(shape))


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_input_of_another_type(dtype: torch.dtype) -> None:
    with pytest.raises(BlockError, match=rf"block 'first': input of type {dtype}; give float32 or float64"):
        make_block()(torch.zeros(2, 4, dtype=dtype))


@pytest.mark.parametrize("value", [np.nan, np.inf, 2.001, 0.0, -0.5])
def test_weight_outside_the_window(value: float) -> None:
    block = make_block()
    with torch.no_grad():
        block.g_minus["w2"][3, 1] = value
    message = (
        rf"block 'first': g_minus.w2\[3, 1\] = {value:g}, outside the window \[0.001, 2\] of g_unit \(1 such\); clamp"
    )
    with pytest.raises(BlockError, match=message):
        block(draw_x(1, 4))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_loss_gradient_that_is_not_finite(value: float) -> None:
    block = make_block()
    states = block(draw_x(3, 4))
    gradient = torch.zeros_like(states)
    gradient[1, 0] = value
    with pytest.raises(
        BlockError, match=r"block 'first': the loss gradient of sample 1 is not finite; look at the loss"
    ):
        states.backward(gradient)


def test_input_beyond_all_physics() -> None:
    block = make_block(drive=Drive.CURRENT)
    x = draw_x(3, 4, dtype=torch.float64)
    x[1, 2] = 1e300
    with pytest.raises(ConvergenceError, match=r"block 'first': .* 1 of 3 samples"):
        block(x)
    block(x[:1])  # and it goes on


def test_backward_without_a_free_phase_of_these_weights_is_not_confused() -> None:
    # Weights change between two forward passes: each backward uses the circuit of its own forward.
    block = make_block(settings=PhaseSettings(beta=1e-3)).double()
    x = draw_x(3, 4, dtype=torch.float64).numpy()
    first = gradients(block, x)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.mul_(0.5).clamp_(*block.block.window)
    second = gradients(block, x)
    fresh = gradients(copy.deepcopy(block), x)
    assert relative_error(second, fresh) < 1e-8
    assert relative_error(second, first) > 1e-2


@pytest.mark.ngspice
@pytest.mark.parametrize("drive", Drive)
@pytest.mark.parametrize("polarity", Polarity)
@pytest.mark.parametrize("diode", [DiodeModel(), DiodeModel(series_resistance_ohm=300.0)], ids=["plain", "series"])
def test_implicit_gradients_at_ngspices_equilibrium_are_newtons(
    polarity: Polarity, drive: Drive, diode: DiodeModel
) -> None:
    drawn = draw_block(1, polarity, drive, 2, diode=diode, k_over_q_v_per_k=measure_k_over_q())
    with closing(NgspiceSimulator()) as ngspice:
        block = analog(drawn, ngspice, gradient=Gradient.IMPLICIT)
        found, exact = gradients(block, drawn.x), gradients(analog(drawn, gradient=Gradient.IMPLICIT), drawn.x)
    assert block.counters.relaxations == len(drawn.x)  # the free phase alone, in ngspice
    assert relative_error(found, exact) < 1e-7
    for name, reference in exact.items():
        assert np.linalg.norm(found[name]) == pytest.approx(np.linalg.norm(reference), rel=1e-7), name


def test_window_survives_assigned_and_pickled_weights() -> None:
    block, other = make_block(), make_block()
    other.load_state_dict(block.state_dict(), assign=True)
    optimizer = torch.optim.SGD(other.parameters(), lr=1e3)
    other(draw_x(2, 4)).sum().backward()
    optimizer.step()
    low, high = other.block.window
    for parameter in other.parameters():
        assert isinstance(parameter, Conductance)
        assert low <= parameter.min()
        assert parameter.max() <= high
    weight = next(block.parameters())
    restored = pickle.loads(pickle.dumps(weight))  # noqa: S301  what multiprocessing does with a parameter
    assert isinstance(restored, Conductance)
    assert restored.window == weight.window
    assert torch.equal(restored, weight)


def test_gradient_by_word() -> None:
    assert make_block(gradient="implicit").gradient is Gradient.IMPLICIT
    with pytest.raises(BlockError, match=r"block 'first': gradient = 'exact'; allowed are 'ep', 'implicit'"):
        make_block(gradient="exact")


def test_arguments_of_another_kind() -> None:
    block = make_block().block
    with pytest.raises(BlockError, match=r"block 'first': simulator = 'newton'; give an instance, as NgspiceSimulator"):
        AnalogBlock(block, simulator="newton")
    with pytest.raises(BlockError, match=r"block 'first': simulator = <class .*NewtonSimulator'>; give an instance"):
        AnalogBlock(block, simulator=NewtonSimulator)
    with pytest.raises(BlockError, match=r"block 'first': input of type ndarray; give a torch tensor"):
        make_block()(np.zeros((2, 4)))


@pytest.mark.parametrize("size", [1e3, 1e6, 1e9])
def test_a_large_drive_of_a_linear_block_rounds_and_is_accepted(size: float) -> None:
    linear = EnergyBlock(name="linear", n_inputs=4, layers=(NodeLayer(size=3, leak_s=1e-4),))
    block = AnalogBlock(linear, simulator=NewtonSimulator()).double()
    x = draw_x(8, 4).double()
    torch.testing.assert_close(block(size * x) / size, block(x), rtol=1e-9, atol=0)
