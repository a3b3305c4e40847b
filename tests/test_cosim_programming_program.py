"""What can be programmed and what cannot, what becomes of the module, and how it is reported."""

from __future__ import annotations

import copy
import json
import math

import pytest
import torch
from analog_blocks import small_block
from hopfield_blocks import CHAIN, IMAGE, by_hand, convex, program
from small_bundles import MAX_POOLED
from test_digital_hopfield_block import draw_input, make
from torch import nn

from cosim.analog_block import AnalogBlock, Gradient
from cosim.converters import Adc, Converters, Dac
from cosim.phase_settings import PhaseSettings
from cosim.programming.analog import program_analog
from cosim.programming.errors import ProgrammingError
from cosim.programming.program import program_block
from cosim.programming.report import LayerLeaks, Passivity, ProgrammingReport, WindowFit
from cosim.programming.settings import ActiveLeaks, OutOfWindow, ProgrammingSettings
from cosim.relaxation import Reduce, RelaxationOptions
from cosim.simulators.newton import NewtonSimulator
from digital.hopfield import ConvCoupling, DenseCoupling, HopfieldBlock, HopfieldConfig
from digital.tanh_layers import TanhLayers

CONVOLVED = HopfieldConfig(input_shape=(2, 5, 6), couplings=(ConvCoupling(channels=3, stride=2),), name="convolved")


def on_circuit(module: nn.Module, **options) -> AnalogBlock:
    return AnalogBlock.from_digital(module, simulator=NewtonSimulator(), **options)


