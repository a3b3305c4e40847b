"""Program any block: the one place that knows what is accepted, and says why the rest is not."""

from typing import Final

from torch import nn

from digital.hopfield import HopfieldBlock
from digital.tanh_layers import TanhLayers

from ..analog_block import AnalogBlock
from .analog import program_analog
from .errors import ProgrammingError
from .hopfield import program_hopfield
from .programmed import ProgrammedBlock
from .settings import ProgrammingSettings

ACCEPTED: Final = "a HopfieldBlock without max-pool inside the energy, or a trained AnalogBlock"
ONE_WAY: Final = (
    "it computes in one direction, and a circuit relaxes in both: units of the last layer would pull at those before, "
    "so it settles elsewhere; train a hopfield stage, or an analog one with an ideal simulator"
)


def program_block(module: nn.Module, settings: ProgrammingSettings | None = None) -> ProgrammedBlock:
    """Return the circuit of a trained module, with its conductances.

    Accepted are: a `digital.hopfield.HopfieldBlock` without max-pool inside the energy, which becomes differential
    crossbars with a leak a unit; and a trained `AnalogBlock`, which moves into the window.

    Args:
        module: the module; it stays as it is.
        settings: window, scale and diodes, and what to do where they do not fit.

    Raises:
        ProgrammingError: for any other module, with the reason, and as `program_hopfield` and `program_analog`.
    """
    settings = settings or ProgrammingSettings()
    match module:
        case HopfieldBlock():
            return program_hopfield(module, settings)
        case AnalogBlock():
            return program_analog(module, settings)
        case nn.Linear() | TanhLayers() | nn.Tanh() | nn.Conv2d():
            reason = ONE_WAY
        case nn.Sequential() if any(isinstance(m, nn.Linear | nn.Conv2d) for m in module):
            reason = ONE_WAY
        case _:
            reason = "it has no energy that a resistive circuit could have"
    raise ProgrammingError(f"{type(module).__name__} cannot be programmed: {reason}. Accepted: {ACCEPTED}")
