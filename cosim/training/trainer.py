"""One step and one evaluation of any torch classifier; nothing here knows that there is a circuit in the model.

Takes: a model, an optimiser and a schedule, batches of samples. Gives: mean loss, accuracy and top-5 accuracy.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, final

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler, OneCycleLR

from digital.losses import cross_entropy, mse

from .config import LossKind, OptimizerKind, ScheduleKind, TrainingSection

Loss = Callable[[Tensor, Tensor], Tensor]
Batch = tuple[Tensor, Tensor]  # [batch, ...] samples and [batch] classes

TOP: Final = 5
LOSSES: Final[dict[LossKind, Loss]] = {LossKind.CROSS_ENTROPY: cross_entropy, LossKind.MSE: mse}


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """Mean loss and share of right answers over a number of samples.

    Args:
        loss: the mean.
        accuracy: share of samples whose class has the largest logit.
        top5: share of samples whose class is among the five largest; None of five classes or fewer, where it says
            nothing.
    """

    loss: float
    accuracy: float
    top5: float | None = None


@final
class Average:
    """A running mean of loss, accuracy and top-5 accuracy, which a checkpoint can hold."""

    def __init__(self) -> None:
        self._loss, self._right, self._count = 0.0, 0, 0
        self._right5: int | None = 0  # None where it says nothing, or is not known of all samples

    def add(self, logits: Tensor, y: Tensor, loss: Tensor) -> None:
        """Take in a batch: its logits, classes and mean loss."""
        self._loss += float(loss.detach()) * len(y)
        self._right += int((logits.detach().argmax(dim=1) == y).sum())
        self._count += len(y)
        if logits.shape[1] <= TOP:
            self._right5 = None
        elif self._right5 is not None:
            best = logits.detach().topk(TOP, dim=1).indices
            self._right5 += int((best == y[:, None]).sum())

    @property
    def score(self) -> Score:
        """The mean so far."""
        count = max(1, self._count)
        top5 = None if self._right5 is None or not self._count else self._right5 / count
        return Score(loss=self._loss / count, accuracy=self._right / count, top5=top5)

    def to_json(self) -> dict[str, Any]:
        """Return the sums, exactly."""
        return {"loss": self._loss, "right": self._right, "right5": self._right5, "count": self._count}

    @staticmethod
    def from_json(sums: dict[str, Any]) -> "Average":
        """Go on from the sums of `to_json`; checkpoints of earlier versions have no top-5 among them."""
        average = Average()
        average._loss, average._right, average._count = float(sums["loss"]), int(sums["right"]), int(sums["count"])
        right5 = sums.get("right5")
        average._right5 = None if right5 is None else int(right5)
        return average


def build_optimizer(section: TrainingSection, model: nn.Module) -> Optimizer:
    """Return the optimiser of a configuration."""
    lr, decay = section.learning_rate, section.weight_decay
    match section.optimizer:
        case OptimizerKind.ADAMW:
            return AdamW(model.parameters(), lr=lr, weight_decay=decay)
        case OptimizerKind.ADAM:
            return Adam(model.parameters(), lr=lr, weight_decay=decay)
        case OptimizerKind.SGD:
            return SGD(model.parameters(), lr=lr, weight_decay=decay, momentum=0.9)


def build_scheduler(section: TrainingSection, optimizer: Optimizer, n_steps: int) -> LRScheduler:
    """Return the schedule of a configuration over n_steps optimiser steps, of all its epochs together.

    Equation of a cosine: rate = final + (learning_rate - final) (1 + cos(pi k / n)) / 2, k of n steps or epochs done.
    """
    match section.schedule:
        case ScheduleKind.ONE_CYCLE:
            return OneCycleLR(optimizer, max_lr=section.learning_rate, total_steps=n_steps)
        case ScheduleKind.COSINE:
            return CosineAnnealingLR(optimizer, T_max=n_steps, eta_min=section.final_learning_rate)
        case ScheduleKind.COSINE_PER_EPOCH:
            n_batches, low = n_steps // section.epochs, section.final_learning_rate / section.learning_rate

            def share(step: int) -> float:
                return low + (1 - low) * (1 + math.cos(math.pi * (step // n_batches) / section.epochs)) / 2

            return LambdaLR(optimizer, share)
        case ScheduleKind.CONSTANT:
            return LambdaLR(optimizer, lambda _step: 1.0)


def count_batches(n_samples: int, batch_size: int, *, drop_last: bool = False) -> int:
    """Return how many batches an epoch has; see `shuffled_batches`."""
    full, rest = divmod(n_samples, batch_size)
    return full + (1 if not drop_last and (rest > 1 or (rest == 1 and full == 0)) else 0)


def shuffled_batches(
    n_samples: int, batch_size: int, generator: torch.Generator, *, drop_last: bool = False
) -> list[Tensor]:
    """Return the indices of each batch in a fresh order.

    A last batch of one sample, without variance, is left out; with drop_last any that is not full.
    """
    order = torch.randperm(n_samples, generator=generator)
    n_batches = count_batches(n_samples, batch_size, drop_last=drop_last)
    return [order[k * batch_size : (k + 1) * batch_size] for k in range(n_batches)]


def train_batch(
    model: nn.Module, optimizer: Optimizer, scheduler: LRScheduler, loss_of: Loss, batch: Batch, average: Average
) -> None:
    """Take one step.

    Args:
        model: from [batch, ...] to [batch, n_classes].
        optimizer: of its parameters.
        scheduler: stepped once.
        loss_of: mean loss of logits and classes.
        batch: samples and classes.
        average: takes in the batch as it was before its step.
    """
    x, y = batch
    model.train()
    optimizer.zero_grad(set_to_none=True)
    logits = model(x)
    loss = loss_of(logits, y)
    loss.backward()
    optimizer.step()
    scheduler.step()
    average.add(logits, y, loss)


def score(model: nn.Module, loss_of: Loss, batches: Iterable[Batch]) -> Score:
    """Return the mean loss and accuracies of a model over batches without training it."""
    was_training = model.training
    model.eval()
    average = Average()
    try:
        with torch.no_grad():
            for x, y in batches:
                logits = model(x)
                average.add(logits, y, loss_of(logits, y))
    finally:
        model.train(was_training)
    return average.score
