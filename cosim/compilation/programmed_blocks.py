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
    if programming is None and not any(isinstance(module, HopfieldBlock) for module in network.modules()):
        return network
    newton = NewtonSimulator()

    def circuit(path: str, block: EnergyModule) -> nn.Module:
        if isinstance(block, AnalogBlock) and programming is None:
            return block
        check_weights(path, block)
        try:
            if isinstance(block, HopfieldBlock):
                return AnalogBlock.from_digital(block, simulator=newton, programming=programming)
            return _moved(block, programming)
        except ProgrammingError as error:
            raise CompileError(f"{named(path)}{error}") from error

    return with_blocks_replaced(copy.deepcopy(network), circuit)


def _moved(block: AnalogBlock, programming: ProgrammingSettings | None) -> AnalogBlock:
    """Return a block in another window, its running options and converter ranges as they were."""
    moved = AnalogBlock.from_digital(
        block,
        simulator=block.simulator,
        programming=programming,
        settings=block.settings,
        converters=block.converters,
        gradient=block.gradient,
        relaxation=block.relaxation_options,
    )
    moved.get_buffer("converter_ranges").copy_(block.get_buffer("converter_ranges"))
    return moved


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