ONE_WAY = "it computes in one direction, and a circuit relaxes in both"
NO_ENERGY = "it has no energy that a resistive circuit could have"
REFUSED = {
    "Linear": (nn.Linear(3, 2), ONE_WAY),
    "Tanh": (nn.Tanh(), ONE_WAY),
    "TanhLayers": (TanhLayers(3, [2]), ONE_WAY),
    "Sequential": (nn.Sequential(nn.Linear(3, 2), nn.Tanh()), ONE_WAY),
    "Conv2d": (nn.Conv2d(1, 1, 3), ONE_WAY),
    "ReLU": (nn.ReLU(), NO_ENERGY),
    "Identity": (nn.Identity(), NO_ENERGY),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_modules_are_refused_with_the_reason_and_what_is_accepted(name: str) -> None:
    module, reason = REFUSED[name]
    accepted = r"\. Accepted: a HopfieldBlock without max-pool inside the energy, or a trained AnalogBlock$"
    for convert in (on_circuit, program_block):
        with pytest.raises(ProgrammingError, match=rf"^{name} cannot be programmed: {reason}.*{accepted}"):
            convert(module)
    if reason is ONE_WAY:
        with pytest.raises(ProgrammingError, match="train a hopfield stage, or an analog one with an ideal simulator"):
            program_block(module)


def test_a_max_pool_inside_the_energy_is_refused_by_name() -> None:
    text = (
        r"hopfield block 'pooled': coupling 1 has a max-pool inside the energy \(pool = 2\), so a circuit cannot be "
        "given; move the pool to the stage before a block"
    )
    block = HopfieldBlock(MAX_POOLED)
    with torch.no_grad():
        block.weights["0"][:] = math.nan  # what cannot be mended is said first
    with pytest.raises(ProgrammingError, match=text):
        program_block(block)


def test_weights_that_are_no_numbers_are_refused_by_from_digital_too() -> None:
    block = by_hand()
    with torch.no_grad():
        block.weights["0"][1, 0] = math.inf
    with pytest.raises(ProgrammingError, match="hopfield block 'hand': weights of layer 2 hold inf"):
        on_circuit(block)


def modules(dtype: torch.dtype) -> list[nn.Module]:
    """One of each that is accepted."""
    analog = AnalogBlock(small_block("small", 4, 3, 2), simulator=NewtonSimulator())
    return [by_hand(dtype), make(CONVOLVED, size=0.1).to(dtype), analog.to(dtype)]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_the_module_stays_and_the_circuit_takes_after_it(dtype: torch.dtype, training: bool) -> None:
    programming = ProgrammingSettings(g_min_s=2e-7, g_max_s=5e-6)  # moves them all
    for module in modules(dtype):
        module.train(training)
        before, tensors = copy.deepcopy(module.state_dict()), list(module.parameters())
        generator = torch.get_rng_state()
        made = on_circuit(module, programming=programming)
        assert torch.equal(torch.get_rng_state(), generator)
        assert module.training is training
        assert all(a is b for a, b in zip(module.parameters(), tensors, strict=True))
        assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
        assert made.training is training
        assert made.report is not None
        assert made.report.window.outside > 0
        assert made.report == program_block(module, programming).report
        assert {p.dtype for p in made.parameters()} == {dtype}
        own = {p.untyped_storage().data_ptr() for p in module.parameters()}
        assert not own & {p.untyped_storage().data_ptr() for p in made.parameters()}
        x = torch.zeros(2, made.block.n_inputs, dtype=dtype)
        assert made(x).dtype == dtype


def test_the_report_goes_with_every_copy() -> None:
    made = on_circuit(by_hand())
    assert made.report is not None
    assert made.report.source == "hopfield block"
    copied, configured = copy.deepcopy(made), made.configured(gradient=Gradient.IMPLICIT)
    assert copied.report == configured.report == made.report
    assert configured.gradient is Gradient.IMPLICIT
    moved = on_circuit(made, programming=ProgrammingSettings(g_max_s=5e-5))
    assert moved.report is not None
    assert moved.report.source == "analog block"
    assert AnalogBlock(small_block("plain", 4, 3, 2), simulator=NewtonSimulator()).report is None


@pytest.mark.parametrize("what", ["step", "load", "assign", "conductances"])
def test_the_report_ends_with_the_weights_that_it_is_of(what: str) -> None:
    block, x = convex(CHAIN)
    analog = on_circuit(block)
    other = on_circuit(convex(CHAIN, 2)[0])
    assert analog.report is not None
    match what:
        case "step":
            analog(x.flatten(1)).sum().backward()
            assert analog.report is not None
            torch.optim.SGD(analog.parameters(), lr=1e-3).step()
        case "load" | "assign":
            analog.load_state_dict(other.state_dict(), assign=what == "assign")
        case _:
            analog.load_conductances(by_name(other.g_plus), by_name(other.g_minus))
    assert analog.report is None
    assert copy.deepcopy(analog).report is None


def by_name(group: nn.ParameterDict) -> dict[str, object]:
    return {name: parameter.detach().numpy() for name, parameter in group.items()}


def test_a_circuit_that_moves_keeps_how_it_runs() -> None:
    block = AnalogBlock(
        small_block("own", 2, 2),
        simulator=NewtonSimulator(),
        settings=PhaseSettings(beta=0.02),
        converters=Converters(input=Dac(bits=8), output=Adc(bits=6)),
        gradient=Gradient.IMPLICIT,
        relaxation=RelaxationOptions(reduce=Reduce.FOLD),
    )
    block.train()(torch.tensor([[0.3, -0.8]]))  # ranges the converters
    block.g_plus["w1"].requires_grad_(False)
    moved = on_circuit(block, programming=ProgrammingSettings(g_min_s=2e-7))
    assert torch.equal(moved.converter_ranges, block.converter_ranges)
    assert moved.converter_ranges.any()
    assert (moved.settings, moved.converters, moved.gradient) == (block.settings, block.converters, block.gradient)
    assert moved.relaxation_options == block.relaxation_options
    assert [p.requires_grad for p in moved.parameters()] == [p.requires_grad for p in block.parameters()]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_conductances_of_half_precision_weights_are_float32(dtype: torch.dtype) -> None:
    block, _ = convex(CHAIN)
    analog = on_circuit(block.to(dtype))
    assert {p.dtype for p in analog.parameters()} == {torch.float32}
    analog.conductances()  # inside the window


def test_how_the_circuit_runs_is_up_to_the_caller() -> None:
    simulator, phases = NewtonSimulator(), PhaseSettings(beta=0.3)
    options = RelaxationOptions(reduce=Reduce.NONE)
    made = AnalogBlock.from_digital(
        by_hand(),
        simulator=simulator,
        settings=phases,
        converters=Converters.uniform(6),
        gradient=Gradient.IMPLICIT,
        relaxation=options,
    )
    assert made.simulator is simulator
    assert (made.settings, made.relaxation_options, made.gradient) == (phases, options, Gradient.IMPLICIT)
    assert made.converters == Converters.uniform(6)


def test_a_programmed_block_trains_in_its_window() -> None:
    block = make(CONVOLVED, size=0.1)
    made, x = on_circuit(block), draw_input(CONVOLVED)
    optimiser = torch.optim.SGD(made.parameters(), lr=50.0)
    made(x).square().mean().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in made.parameters())
    optimiser.step()
    low, high = made.block.window
    assert all(bool(((p >= low) & (p <= high)).all()) for p in made.parameters())
    assert any(bool((p == high).any()) for p in made.parameters())
    made.conductances()  # or it raises


