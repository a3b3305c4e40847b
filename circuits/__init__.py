"""What a circuit is: elements, energy blocks, physics and exact reductions. Imports nothing of the other packages."""

from .arrays import Floats
from .block_circuit import BlockCircuit
from .block_layout import build
from .builder import CircuitBuilder
from .circuit import Circuit
from .clamp import Clamp
from .convolution import Convolution
from .crossbar import Crossbar, UnitNodes
from .diode import DiodeModel
from .elements import Amplifiers, Capacitors, CurrentSources, Diodes, Resistors, VoltageSources
from .energy_block import Drive, EnergyBlock, NodeLayer, Polarity
from .errors import CircuitError, TellegenError
from .kirchhoff import kirchhoff_residual
from .piecewise_linear_diode import PiecewiseLinearDiode
from .validation import validate

__all__ = [
    "Amplifiers",
    "BlockCircuit",
    "Capacitors",
    "Circuit",
    "CircuitBuilder",
    "CircuitError",
    "Clamp",
    "Convolution",
    "Crossbar",
    "CurrentSources",
    "DiodeModel",
    "Diodes",
    "Drive",
    "EnergyBlock",
    "Floats",
    "NodeLayer",
    "PiecewiseLinearDiode",
    "Polarity",
    "Resistors",
    "TellegenError",
    "UnitNodes",
    "VoltageSources",
    "build",
    "kirchhoff_residual",
    "validate",
]
