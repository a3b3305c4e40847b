"""What half a step of a block's converters makes of equilibrium propagation's gradient, against beta."""

import math

import numpy as np
from numpy.typing import NDArray

from circuits.energy_block import Drive

from ..analog_block import AnalogBlock
from ..converters import lsb
from ..converters.calibration import MaximumRange
from ..phase_settings import DifferenceRead, NudgeScaling, ParameterRead
from ..phases import NudgeResponse


def solver_floor(nudge: NudgeResponse) -> float:
    """Return what the solver's tolerance leaves open of the response of a block's outputs, relative to it.

    Equation: (reltol * largest voltage + vntol) / (root mean square of the change of the outputs), so ~ 1 / beta.
    """
    return nudge.tolerance_v / nudge.rms_v if nudge.rms_v > 0 else math.inf


def converter_floor(block: AnalogBlock, ds: NDArray[np.float64], nudge: NudgeResponse) -> float:
    """Return what half a step of the nudge DAC and of the ADC that reads the phases leaves open, relative.

    Equation: hypot(1/2 lsb / rms(nudge), 1/2 lsb / rms(change of the outputs)). An ADC with a range of its own for a
    difference that is held in analog has a step that falls with beta, and a DAC to whose full scale each sample's ds
    is scaled one that does not matter: such parts are the same at every beta.

    Args:
        block: with its own converters, after its nudged phases.
        ds: [batch, n_outputs] what nudged it, dL/ds.
        nudge: how far the outputs moved.

    Returns:
        zero where both are ideal.
    """
    parts, step_v = [], _read_step_v(block, nudge)
    if step_v is not None and nudge.rms_v > 0:
        parts.append(step_v / 2 / nudge.rms_v)
    dac = block.converters.nudge
    if dac.bits is not None and ds.any():
        full_scale, values = dac.full_scale or 1.0, ds
        if block.settings.scaling is NudgeScaling.PER_SAMPLE:
            largest = np.abs(ds).max(axis=1, keepdims=True)
            values = ds * (full_scale / np.where(largest > 0, largest, 1.0))
        else:
            values = block.settings.beta * ds
            full_scale = dac.full_scale or (dac.calibration or MaximumRange()).of(values)
        parts.append(lsb(dac.bits, full_scale) / 2 / float(np.sqrt(np.square(values).mean())))
    return math.hypot(*parts)


def _read_step_v(block: AnalogBlock, nudge: NudgeResponse) -> float | None:
    """Return the step of the ADC that reads states; None where it is ideal, or reads none.

    A network that was not trained has no range yet, so the batch at hand sets it: of a difference the outputs, which
    are nudged and move most, of a phase the states of all layers.
    """
    adc, settings = block.converters.phase, block.settings
    reads_states = settings.parameter_read is ParameterRead.DIGITAL or block.block.drive is Drive.CURRENT
    if nudge.adc_step_v is not None or adc.bits is None or not reads_states:
        return nudge.adc_step_v
    if settings.difference_read is DifferenceRead.SAMPLE_AND_HOLD:
        return lsb(adc.bits, nudge.largest_v)
    voltages = block.last_voltages() or ()
    return lsb(adc.bits, max((float(np.abs(v).max(initial=0.0)) for v in voltages), default=0.0)) or None
