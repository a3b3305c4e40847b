"""Blocks as made in both simulators, and equilibrium propagation through them against finite differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from analog_blocks import cosine, gradients, norm_ratio, smooth_loss
from nonideal_blocks import CLAMP, EFFECTS, EVERYTHING, READ_NOISE, SOURCE_GAIN, audited, devices, inputs, small_block
from random_blocks import session

from circuits import Convolution, Drive, EnergyBlock, NodeLayer, Polarity
from circuits.arrays import Floats, Indices
from circuits.cocontent import response_gradient
from circuits.crossbar_devices import CrossbarDevices
from circuits.fabrication import crossbar_devices
from circuits.kirchhoff import kirchhoff_law
from circuits.neuron_spread import NeuronSpread
from circuits.nonidealities import NonIdealities
from circuits.source_errors import SourceErrors
from circuits.topology import analyse
from cosim.analog_block import AnalogBlock, Gradient
from cosim.relaxation import Reduce, Relaxation, RelaxationOptions
from cosim.simulators.base import AbstractSimulator
from cosim.simulators.newton import NewtonSimulator
from netlists import lower

N_WEIGHTS = 4  # of each tensor that finite differences look at
ALL = {**EFFECTS, "source gain": SOURCE_GAIN, "read noise": READ_NOISE}
every_effect = pytest.mark.parametrize("effects", ALL.values(), ids=ALL)
static_effects = pytest.mark.parametrize("effects", EFFECTS.values(), ids=EFFECTS)
kinds = pytest.mark.parametrize(
    ("polarity", "drive"), [(p, d) for p in Polarity for d in Drive], ids=lambda kind: kind.value
)


def disturbed(block: AnalogBlock) -> AnalogBlock:
    """Change the weights a little, so that what writes changes has something to write; return the block."""
    block.conductances()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.mul_(0.9).clamp_(*block.block.window)
    return block


def relaxation_of(block: AnalogBlock, reduce: Reduce, simulator: AbstractSimulator | None = None) -> Relaxation:
    options = RelaxationOptions(reduce=reduce)
    return Relaxation(block.circuit.circuit, block.circuit.image, simulator or NewtonSimulator(), options)


# --------------------------------------------------------------------------------------------------------- off, mirror

OFF = {
    "nothing": NonIdealities(),
    "devices": devices(),
    "neurons": NonIdealities(neurons=NeuronSpread()),
    "sources": NonIdealities(sources=SourceErrors()),
    "all": NonIdealities(devices=devices().devices, neurons=NeuronSpread(), sources=SourceErrors()),
}


@pytest.mark.parametrize("effects", OFF.values(), ids=OFF)
def test_with_every_knob_off_all_bits_are_the_ideal_ones(effects: NonIdealities) -> None:
    x = inputs(5).numpy()
    options = {"relaxation": RelaxationOptions(reduce=Reduce.FOLD)}  # a mirrored circuit sums in another order
    ideal, made = (audited(small_block(), which, **options).train() for which in (None, effects))
    np.testing.assert_array_equal(made(torch.from_numpy(x)).detach(), ideal(torch.from_numpy(x)).detach())
    np.testing.assert_array_equal(made.conductances(), ideal.conductances())
    expected, found = gradients(ideal, x), gradients(made, x)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


@every_effect
def test_on_it_changes_the_outputs(effects: NonIdealities) -> None:
    """What an effect does is not lost on the way to the states."""
    ideal, made = (disturbed(audited(small_block(), which)) for which in (None, effects))
    change = (made(inputs(5)) - ideal(inputs(5))).abs().max()
    assert change > 1e-5


MATCHED = {"levels", "temperature coefficient", "temperature"}  # whose effect on a device and on its image is the same


@pytest.mark.parametrize("drive", Drive)
@pytest.mark.parametrize("name", ALL)
def test_whatever_tells_a_device_from_its_image_switches_the_mirror_off(name: str, drive: Drive) -> None:
    ideal, made = (disturbed(audited(small_block(drive=drive), which)) for which in (None, ALL[name]))
    n_inputs = ideal.block.n_inputs
    for block, halves in ((ideal, 2), (made, 2 if name in MATCHED else 1)):
        conductance_s = block.free_phase(inputs(n_inputs)).conductance_s
        drives = block.circuit.drives(inputs(n_inputs).numpy(), np.full((4, 3), 0.1))
        mirrored = relaxation_of(block, Reduce.MIRROR)
        chosen = mirrored.route_circuit(conductance_s, drives)
        assert len(chosen.diodes) == len(block.circuit.circuit.diodes) // halves
        full = relaxation_of(block, Reduce.NONE).solve(conductance_s, drives).voltage_v
        np.testing.assert_allclose(mirrored.solve(conductance_s, drives).voltage_v, full, rtol=0, atol=1e-9)


# ---------------------------------------------------------------------------------------------------------- simulators


@pytest.mark.ngspice
@kinds
def test_simulators_agree_on_a_block_with_every_effect(polarity: Polarity, drive: Drive) -> None:
    """newton, ngspice in every reduction and the plain unreduced deck: with clamps that conduct, free and nudged."""
    from cosim.simulators.ngspice.program import solve_standalone
    from cosim.simulators.ngspice.simulator import NgspiceSimulator

    block = audited(small_block(polarity, drive), EVERYTHING).eval()
    x = inputs(block.block.n_inputs)
    conductance_s = block.free_phase(x).conductance_s
    made = block.circuit
    drives = np.concatenate([made.drives(x.numpy()), made.drives(x.numpy(), np.full((4, 3), 0.2))])
    law = kirchhoff_law(analyse(made.circuit)).program(conductance_s)

    def solve(simulator: AbstractSimulator, reduce: Reduce) -> Floats:
        relaxation = relaxation_of(block, reduce, simulator)
        point = relaxation.solve(conductance_s, drives)
        relaxation.close()
        judged = law.residual(drives, point.voltage_v, voltage_tolerance_v=1e-9)
        assert (judged.residual_a <= judged.tolerance_a).all()
        return point.voltage_v

    newton = solve(NewtonSimulator(), Reduce.NONE)
    assert 0.1 < made.clamped_share(newton) < 0.9
    assert np.abs(newton[:4] - newton[4:]).max() > 1e-3  # the nudge is no rounding
    for reduce in Reduce:
        np.testing.assert_allclose(solve(NewtonSimulator(), reduce), newton, rtol=0, atol=1e-9)
        np.testing.assert_allclose(solve(NgspiceSimulator(), reduce), newton, rtol=0, atol=1e-9)
    for k in range(len(drives)):
        deck, _ = lower(made.circuit.with_conductances(conductance_s).with_drives(drives[k]))
        np.testing.assert_allclose(solve_standalone(deck)[0], newton[k], rtol=0, atol=1e-9)


# ----------------------------------------------------------------------------------------------------------- gradients


def device_slopes(block: AnalogBlock, conductance_s: Floats, x: Floats, places: Indices) -> Floats:
    """Return central differences of the loss by the conductance of some devices, [n] per S, all others held."""
    circuit, step = block.circuit, 1e-5 * block.block.g_unit_s
    solver, drives = session(circuit.circuit), circuit.drives(x)
    free, slopes = solver.solve(conductance_s, drives).voltage_v, np.zeros(len(places))
    for k, place in enumerate(places):
        losses = []
        for sign in (1, -1):
            moved_s = conductance_s.copy()
            moved_s[place] += sign * step
            voltage_v = solver.solve(moved_s, drives, start_v=free).voltage_v
            losses.append(float(smooth_loss(torch.from_numpy(circuit.outputs(voltage_v)))))
        slopes[k] = (losses[0] - losses[1]) / (2 * step)
    return slopes


def input_slopes(block: AnalogBlock, conductance_s: Floats, x: Floats) -> Floats:
    """Return central differences of the loss by every input, [batch, n_inputs]."""
    circuit, step = block.circuit, 1e-5
    solver = session(circuit.circuit)
    slopes = np.zeros_like(x)
    for place in np.ndindex(*x.shape):
        losses = []
        for sign in (1, -1):
            moved = x.copy()
            moved[place] += sign * step
            voltage_v = solver.solve(conductance_s, circuit.drives(moved)).voltage_v
            losses.append(float(smooth_loss(torch.from_numpy(circuit.outputs(voltage_v)))))
        slopes[place] = (losses[0] - losses[1]) / (2 * step)
    return slopes


def devices_of_weights(block: AnalogBlock) -> dict[str, list[tuple[int, Indices]]]:
    """Return some weights of every tensor with all devices that each is made of."""
    rng, found = np.random.default_rng(0), {}
    for crossbar in block.circuit.crossbars:
        n_weights = math.prod(crossbar.shape)
        chosen = rng.choice(n_weights, min(N_WEIGHTS, n_weights), replace=False)
        weight_of_pair = crossbar.wiring.spread(np.arange(float(n_weights)).reshape(crossbar.shape)).astype(int)
        for group, side in (("g_plus", crossbar.plus), ("g_minus", crossbar.minus)):
            if side is not None:
                found[f"{group}.{crossbar.name}"] = [(k, side[:, weight_of_pair == k].ravel()) for k in chosen]
    return found


def assert_agree(found: Floats, expected: Floats, ratio: float = 1.0) -> None:
    assert cosine(found, expected) >= 0.9999
    assert norm_ratio(found, expected) == pytest.approx(ratio, abs=1e-3)


def check_gradients(block: AnalogBlock, *, of_conductances: float = 1.0, of_inputs: float = 1.0) -> None:
    """Compare the block's gradients with differences in the circuit that it has, all devices held."""
    x = inputs(block.block.n_inputs, 2).numpy()
    disturbed(block).eval()
    conductance_s = block.free_phase(torch.from_numpy(x)).conductance_s
    block.eval()  # the same read noise again
    found = gradients(block, x)
    for name, weights in devices_of_weights(block).items():
        # By a weight, in units of g_unit: the sum over its devices, each by itself and in siemens.
        slopes = [device_slopes(block, conductance_s, x, places).sum() for _, places in weights]
        expected = np.array(slopes) * block.block.g_unit_s
        assert_agree(found[name].ravel()[[k for k, _ in weights]], expected, of_conductances)
    assert_agree(found["input"], input_slopes(block, conductance_s, x), of_inputs)


