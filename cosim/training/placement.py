"""Where a network is trained: on the processor, or on a CUDA device that is really here.

Weights are drawn, and batches shuffled and varied, by generators of the processor, so that a run begins with the same
numbers wherever it is. Circuits are relaxed by their own simulator, whatever device the stages around them are on.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch

from ..errors import ConfigError

CPU: Final = torch.device("cpu")
DEVICE_GENERATOR: Final = "cuda"  # name in checkpoints of the generator that stages on a device draw from


def check_device(device: str, key: str) -> torch.device:
    """Return a device of a configuration.

    Args:
        device: "cpu", "cuda", which is the first one, or "cuda:1".
        key: of the configuration, for the error.

    Raises:
        ConfigError: if it is a CUDA device that torch does not see here.
    """
    kind, _, index = device.partition(":")
    n_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "cpu":
        return CPU
    number = int(index or 0)
    if number < n_devices:
        return torch.device(kind, number)
    if n_devices:
        reason, advice = f"torch sees {n_devices} CUDA device(s) here, counted from 0", 'choose "cuda:0"'
    elif torch.version.cuda is None:
        reason, advice = "this torch is built without CUDA", "install a CUDA build of torch (see pytorch.org)"
    else:
        reason, advice = "torch sees no CUDA device here", "check `nvidia-smi` and the driver"
    raise ConfigError(f'{key} = "{device}": {reason}; {advice}, or set {key} = "cpu"')


def evaluation_device(device: str) -> torch.device:
    """Return the device of a run where this machine has it, or else the processor: weights do not depend on it."""
    try:
        return check_device(device, "training.device")
    except ConfigError:
        return CPU


def device_generators(device: torch.device) -> dict[str, torch.Generator]:
    """Return the generator that stages on a device draw from, for checkpoints; none of the processor."""
    if device.type != "cuda":
        return {}
    torch.cuda.init()  # before it there are none
    return {DEVICE_GENERATOR: torch.cuda.default_generators[device.index]}


@contextmanager
def full_precision() -> Iterator[None]:
    """Have CUDA devices multiply in float32, as the processor does.

    TF32, torch's default in convolutions, has 10 bits: equilibrium propagation subtracts two nearby states, and would
    lose most of what is left of them.
    """
    was = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        with torch.backends.cudnn.flags(allow_tf32=False):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = was
