"""A device with its source: what a preset is."""

from dataclasses import dataclass
from typing import final

from .device import Device

BLOCK_WINDOW_S = 1e-7, 2e-4  # an energy block's own, for devices whose source gives weights without a unit


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Preset:
    """A device with its source.

    Args:
        name: by which it is asked for.
        device: the device; its name is the same.
        source: the paper, and where its numbers were tabulated.
        note: what was inferred, or left out.
    """

    name: str
    device: Device
    source: str
    note: str

    @property
    def has_window(self) -> bool:
        """Whether the source gives conductances; else the window is that of the block."""
        return (self.device.g_min_s, self.device.g_max_s) != BLOCK_WINDOW_S