def test_images_go_in_and_come_out_as_images() -> None:
    block, x = make(CONVOLVED, size=0.1), draw_input(CONVOLVED)
    made = on_circuit(block)
    assert made(x).shape == block(x).shape == (6, 3, 3, 3)
    torch.testing.assert_close(made(x), block(x), rtol=0, atol=0.1)
    flat = made(x.flatten(1))
    assert torch.equal(flat, made(x))
    leaf = x.clone().requires_grad_()
    made(leaf).square().sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.shape == x.shape
    dense, image = convex(IMAGE)
    assert on_circuit(dense)(image).shape == dense(image).shape == (6, 4)
    # Without a convolution the circuit sees no image, but takes one of as many units.
    plain = HopfieldConfig(input_shape=(1, 2, 2), couplings=(DenseCoupling(size=2),))
    only_dense, y = make(plain), draw_input(plain)
    made = on_circuit(only_dense)
    torch.testing.assert_close(made(y), only_dense(y), rtol=0, atol=0.2)
    assert torch.equal(made(y), made(y.flatten(1)))


def test_names_and_numbers_of_the_description() -> None:
    block = program_block(
        convex(CHAIN)[0],
        ProgrammingSettings(v_unit_v=0.5, temperature_k=350.0, k_over_q_v_per_k=8.6e-5, reference_current_a=2e-6),
    ).block
    assert (block.name, block.drive.value, block.polarity.value) == ("chain", "current", "differential")
    assert (block.n_inputs, [layer.size for layer in block.layers]) == (8, [8, 7, 6, 5])
    assert (block.v_unit_v, block.temperature_k, block.k_over_q_v_per_k) == (0.5, 350.0, 8.6e-5)
    assert (block.g_unit_s, block.g_min_s, block.g_max_s) == (1e-4, 1e-7, 2e-4)
    for layer in block.layers:
        assert layer.clamp is not None
        assert (layer.clamp.low_v, layer.clamp.high_v, layer.clamp.reference_current_a) == (0, 0.5, 2e-6)


def test_choices_may_be_words() -> None:
    settings = ProgrammingSettings(out_of_window="refuse", active_leaks="clip")
    assert (settings.out_of_window, settings.active_leaks) == (OutOfWindow.REFUSE, ActiveLeaks.CLIP)
    assert (ProgrammingSettings().out_of_window, ProgrammingSettings().active_leaks) == (
        OutOfWindow.RESCALE,
        ActiveLeaks.ALLOW,
    )
    with pytest.raises(ProgrammingError, match=r"programming: active_leaks = 'some'; .*'allow', 'refuse', 'clip'"):
        ProgrammingSettings(active_leaks="some")
    with pytest.raises(ProgrammingError, match=r"programming: out_of_window = 'x'; .*'rescale', 'clip', 'refuse'"):
        ProgrammingSettings(out_of_window="x")


@pytest.mark.parametrize(
    "name",
    ["v_unit_v", "g_unit_s", "reference_current_a", "temperature_k", "k_over_q_v_per_k", "g_min_s", "g_max_s"],
)
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_numbers_out_of_range_are_refused(name: str, value: float) -> None:
    text = rf"programming: {name} = {value}; give a finite value above zero"
    with pytest.raises(ProgrammingError, match=text):
        ProgrammingSettings(**{name: value})


def test_a_window_upside_down_is_refused() -> None:
    text = r"programming: window upside down: g_min_s = 1e-05, g_max_s = 1e-06"
    with pytest.raises(ProgrammingError, match=text):
        ProgrammingSettings(g_min_s=1e-5, g_max_s=1e-6)
    with pytest.raises(ProgrammingError, match="g_min_s = 1e-05, g_max_s = 1e-05"):
        ProgrammingSettings(g_min_s=1e-5, g_max_s=1e-5)
    with pytest.raises(ProgrammingError, match=r"g_min_s = 0\.001, g_max_s = 0\.0002"):  # of the default window
        program_block(by_hand(), ProgrammingSettings(g_min_s=1e-3))


