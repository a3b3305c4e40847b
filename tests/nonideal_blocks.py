"""Blocks as made, one effect at a time, for tests of what every effect must do or leave alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from circuits import Clamp, Drive, EnergyBlock, NodeLayer, Polarity
from circuits.arrays import Floats
from circuits.crossbar_devices import CrossbarDevices, Write
from circuits.devices import (
    CubicCurrent,
    Device,
    Drift,
    LinearStep,
    ProgrammingError,
    PulsedUpdate,
    RelativeReadNoise,
    Spread,
    SpreadDistribution,
    Stuck,
    TemperatureCoefficient,
    Verify,
)
from circuits.neuron_spread import NeuronSpread
from circuits.nonidealities import NonIdealities
from circuits.source_errors import SourceErrors
from cosim.analog_block import AnalogBlock
from cosim.simulators.newton import NewtonSimulator

G_MIN, G_MAX = 1e-7, 2e-4  # S — window of every device here, which is that of a block
WITHIN = 0.02  # relative, of means and standard deviations
CLAMP = Clamp(low_v=-0.3, high_v=0.3)


def small_block(polarity: Polarity = Polarity.DIFFERENTIAL, drive: Drive = Drive.VOLTAGE) -> EnergyBlock:
    """Return two clamped layers, of which some units clamp."""
    hidden = NodeLayer(size=4, clamp=CLAMP, leak_s=3e-5, bias=True)
    layers = (hidden, NodeLayer(size=3, clamp=CLAMP, leak_s=5e-5))
    n_inputs = 5 if drive is Drive.VOLTAGE else 4
    return EnergyBlock(name="small", n_inputs=n_inputs, layers=layers, polarity=polarity, drive=drive)


def audited(block: EnergyBlock, effects: NonIdealities | None = None, **options: Any) -> AnalogBlock:
    """Return a float64 module, its weights the same whatever else is asked."""
    generator = torch.Generator().manual_seed(1)
    options = {"simulator": NewtonSimulator(), **options}
    return AnalogBlock(block, generator=generator, nonidealities=effects, **options).double()


def inputs(n_inputs: int, batch: int = 4) -> torch.Tensor:
    return 3.0 * torch.randn(batch, n_inputs, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def ask(block: AnalogBlock, target_s: float) -> None:
    """Have every weight ask for one conductance."""
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.fill_(target_s / block.block.g_unit_s)


def check(values: Floats, mean: float, std: float) -> None:
    """Compare mean and standard deviation of 10,000 values or more; a mean of zero is held against the deviation."""
    assert len(values) >= 10_000
    assert abs(values.mean() - mean) <= WITHIN * max(abs(mean), std)
    assert values.std() == pytest.approx(std, rel=WITHIN)


def device(**effects: Any) -> Device:
    return Device(name="audited", g_min_s=G_MIN, g_max_s=G_MAX, **effects)


def devices(*, temperature_k: float | None = None, use: dict[str, Any] | None = None, **effects: Any) -> NonIdealities:
    """Return devices with some effects of theirs, used in a way."""
    return NonIdealities(devices=CrossbarDevices(device=device(**effects), **(use or {})), temperature_k=temperature_k)


def log_normal(relative_std: float) -> Spread:
    return Spread(relative_std=relative_std, distribution=SpreadDistribution.LOG_NORMAL)


PULSES = PulsedUpdate(
    step=LinearStep(up_at_low=0.01, up_at_high=0.006, down_at_low=0.006, down_at_high=0.01),
    cycle_relative_std=0.3,
    device_relative_std=0.1,
)
NEURONS = NeuronSpread(
    saturation_current=log_normal(0.5),
    emission_coefficient=Spread(relative_std=0.02),
    rail_std_v=0.01,
    leak=Spread(relative_std=0.1),
)

# Every knob, alone; those that are the same each time a block is evaluated while its weights stay.
EFFECTS: dict[str, NonIdealities] = {
    "spread": devices(spread=Spread(relative_std=0.2)),
    "log-normal spread": devices(spread=log_normal(0.3)),
    "levels": devices(levels=8),
    "programming error": devices(programming_error=ProgrammingError(coefficients_s=(5e-6,), reference_s=1e-4)),
    "drift": devices(drift=Drift.constant(0.06, nu_std=0.02, t_0_s=20.0), use={"time_s": 86400.0}),
    "stuck": devices(stuck=Stuck(probability_at_g_min=0.05, probability_at_g_max=0.05)),
    "temperature coefficient": devices(temperature=TemperatureCoefficient(per_k=-2e-3), temperature_k=340.0),
    "cubic": devices(cubic=CubicCurrent(k3_per_v2=0.3)),
    "pulses": devices(pulsed_update=PULSES, spread=Spread(relative_std=0.1), use={"write": Write.PULSES}),
    "verified": devices(
        programming_error=ProgrammingError(coefficients_s=(4e-6,), reference_s=1e-4),
        use={"write": Write.PROGRAM_AND_VERIFY, "verify": Verify(tolerance_relative=0.01)},
    ),
    "saturation current": NonIdealities(neurons=NeuronSpread(saturation_current=log_normal(0.5))),
    "emission coefficient": NonIdealities(neurons=NeuronSpread(emission_coefficient=Spread(relative_std=0.02))),
    "rails": NonIdealities(neurons=NeuronSpread(rail_std_v=0.01)),
    "leaks": NonIdealities(neurons=NeuronSpread(leak=Spread(relative_std=0.1))),
    "source offset": NonIdealities(sources=SourceErrors(offset=0.02, offset_std=0.02)),
    "temperature": NonIdealities(temperature_k=340.0),
}
SOURCE_GAIN = NonIdealities(sources=SourceErrors(gain_error=0.1, gain_std=0.02))
READ_NOISE = devices(read_noise=RelativeReadNoise(relative_std=0.05))
EVERYTHING = NonIdealities(
    devices=CrossbarDevices(
        device=device(
            levels=16,
            programming_error=ProgrammingError(coefficients_s=(2e-6,), reference_s=1e-4),
            spread=Spread(relative_std=0.1),
            stuck=Stuck(probability_at_g_min=0.02, probability_at_g_max=0.02),
            drift=Drift.constant(0.06, nu_std=0.02, t_0_s=20.0),
            temperature=TemperatureCoefficient(per_k=-2e-3),
            cubic=CubicCurrent(k3_per_v2=0.2),
            read_noise=RelativeReadNoise(relative_std=0.02),
        ),
        time_s=86400.0,
    ),
    neurons=NEURONS,
    sources=SourceErrors(gain_error=0.05, gain_std=0.02, offset=0.02, offset_std=0.02),
    temperature_k=330.0,
)
