"""The energy blocks of a network as circuits: hopfield blocks are programmed, analog ones moved into a given window.

Takes: any module and programming settings. Gives: a module whose energy blocks are all `AnalogBlock`s.
"""

import copy

from torch import nn

from digital.hopfield import HopfieldBlock

from ..analog_block import AnalogBlock
from ..programming.errors import ProgrammingError
from ..programming.settings import ProgrammingSettings
from ..simulators.newton import NewtonSimulator
from .digital_side import EnergyModule, check_finite, with_blocks_replaced
from .errors import CompileError


def with_circuits(network: nn.Module, programming: ProgrammingSettings | None) -> nn.Module:
    """Return a network whose energy blocks are circuits.

    Args:
        network: any module; it stays as it is.
        programming: window, scale and diodes, and what to do where weights do not fit; if left out, analog blocks stay
            as they are and hopfield blocks get the default.

    Returns:
        a copy, or the network itself where there is nothing to do.

    Raises:
        CompileError: with the module's path, for a block that cannot be programmed as asked.
    """
    if programming is None and not any(map(wants_programming, network.modules())):
        return network
    newton = NewtonSimulator()

    def circuit(path: str, block: EnergyModule) -> nn.Module:
        if programming is None and not wants_programming(block):
            return block
        check_weights(path, block)
        try:
            simulator = block.simulator if isinstance(block, AnalogBlock) else newton
            return AnalogBlock.from_digital(block, simulator=simulator, programming=programming)
        except ProgrammingError as error:
            raise CompileError(f"{named(path)}{error}") from error

    return with_blocks_replaced(copy.deepcopy(network), circuit)


def wants_programming(module: nn.Module) -> bool:
    """Return whether a module is programmed even where nothing was asked for.

    A hopfield block is, and a circuit with active leaks of which no report says yet whether it has one equilibrium.
    """
    if isinstance(module, AnalogBlock):
        has_active = any((layer.leaks_s < 0).any() for layer in module.block.layers)
        return has_active and module.report is None
    return isinstance(module, HopfieldBlock)


def check_weights(path: str, block: nn.Module) -> None:
    """Refuse weights with NaN or infinity.

    Raises:
        CompileError: with module and tensor.
    """
    for name, parameter in block.named_parameters():
        check_finite(path or type(block).__name__, f"{path}.{name}".removeprefix("."), parameter.detach())


def named(path: str) -> str:
    """Return what an error begins with: the module's path, unless it is the network itself."""
    return f"module '{path}': " if path else ""
