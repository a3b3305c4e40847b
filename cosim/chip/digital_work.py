"""Count what a digital processor does for a torch module: multiply-adds, elementwise operations, values moved.

Takes: any module and samples for it. Gives: `DigitalWork` of one sample, forward and backward. It is counted as torch
does it, operation by operation, so steps of a Hopfield block count as they are run. Must not know: energies.
"""

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

aten = torch.ops.aten

MOST_SAMPLES: Final = 4  # that are run; batch norms need two

# Multiply-adds an element of a batch norm: scale and shift; mean, variance and both; and their derivatives.
_NORM_EVALUATED, _NORM_TRAINED, _NORM_BACKWARD = 1, 3, 4

# Their operands come from a buffer and their results go there; elementwise work between them stays in the processor.
_PRODUCTS: Final = frozenset(
    {aten.mm, aten.addmm, aten.bmm, aten.baddbmm, aten.convolution, aten._convolution, aten.convolution_backward}
)
_NORMS: Final = frozenset({aten.native_batch_norm, aten._native_batch_norm_legit, aten.cudnn_batch_norm})
_NORMS_BACKWARD: Final = frozenset({aten.native_batch_norm_backward})
# They place values and compute none.
_NO_WORK: Final = frozenset(
    {
        aten.empty, aten.empty_like, aten.new_empty, aten.zeros, aten.zeros_like, aten.new_zeros, aten.ones,
        aten.ones_like, aten.full, aten.full_like, aten.fill_, aten.zero_, aten.clone, aten.copy_, aten._to_copy,
        aten.detach, aten.lift_fresh, aten.cat, aten.stack, aten.scalar_tensor, aten._local_scalar_dense, aten.arange,
        aten.isfinite, aten.all, aten.bernoulli_, aten.native_dropout,
    }
)  # fmt: skip


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class DigitalWork:
    """What a digital processor does for one sample.

    Args:
        macs: multiply-adds of matrix products, convolutions and normalisations.
        elementwise: other operations, one an element: activations, gains, sums of gradients, updates.
        values: numbers read from and written to the buffer.
    """

    macs: float = 0.0
    elementwise: float = 0.0
    values: float = 0.0

    def __add__(self, other: "DigitalWork") -> "DigitalWork":
        return DigitalWork(
            macs=self.macs + other.macs,
            elementwise=self.elementwise + other.elementwise,
            values=self.values + other.values,
        )

    def times(self, factor: float) -> "DigitalWork":
        """Return so many times the work."""
        return DigitalWork(macs=self.macs * factor, elementwise=self.elementwise * factor, values=self.values * factor)

    def to_json(self) -> dict[str, float]:
        """Return the counts."""
        return {"macs": self.macs, "elementwise": self.elementwise, "values_moved": self.values}


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class StageWork:
    """What a stage costs in inference and in training, for one sample.

    Args:
        inference: forward, in evaluation mode.
        training: forward in training mode and backward; updates of parameters are not in it.
    """

    inference: DigitalWork = DigitalWork()
    training: DigitalWork = DigitalWork()

    def __add__(self, other: "StageWork") -> "StageWork":
        return StageWork(inference=self.inference + other.inference, training=self.training + other.training)


class _Counter(TorchDispatchMode):
    """Counts elementwise operations, normalisations and the operands of products."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # untyped in torch
        self.norm_macs = 0
        self.elementwise = 0
        self.values = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        packet, given, made = func._overloadpacket, list(_tensors(args)), list(_tensors(out))
        if packet in _PRODUCTS:
            self.values += sum(t.numel() for t in (*given, *made))
        elif packet in _NORMS or packet in _NORMS_BACKWARD:
            self.norm_macs += given[0].numel() * _norm_factor(packet, args)
        elif packet not in _NO_WORK and not _is_view(given, made):
            self.elementwise += max((t.numel() for t in (*given, *made) if t.is_floating_point()), default=0)
        return out


def _norm_factor(packet: Any, args: Sequence[Any]) -> int:
    if packet in _NORMS_BACKWARD:
        return _NORM_BACKWARD
    is_training = next((a for a in args if isinstance(a, bool)), False)
    return _NORM_TRAINED if is_training else _NORM_EVALUATED


def _tensors(values: Any) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _tensors(value)


def _is_view(given: Sequence[Tensor], made: Sequence[Tensor]) -> bool:
    """Return whether the result is memory that was given: no work, unless it was changed in place."""
    places = {(t.untyped_storage().data_ptr(), t._version) for t in given}
    return bool(made) and all((t.untyped_storage().data_ptr(), t._version) in places for t in made)


def count_work(run: Callable[[int], object]) -> DigitalWork:
    """Count what a function does for one sample.

    Equation: of n samples it does A n + W, of which W is what does not grow with them (reading weights, writing their
    gradients). Samples pass the chip one by one, so one costs A + W; A and W come from two runs.

    Args:
        run: is called with a number of samples; two or more, as batch norms need.
    """
    counts = []
    for n in (MOST_SAMPLES // 2, MOST_SAMPLES):
        flops = FlopCounterMode(display=False)
        with flops, _Counter() as counter:
            run(n)
        counts.append((flops.get_total_flops() / 2 + counter.norm_macs, counter.elementwise, counter.values))
    # A n + W at n = 2 and 4: A + W = a - (b - a) / 2.
    macs, elementwise, values = (a - (b - a) / 2 for a, b in zip(*counts, strict=True))
    return DigitalWork(macs=macs, elementwise=elementwise, values=values)


def count_stage(
    module: nn.Module, x: Tensor, *, want_x: bool, loss: Callable[[Tensor], Tensor] | None = None
) -> StageWork:
    """Count a stage, forward and backward; the module stays as it is, and no random number is drawn from outside.

    Args:
        module: any; no analog block in it, for what a circuit does is no digital work.
        x: [n, ...] samples for it, as many as there are; they are repeated as needed.
        want_x: whether stages before it are trained, so that it hands a gradient back.
        loss: of its output, for the last one; a gradient of ones comes back otherwise.
    """
    copied = copy.deepcopy(module)
    inputs = x.detach().repeat(math.ceil(MOST_SAMPLES / len(x)), *(1 for _ in x.shape[1:]))

    def infer(n: int) -> None:
        copied.eval()
        with torch.no_grad():
            copied(inputs[:n])

    def train(n: int) -> None:
        copied.train()
        copied.zero_grad(set_to_none=True)
        y = copied(inputs[:n].clone().requires_grad_(want_x))
        if y.requires_grad and loss is None:
            y.backward(torch.ones_like(y))
        elif y.requires_grad and loss is not None:
            loss(y).backward()

    with torch.random.fork_rng(devices=[]):
        return StageWork(inference=count_work(infer), training=count_work(train))