def test_a_report_as_text_and_as_json() -> None:
    report = program(by_hand(), g_min_s=1e-6, g_max_s=1e-4).report
    # H couples 2 and 1 by the larger singular value of w, whose square is (1.0425 + sqrt(1.0425^2 - 4 0.475^2)) / 2.
    eigenvalue = 1.5 - math.sqrt(0.25 + (1.0425 + math.sqrt(1.0425**2 - 4 * 0.475**2)) / 2)
    assert report.texts() == [
        "window 1e-06 to 0.0001 S: all 6 weights inside at g_unit = 0.0001 S",
        (
            "1 of 4 units need an active leak (layer 2: 1), the largest -3.6e-05 S where the unit's own is 0.0001 S; "
            "passive up to weights times 0.7231"
        ),
        f"smallest eigenvalue of the unclamped Hessian {eigenvalue:.4g}: one equilibrium",
    ]
    found = json.loads(json.dumps(report.to_json()))
    layers = found["passivity"].pop("layers")
    assert layers == [
        {"layer": 1, "units": 2, "active": 0, "lowest_s": pytest.approx(9.1e-5), "highest_s": pytest.approx(1.16e-4)},
        {"layer": 2, "units": 2, "active": 1, "lowest_s": pytest.approx(-3.6e-5), "highest_s": pytest.approx(9e-6)},
    ]
    assert found == {
        "block": "hand",
        "source": "hopfield block",
        "window": {
            "g_min_s": 1e-6,
            "g_max_s": 1e-4,
            "g_unit_s": 1e-4,
            "scale": 1.0,
            "weights": 6,
            "outside": 0,
            "raised": 0,
            "clipped": 0,
            "largest_change_s": 0.0,
        },
        "passivity": {
            "own_s": pytest.approx(1e-4),
            "factor": pytest.approx(0.94 / 1.3),
            "applied": None,
            "units": 4,
            "active": 1,
            "lowest_s": pytest.approx(-3.6e-5),
        },
        "smallest_eigenvalue": pytest.approx(eigenvalue, abs=1e-12),
    }


def test_a_report_of_a_circuit_that_was_moved() -> None:
    block = AnalogBlock(small_block("small", 4, 3, 2), simulator=NewtonSimulator())
    report = program_analog(block, ProgrammingSettings()).report
    assert report.texts() == ["window 1e-07 to 0.0002 S: all 21 weights inside at g_unit = 0.0001 S"]
    found = json.loads(json.dumps(report.to_json()))
    assert (found["source"], found["passivity"], found["smallest_eigenvalue"]) == ("analog block", None, None)


def test_what_was_done_is_said_in_the_order_it_was_done() -> None:
    fit = WindowFit(
        g_min_s=1e-6,
        g_max_s=2e-5,
        g_unit_s=2.5e-5,
        scale=0.25,
        weights=12_345,
        outside=1_200,
        raised=1_100,
        clipped=3,
        largest_change_s=1.25e-6,
    )
    assert fit.text() == (
        "window 1e-06 to 2e-05 S: 1,200 of 12,345 weights outside; conductances and currents times 0.25 (g_unit = "
        "2.5e-05 S); 1,100 pairs raised to g_min, made up for by leaks; 3 clipped, by up to 1.25e-06 S"
    )


def passivity(factor: float | None, applied: float | None = None, active: int = 0) -> Passivity:
    layers = (
        LayerLeaks(layer=1, units=2_000, active=active, lowest_s=-2e-5 if active else 1e-6, highest_s=1e-4),
        LayerLeaks(layer=2, units=10, active=0, lowest_s=3e-5, highest_s=3e-5),
    )
    return Passivity(layers=layers, own_s=2e-4, factor=factor, applied=applied)


def test_passivity_as_a_sentence() -> None:
    assert passivity(1.5).text() == "passive, lowest leak 1e-06 S of 2,010 units; passive up to weights times 1.5"
    assert passivity(None).text() == "passive, lowest leak 1e-06 S of 2,010 units"
    assert passivity(1.0, 0.25).text() == (
        "weights and biases multiplied by 0.25 to need no active leak; passive, lowest leak 1e-06 S of 2,010 units; "
        "passive up to weights times 1"
    )
    assert passivity(0.0, active=1_234).text() == (
        "1,234 of 2,010 units need an active leak (layer 1: 1,234), the largest -2e-05 S where the unit's own is "
        "0.0002 S; devices at g_min alone are too much for a leak"
    )


def test_several_equilibria_as_a_sentence() -> None:
    fit = WindowFit(g_min_s=1e-7, g_max_s=2e-4, g_unit_s=1e-4, weights=1)
    for eigenvalue, verdict in ((0.12345, "0.1235: one equilibrium"), (-0.5, "-0.5: there may be several equilibria")):
        report = ProgrammingReport(block="b", source="hopfield block", window=fit, smallest_eigenvalue=eigenvalue)
        assert report.texts()[1:] == [f"smallest eigenvalue of the unclamped Hessian {verdict}"]