@static_effects
def test_gradients_through_each_effect_are_those_of_the_circuit(effects: NonIdealities) -> None:
    check_gradients(audited(small_block(), effects))


@kinds
@pytest.mark.parametrize("gradient", Gradient)
def test_gradients_through_all_effects_of_devices_and_neurons(
    polarity: Polarity, drive: Drive, gradient: Gradient
) -> None:
    effects = NonIdealities(devices=EVERYTHING.devices, neurons=EVERYTHING.neurons, temperature_k=330.0)
    check_gradients(audited(small_block(polarity, drive), effects, gradient=gradient))


def test_gradients_of_each_device() -> None:
    """Of every device by itself, wherever its mate of the same weight stands."""
    effects = NonIdealities(devices=EVERYTHING.devices, neurons=EVERYTHING.neurons)
    block = audited(small_block(), effects).eval()
    x = inputs(5)
    free = block.free_phase(x)
    outputs = torch.from_numpy(free.outputs).requires_grad_()
    (ds,) = torch.autograd.grad(smooth_loss(outputs), outputs)
    made, beta = block.circuit, 1e-3
    solver = session(made.circuit)
    first, second = (
        solver.solve(free.conductance_s, made.drives(x.numpy(), sign * beta * ds.numpy())).voltage_v for sign in (-1, 1)
    )
    # F = 2 g_unit v_unit^2 E: a device's own slope is half of what its voltages give.
    found = response_gradient(made.circuit, (first + second) / 2, (second - first) / (2 * beta), second - first)
    found = found / (2 * made.block.g_unit_s * made.block.v_unit_v**2)
    places = np.random.default_rng(0).choice(crossbar_devices(made), 40, replace=False)
    expected = device_slopes(block, free.conductance_s, x.numpy(), places)
    assert_agree(found[places], expected)
    np.testing.assert_allclose(found[places], expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("drive", Drive)
def test_gradients_with_an_error_of_the_gain(drive: Drive) -> None:
    """Nudges that are 10 % too large give gradients that are; dL/dx takes the sources' gain for one.

    The true dL/dx has the gain of the inputs, which straight through leaves out, so both errors make up for each other.
    """
    effects = NonIdealities(sources=SourceErrors(gain_error=0.1))
    check_gradients(audited(small_block(drive=drive), effects), of_conductances=1.1)
    exact = audited(small_block(drive=drive), effects, gradient=Gradient.IMPLICIT)
    check_gradients(exact, of_inputs=1 / 1.1)


def test_gradients_of_a_kernel() -> None:
    coupling = Convolution(input_shape=(1, 3, 3), channels=2, kernel=2)
    layers = (NodeLayer(coupling=coupling, clamp=CLAMP, leak_s=3e-5, bias=True), NodeLayer(size=2, leak_s=5e-5))
    block = EnergyBlock(name="convolved", n_inputs=9, layers=layers)
    made = CrossbarDevices(device=EVERYTHING.devices.device, time_s=EVERYTHING.devices.time_s)
    check_gradients(audited(block, NonIdealities(devices=made, neurons=EVERYTHING.neurons)))
