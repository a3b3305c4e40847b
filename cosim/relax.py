"""What autograd sees of an energy block: its free phase, and its nudged phases in place of a derivative."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from .analog_block import AnalogBlock


class Relax(torch.autograd.Function):
    """The block as a function of its input and conductances: free phase forward, nudged phases backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, block: "AnalogBlock", *parameters: Tensor) -> Tensor:
        """Relax the free phase."""
        free = block.free_phase(x)
        ctx.save_for_backward(*parameters)  # torch then refuses a backward after an in-place change of the weights
        ctx.block, ctx.free = block, free
        return torch.as_tensor(free.outputs, dtype=x.dtype, device=x.device)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, ds: Tensor) -> tuple[Tensor | None, ...]:
        """Relax the nudged phases; return gradients for x and each conductance."""
        parameters = ctx.saved_tensors
        block: AnalogBlock = ctx.block
        want_conductances = any(ctx.needs_input_grad[2:])
        gradients = block.nudged_phases(
            ctx.free, ds, want_x=ctx.needs_input_grad[0], want_conductances=want_conductances
        )
        x_gradient = None if gradients.x is None else torch.as_tensor(gradients.x, dtype=ds.dtype, device=ds.device)
        if not want_conductances:
            return (x_gradient, None, *(None for _ in parameters))
        columns = [plus for plus, _ in gradients.conductances.values()]
        columns += [minus for _, minus in gradients.conductances.values() if minus is not None]
        tensors = (
            torch.as_tensor(column, dtype=parameter.dtype, device=parameter.device)
            for column, parameter in zip(columns, parameters, strict=True)
        )
        return (x_gradient, None, *tensors)
