"""How a circuit is spelt: netlists, SPICE text, PySpice. Imports circuits only, and runs nothing."""

from .errors import NetlistError
from .lowering import lower
from .netlist import Netlist, NodeMap, SolverOptions
from .spice_writer import StreamedTemplate, format_standalone, streamed_template

__all__ = [
    "Netlist",
    "NetlistError",
    "NodeMap",
    "SolverOptions",
    "StreamedTemplate",
    "format_standalone",
    "lower",
    "streamed_template",
]
