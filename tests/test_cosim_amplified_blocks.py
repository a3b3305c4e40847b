"""Blocks with amplifiers between their layers: gradients against finite differences, bundles, configuration."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from circuits import (
    CircuitError,
    Clamp,
    Convolution,
    DiodeModel,
    Drive,
    EnergyBlock,
    NodeLayer,
    PiecewiseLinearDiode,
    Polarity,
    build,
)
from circuits.cocontent import cocontent
from circuits.crossbar_devices import CrossbarDevices
from circuits.devices.cubic import CubicCurrent
from circuits.devices.device import Device
from circuits.nonidealities import NonIdealities
from circuits.tiles import TileSize
from circuits.wires import Wires
from cosim.analog_block import AnalogBlock, Gradient
from cosim.compilation.bundle import open_bundle
from cosim.compilation.compiler import compile_network
from cosim.compilation.description import energy_block
from cosim.compilation.loading import load_bundle
from cosim.compilation.verification import verify_bundle
from cosim.phase_settings import ParameterRead, PhaseSettings
from cosim.reduce import Reduce
from cosim.relaxation import Relaxation, RelaxationOptions
from cosim.simulators.base import AbstractSimulator
from cosim.simulators.newton import NewtonSimulator
from cosim.simulators.ngspice import NgspiceSimulator

GAINS = (3.0, 0.6)
MOST = 4  # entries of each parameter that are held against finite differences


def block(
    polarity: Polarity,
    drive: Drive,
    *,
    output_layers: tuple[int, ...] = (-1,),
    diode: DiodeModel | PiecewiseLinearDiode | None = None,
    gains: tuple[float | None, ...] = GAINS,
) -> EnergyBlock:
    """Three layers, of which the first two have clamps that conduct."""
    clamp = Clamp(low_v=-0.1, high_v=0.1, diode=diode or DiodeModel())
    layers = (
        NodeLayer(size=4, clamp=clamp, bias=True, amplification=gains[0]),
        NodeLayer(size=3, clamp=clamp, amplification=gains[1]),
        NodeLayer(size=2, leak_s=1e-5, bias=True),
    )
    return EnergyBlock(name="b", n_inputs=4, layers=layers, polarity=polarity, drive=drive, output_layers=output_layers)


def analog(description: EnergyBlock, simulator: AbstractSimulator, **options: object) -> AnalogBlock:
    generator = torch.Generator().manual_seed(0)
    made = AnalogBlock(
        description, simulator=simulator, generator=generator, **{"settings": PhaseSettings(beta=1e-3)} | options
    ).double()
    with torch.no_grad():
        for p in made.parameters():
            p.copy_(0.1 + 1.2 * torch.rand(p.shape, generator=generator, dtype=torch.float64))
    return made


def assert_right_gradients(made: AnalogBlock, reference: AnalogBlock, *, clamped: float = 0.03) -> None:
    """Hold the gradients of a block against finite differences of a block with the same weights."""
    generator = torch.Generator().manual_seed(1)
    x = (0.8 * torch.randn(3, 4, generator=generator, dtype=torch.float64)).requires_grad_()
    target = torch.randn(3, made.block.n_outputs, generator=generator, dtype=torch.float64)

    def loss(of: AnalogBlock, at: Tensor) -> Tensor:
        return ((of(at) - target) ** 2).sum()

    loss(made, x).backward()  # type: ignore[no-untyped-call]  # untyped in torch
    assert (made.clamped_share or 0.0) >= clamped
    others = dict(reference.named_parameters())
    for name, p in (*made.named_parameters(), ("x", x)):
        moved = x.detach().clone() if name == "x" else others[name]
        entries = torch.randperm(p.numel(), generator=generator)[:MOST]
        slope, flat = torch.zeros(len(entries), dtype=torch.float64), moved.data.view(-1)
        for place, k in enumerate(entries.tolist()):
            at, h = float(flat[k]), 1e-4
            values = []
            for value in (at + h, at - h):
                flat[k] = value
                with torch.no_grad():
                    values.append(float(loss(reference, moved if name == "x" else x.detach())))
            flat[k] = at
            slope[place] = (values[0] - values[1]) / (2 * h)
        assert p.grad is not None
        found = p.grad.flatten()[entries]
        assert float(found @ slope / (found.norm() * slope.norm())) > 0.9999, name
        assert float(found.norm() / slope.norm()) == pytest.approx(1.0, abs=1e-3), name


EXACT = {"gradient": Gradient.IMPLICIT}
DIGITAL = {"settings": PhaseSettings(beta=1e-3, parameter_read=ParameterRead.DIGITAL)}
UNREDUCED = {"relaxation": RelaxationOptions(reduce=Reduce.NONE)}


@pytest.mark.parametrize("drive", Drive)
@pytest.mark.parametrize("polarity", Polarity)
@pytest.mark.parametrize("options", [{}, EXACT], ids=["ep", "implicit"])
def test_gradients_are_those_of_finite_differences(
    polarity: Polarity, drive: Drive, options: dict[str, object]
) -> None:
    description = block(polarity, drive)
    reference = analog(description, NewtonSimulator())
    assert_right_gradients(analog(description, NewtonSimulator(), **options), reference)


@pytest.mark.parametrize("drive", Drive)
def test_gradients_from_digitised_states(drive: Drive) -> None:
    description = block(Polarity.DIFFERENTIAL, drive)
    reference = analog(description, NewtonSimulator())
    assert_right_gradients(analog(description, NewtonSimulator(), **DIGITAL), reference)


@pytest.mark.parametrize("output_layers", [(0, 1, 2), (1,), (-1, 0)])
def test_nudges_at_hidden_layers_count_alike(output_layers: tuple[int, ...]) -> None:
    description = block(Polarity.DIFFERENTIAL, Drive.VOLTAGE, output_layers=output_layers)
    made = analog(description, NewtonSimulator())
    if output_layers == (1,):  # the last layer's devices have no part in it but by loading
        assert made.circuit.gradient_weight(made.circuit.crossbars[2]) == pytest.approx(1 / 0.36)
    assert_right_gradients(made, analog(description, NewtonSimulator()))


@pytest.mark.ngspice
@pytest.mark.parametrize(
    ("polarity", "drive", "options"),
    [
        (Polarity.DIFFERENTIAL, Drive.VOLTAGE, {}),
        (Polarity.DIFFERENTIAL, Drive.CURRENT, UNREDUCED),
        (Polarity.SINGLE, Drive.VOLTAGE, EXACT),
        (Polarity.SINGLE, Drive.CURRENT, {}),
    ],
)
def test_gradients_in_ngspice(polarity: Polarity, drive: Drive, options: dict[str, object]) -> None:
    description = block(polarity, drive, diode=PiecewiseLinearDiode(threshold_v=0.1, on_resistance_ohm=5.0))
    reference = analog(description, NewtonSimulator())
    assert_right_gradients(analog(description, NgspiceSimulator(), **options), reference)


def test_the_weights_are_those_of_the_design() -> None:
    description = block(Polarity.SINGLE, Drive.VOLTAGE, output_layers=(0, 2))
    assert description.energy_weights == pytest.approx((1.0, 1 / 9, 1 / 9 / 0.36))
    np.testing.assert_allclose(description.nudge_shares, [*[1 / 9 / 0.36] * 4, 1.0, 1.0])
    plain = block(Polarity.SINGLE, Drive.VOLTAGE, gains=(None, None))
    assert plain.energy_weights == (1.0, 1.0, 1.0)
    built = build(description)
    assert [len(nodes) if nodes is not None else 0 for nodes in built.amplified] == [4, 3, 0]
    assert built.crossbars[1].rows is built.amplified[0]


def test_with_gains_of_one_nothing_changes() -> None:
    """Amplifiers of gain 1 are wires: the same states, energies and gradients as without."""
    x, nudge = np.random.default_rng(0).normal(size=(3, 4)), 0.1 * np.ones((3, 2))
    found = []
    for gains in ((1.0, 1.0), (None, None)):
        made = analog(block(Polarity.DIFFERENTIAL, Drive.VOLTAGE, gains=gains), NewtonSimulator())
        g, drives = made.conductances(), made.circuit.drives(x, nudge)
        voltage_v = Relaxation.of_block(made.circuit, NewtonSimulator()).solve(g, drives).voltage_v
        energy = cocontent(made.circuit.circuit, g, drives, voltage_v)
        found.append((np.concatenate(made.circuit.states(voltage_v), axis=1), energy))
    np.testing.assert_allclose(found[0][0], found[1][0], atol=1e-12)
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-12)


@pytest.mark.parametrize("reduce", [Reduce.MIRROR, Reduce.FOLD, Reduce.NONE])
def test_reductions_hold_with_amplifiers(reduce: Reduce) -> None:
    made = analog(block(Polarity.DIFFERENTIAL, Drive.VOLTAGE), NewtonSimulator())
    g = made.circuit.circuit.resistors.conductance_s.copy()
    for crossbar in made.circuit.crossbars:
        for side in (crossbar.plus, crossbar.minus):
            assert side is not None
            g[side] = np.random.default_rng(2).uniform(1e-5, 1e-4, side.shape[1:])
    drives = made.circuit.drives(np.random.default_rng(0).normal(size=(4, 4)), 0.1 * np.ones((4, 2)))
    relaxation = Relaxation.of_block(made.circuit, NewtonSimulator(), RelaxationOptions(reduce=reduce))
    point = relaxation.solve(g, drives)
    whole = Relaxation.of_block(made.circuit, NewtonSimulator(), RelaxationOptions(reduce=Reduce.NONE))
    np.testing.assert_allclose(point.voltage_v, whole.solve(g, drives).voltage_v, atol=1e-11)
    solved = relaxation.route_circuit(g, drives)
    assert len(solved.amplifiers) == {Reduce.MIRROR: 7, Reduce.FOLD: 14, Reduce.NONE: 14}[reduce]


def test_gradients_with_convolutions_cubic_devices_and_wires() -> None:
    coupling = Convolution(input_shape=(1, 2, 2), channels=2, kernel=2)
    layers = (NodeLayer(coupling=coupling, amplification=2.0), NodeLayer(size=2, leak_s=1e-5))
    device = Device(name="d", g_min_s=1e-7, g_max_s=2e-4, cubic=CubicCurrent(k3_per_v2=0.3))
    effects = NonIdealities(
        devices=CrossbarDevices(device=device),
        wires=Wires(row_ohm=20.0, column_ohm=20.0, tile=TileSize(rows=8, columns=8)),
    )
    description = EnergyBlock(name="b", n_inputs=4, layers=layers)
    made, reference = (analog(description, NewtonSimulator(), nonidealities=effects) for _ in range(2))
    assert made.circuit.circuit.has_cubic
    assert len(made.circuit.wire_nodes)
    assert_right_gradients(made, reference, clamped=0.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NodeLayer(size=1, amplification=0.0), r"node layer: amplification = 0\.0; give a finite gain above"),
        (lambda: NodeLayer(size=1, amplification=float("nan")), r"node layer: amplification = nan; give a finite"),
        (
            lambda: EnergyBlock(name="b", n_inputs=1, layers=(NodeLayer(size=1, amplification=2.0),)),
            r"block 'b': layer 1, the last, has amplification = 2, but drives no other; leave it out",
        ),
    ],
)
def test_refused(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(CircuitError, match=message):
        make()


@pytest.mark.ngspice
def test_a_bundle_with_amplifiers_and_one_sided_clamps(tmp_path: Path) -> None:
    diode = PiecewiseLinearDiode(threshold_v=0.1, on_resistance_ohm=1e-2)
    halves = (Clamp(low_v=0.0, diode=diode), Clamp(high_v=0.0, diode=diode), None, Clamp(low_v=-0.2))
    layers = (NodeLayer(size=4, clamp=halves, amplification=4.0), NodeLayer(size=2, clamp=Clamp(high_v=0.1)))
    description = EnergyBlock(name="amplified", n_inputs=4, layers=layers, output_layers=(1,))
    network = nn.Sequential(analog(description, NewtonSimulator()))
    inputs = torch.randn(2, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    network(inputs)
    compile_network(network, tmp_path / "bundle", inputs=inputs)
    text = (tmp_path / "bundle" / "blocks" / "amplified" / "neurons.inc").read_text()
    assert "eamp_a1_0p sense_amp_a1_0p 0 l1_0p 0 4.0" in text.splitlines()
    assert "i(bclamp1_0p_d)" in text
    verify_bundle(tmp_path / "bundle")
    loaded = load_bundle(tmp_path / "bundle", NewtonSimulator(), into=network)
    torch.testing.assert_close(loaded(inputs), network(inputs))
    assert energy_block(open_bundle(tmp_path / "bundle").manifest.blocks[0]) == description
