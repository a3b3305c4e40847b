"""The chain of a bundle that was compiled from a torch module: its circuits alone, on the samples in it."""

import numpy as np
import torch

from circuits.energy_block import Drive
from netlists.lowering import lower

from ..analog_block import AnalogBlock
from ..compilation.block_entry import BlockEntry
from ..compilation.bundle import Bundle
from ..compilation.loading import read_block
from ..compilation.samples import read_drives
from .digital_work import StageWork
from .errors import ChipError
from .source import bundled_block
from .stages import Chain, Link


def bundled_chain(bundle: Bundle, samples: int) -> tuple[Chain, tuple[str, ...]]:
    """Return the blocks of a bundle as links without digital stages, and what it cannot say.

    Args:
        bundle: compiled from a torch module.
        samples: of its own that are used, at most.

    Raises:
        ChipError: if it holds no samples.
        NetlistError, BundleError: for a deck that cannot be read.
    """
    links = tuple(
        Link(
            name=entry.name,
            energy=block,
            x=_inputs(bundle, entry, block, samples),
            ds=None,
            want_x=False,
            feedforward=StageWork(),
            digital_energy=StageWork(),
            stage_parameters=0,
            energy_parameters=0,
        )
        for entry, block in ((entry, bundled_block(entry)) for entry in bundle.manifest.blocks)
    )
    notes = (
        "bundle of a torch module: its code is not in it, so digital stages are not priced",
        "bundle of a torch module: nothing says how it is trained, so no training step is priced",
    )
    return Chain(links=links, readout=None, readout_parameters=0, image_values=0), notes


def _inputs(bundle: Bundle, entry: BlockEntry, block: AnalogBlock, samples: int) -> torch.Tensor:
    """Return the inputs of a block in the bundle's samples, [n, n_inputs]."""
    if not entry.samples:
        raise ChipError(
            f"{bundle.path}: block '{entry.name}' has no sample to relax; compile with inputs, or price a run folder"
        )
    netlist, _ = lower(read_block(bundle, entry).circuit.circuit)
    built = block.circuit.block
    is_voltage = built.drive is Drive.VOLTAGE
    unit = built.v_unit_v if is_voltage else built.v_unit_v * built.g_unit_s
    rows = [read_drives(bundle.path / sample.drives, netlist) for sample in entry.samples[:samples]]
    return torch.from_numpy(np.stack(rows)[:, : built.n_inputs] / unit)
