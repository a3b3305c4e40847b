"""What the devices of a block hold as buffers of its module: a checkpoint has them, and they move with the module."""

from typing import Final

import torch
from torch import nn

from .device_state import DEVICE_BUFFERS, DeviceState

BUFFER_NAMES: Final = tuple(f"devices_{name}" for name in DEVICE_BUFFERS)


def register_devices(module: nn.Module, devices: DeviceState) -> None:
    """Give a module the buffers of its devices."""
    for name, buffer in zip(DEVICE_BUFFERS, BUFFER_NAMES, strict=True):
        module.register_buffer(buffer, torch.from_numpy(getattr(devices, name).copy()))


def load_devices(module: nn.Module, devices: DeviceState) -> None:
    """Put what the buffers hold into the devices."""
    for name, buffer in zip(DEVICE_BUFFERS, BUFFER_NAMES, strict=True):
        getattr(devices, name)[:] = module.get_buffer(buffer).cpu().numpy()


def store_devices(module: nn.Module, devices: DeviceState) -> None:
    """Put what the devices hold into the buffers."""
    for name, buffer in zip(DEVICE_BUFFERS, BUFFER_NAMES, strict=True):
        module.get_buffer(buffer).copy_(torch.from_numpy(getattr(devices, name)))
