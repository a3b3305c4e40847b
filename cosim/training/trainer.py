"""The training loop of any torch classifier; it does not know that there is a circuit in the model.

Takes: a model, an optimiser and a schedule, tensors of samples. Gives: loss and accuracy, epoch by epoch.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler, OneCycleLR

from .config import OptimizerKind, ScheduleKind, TrainingSection

EVALUATION_BATCH = 256  # samples relaxed at a time without gradients


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """Mean loss and share of right answers over a number of samples."""

    loss: float
    accuracy: float


@final
class Average:
    """A running mean of loss and accuracy."""

    def __init__(self) -> None:
        self._loss, self._right, self._count = 0.0, 0, 0

    def add(self, logits: Tensor, y: Tensor, loss: Tensor) -> None:
        """Take in a batch: its logits, classes and mean loss."""
        self._loss += float(loss.detach()) * len(y)
        self._right += int((logits.detach().argmax(dim=1) == y).sum())
        self._count += len(y)

    @property
    def score(self) -> Score:
        """The mean so far."""
        count = max(1, self._count)
        return Score(loss=self._loss / count, accuracy=self._right / count)


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
    """Return the schedule of a configuration over n_steps optimiser steps."""
    match section.schedule:
        case ScheduleKind.ONE_CYCLE:
            return OneCycleLR(optimizer, max_lr=section.learning_rate, total_steps=n_steps)
        case ScheduleKind.COSINE:
            return CosineAnnealingLR(optimizer, T_max=n_steps)
        case ScheduleKind.CONSTANT:
            return LambdaLR(optimizer, lambda _step: 1.0)


def count_batches(n_samples: int, batch_size: int) -> int:
    """Return how many batches an epoch has; see `shuffled_batches`."""
    full, rest = divmod(n_samples, batch_size)
    return full + (1 if rest > 1 or (rest == 1 and full == 0) else 0)


def shuffled_batches(n_samples: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield the indices of each batch in a fresh order; a last batch of one sample, without variance, is left out."""
    order = torch.randperm(n_samples, generator=generator)
    for k in range(count_batches(n_samples, batch_size)):
        yield order[k * batch_size : (k + 1) * batch_size]


def train_epoch(
    model: nn.Module,
    optimizer: Optimizer,
    scheduler: LRScheduler,
    batches: Iterator[Tensor],
    x: Tensor,
    y: Tensor,
    report: Callable[[Score], None],
) -> Score:
    """Train for one epoch on cross-entropy.

    Args:
        model: from [batch, ...] to [batch, n_classes].
        optimizer: of its parameters.
        scheduler: stepped once a batch.
        batches: indices of the samples of each batch.
        x: [n_samples, ...] samples.
        y: [n_samples] classes.
        report: called with the mean so far after each batch.

    Returns:
        mean over the epoch, each batch taken before its step.
    """
    model.train()
    average = Average()
    for batch in batches:
        optimizer.zero_grad(set_to_none=True)
        logits = model(x[batch])
        loss = nn.functional.cross_entropy(logits, y[batch])
        loss.backward()
        optimizer.step()
        scheduler.step()
        average.add(logits, y[batch], loss)
        report(average.score)
    return average.score


def score(model: nn.Module, x: Tensor, y: Tensor) -> Score:
    """Return mean loss and accuracy of a model without training it."""
    was_training = model.training
    model.eval()
    average = Average()
    try:
        with torch.no_grad():
            for k in range(0, len(x), EVALUATION_BATCH):
                logits, y_batch = model(x[k : k + EVALUATION_BATCH]), y[k : k + EVALUATION_BATCH]
                average.add(logits, y_batch, nn.functional.cross_entropy(logits, y_batch))
    finally:
        model.train(was_training)
    return average.score
