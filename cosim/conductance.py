"""A trainable conductance: a torch parameter that stays inside a device's window, whatever optimiser moves it."""

from typing import Any, Self, SupportsIndex, final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook


@final
class Conductance(nn.Parameter):
    """A trainable conductance with its window, in units of g_unit."""

    window: tuple[float, float]

    def __new__(cls, data: Tensor, window: tuple[float, float], requires_grad: bool = True) -> Self:
        """Make a parameter that remembers its window."""
        parameter: Self = torch.Tensor._make_subclass(cls, data, requires_grad)
        parameter.window = window
        return parameter

    def __reduce_ex__(self, _protocol: SupportsIndex) -> tuple[Any, ...]:
        return Conductance, (self.data, self.window, self.requires_grad)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Conductance":
        if id(self) not in memo:
            memo[id(self)] = Conductance(self.data.clone(), self.window, self.requires_grad)
        copied: Conductance = memo[id(self)]
        return copied


def _keep_in_window(optimizer: Optimizer, _args: object = None, _kwargs: object = None) -> None:
    """Put every conductance of an optimiser back into its window: a device has no other values."""
    with torch.no_grad():
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if isinstance(parameter, Conductance):
                    parameter.clamp_(*parameter.window)


def _keep_closure_in_window(
    optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Project before each evaluation of a closure too: LBFGS moves the weights several times within one step."""
    closure = args[1] if len(args) > 1 else kwargs.get("closure")
    if closure is None:
        return None

    def projected() -> Any:
        _keep_in_window(optimizer)
        return closure()

    return (args[0], projected, *args[2:]), {key: kwargs[key] for key in kwargs if key != "closure"}


# A module does not know its optimiser, so the projection hooks into all of them; it acts on conductances only.
register_optimizer_step_pre_hook(_keep_closure_in_window)
register_optimizer_step_post_hook(_keep_in_window)
