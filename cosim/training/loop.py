"""The training loop of a run: epochs, checkpoints, measurements, and an end after any batch that loses nothing.

Takes: a run that was set up, and how far it is. Gives: the run at its end. Must not know: how networks are built.

The order of an epoch's images is drawn from a copy of the generator that checkpoints hold; the generator itself moves
on at the epoch's end. So a checkpoint within an epoch draws the same order again and skips the batches that are done.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final, final

import torch

from digital.augmentation import Augmentation
from digital.images import ImageDataset, ImageSet

from ..analog_block import AnalogBlock
from .block_plots import plot_blocks
from .checkpoint import Best, Progress, Tally
from .config import TrainingSection
from .data import evaluation_batches, training_batch
from .display import Display
from .network import list_energy_blocks, sum_counters
from .observation import Observer
from .placement import CPU
from .plots import plot_training
from .run_folder import Metrics, RunFolder
from .stop import StopRequest
from .trainer import Average, Batch, Loss, Score, score, shuffled_batches, train_batch

PICTURES_EVERY_S: Final = 30.0  # drawing takes a second; who watches can wait for it


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Material:
    """What a loop trains with, all of it unchanging.

    Args:
        section: epochs, batch size and the like.
        data: the images.
        augmentation: how they are varied.
        loss_of: mean loss of logits and classes.
        blocks: the network's analog blocks.
        folder: where everything is kept.
        device: where the network is, and batches go.
    """

    section: TrainingSection
    data: ImageDataset
    augmentation: Augmentation
    loss_of: Loss
    blocks: tuple[AnalogBlock, ...]
    folder: RunFolder
    device: torch.device = CPU


@final
class TrainingLoop:
    """Train from a tally on.

    Args:
        material: what to train with.
        progress: the state that changes and that checkpoints hold; "order" and "augmentation" are among its generators.
        tally: how far it is.
        metrics: measurements of the finished epochs.
        spent_s: s — time that earlier sittings took.
    """

    def __init__(
        self, material: Material, progress: Progress, tally: Tally, metrics: list[Metrics], *, spent_s: float
    ) -> None:
        self.tally, self.metrics = tally, metrics
        self._material, self._progress = material, progress
        self._earlier = Counter(tally.counts)
        self._start = time.perf_counter() - spent_s
        self._observer = Observer(material.blocks)
        self._saved_at = self._drawn_at = time.perf_counter()

    @property
    def wall_s(self) -> float:
        """Time spent over all sittings, s."""
        return time.perf_counter() - self._start

    @property
    def counts(self) -> dict[str, int]:
        """Relaxations and conversions over all sittings."""
        now = sum_counters(list_energy_blocks(self._progress.model))
        return {name: self._earlier[name] + count for name, count in now.items()}

    def run(self, display: Display, stop: StopRequest) -> None:
        """Train until the last epoch is done.

        Raises:
            KeyboardInterrupt: if it was asked to stop; everything done is in the checkpoint.
            RunError: if a checkpoint cannot be written; those before it stay.
            SimulationError: if a circuit finds no equilibrium; the last checkpoint stays.
        """
        while self.tally.epoch < self._material.section.epochs:
            ahead = torch.Generator()
            ahead.set_state(self._progress.generators["order"].get_state())
            learned = self._train_epoch(ahead, display, stop)
            held_out = self.score(self._material.data.test, stop, self.save)  # interrupted, it counts for nothing
            self._finish_epoch(learned, held_out, ahead)
            display.epoch(self.tally.epoch, learned, held_out, self.wall_s)
            if stop.requested and self.tally.epoch < self._material.section.epochs:
                raise KeyboardInterrupt
        self.draw()

    def score(self, images: ImageSet, stop: StopRequest, before_stop: Callable[[], None] | None = None) -> Score:
        """Return loss and accuracy on images as they are.

        Args:
            images: of the data set.
            stop: looked at before each batch.
            before_stop: called before it is obeyed.

        Raises:
            KeyboardInterrupt: if it was asked to stop.
        """

        def batches() -> Iterator[Batch]:
            for batch in evaluation_batches(self._material.data, images, self._material.device):
                if stop.requested:
                    if before_stop is not None:
                        before_stop()
                    raise KeyboardInterrupt
                yield batch

        return score(self._progress.model, self._material.loss_of, batches())

    def draw(self) -> None:
        """Draw the pictures of the run so far."""
        folder = self._material.folder
        title = f"{folder.path.name}, epoch {self.tally.epoch} of {self._material.section.epochs}"
        plot_training(self.metrics, folder.training_plot, title, loss=self._material.section.loss)
        plot_blocks(self._material.blocks, self.metrics, folder.blocks_plot, title)
        self._drawn_at = time.perf_counter()

    def _train_epoch(self, ahead: torch.Generator, display: Display, stop: StopRequest) -> Score:
        """Train the batches of an epoch that are not done yet."""
        m, p = self._material, self._progress
        average = Average() if self.tally.average is None else Average.from_json(dict(self.tally.average))
        if self.tally.observed is not None:
            self._observer.from_json(dict(self.tally.observed))
        batches = shuffled_batches(len(m.data.train), m.section.batch_size, ahead, drop_last=m.section.drop_last)
        for k, indices in enumerate(batches[self.tally.batch :], start=self.tally.batch + 1):
            batch = training_batch(m.data, indices, m.augmentation, p.generators["augmentation"], m.device)
            train_batch(p.model, p.optimizer, p.scheduler, m.loss_of, batch, average)
            self._observer.observe()
            display.batch(self.tally.epoch + 1, average.score)
            is_asked = stop.requested  # once: a signal comes between any two lines
            is_due = time.perf_counter() - self._saved_at > m.section.checkpoint_every_s
            if is_asked or is_due or k == len(batches):
                self.tally = replace(
                    self.tally,
                    batch=k,
                    counts=self.counts,
                    average=average.to_json(),
                    observed=self._observer.to_json(),
                )
            if is_asked or is_due:
                self.save()
            if is_asked:
                raise KeyboardInterrupt
        return average.score

    def _finish_epoch(self, learned: Score, held_out: Score, ahead: torch.Generator) -> None:
        """Keep a finished epoch: its line, its checkpoint, and its pictures if the last ones are old."""
        best, epoch = self.tally.best, self.tally.epoch + 1
        is_best = best is None or held_out.accuracy > best.accuracy
        if is_best:
            best = Best(epoch=epoch, accuracy=held_out.accuracy)
        self._progress.generators["order"].set_state(ahead.get_state())
        self.tally = Tally(images=self.tally.images, epoch=epoch, counts=self.counts, best=best)
        self.metrics.append(self._measure(learned, held_out))
        self._observer.reset()
        self._material.folder.append_metrics(self.metrics[-1])
        self.save(is_best=is_best)
        if time.perf_counter() - self._drawn_at > PICTURES_EVERY_S:
            self.draw()

    def _measure(self, learned: Score, held_out: Score) -> Metrics:
        top5 = {"train_top5": learned.top5, "test_top5": held_out.top5}
        return {
            "epoch": self.tally.epoch,
            "train_loss": learned.loss,
            "train_accuracy": learned.accuracy,
            "test_loss": held_out.loss,
            "test_accuracy": held_out.accuracy,
            **{name: share for name, share in top5.items() if share is not None},
            "learning_rate": self._progress.optimizer.param_groups[0]["lr"],
            "wall_s": self.wall_s,
            **self.tally.counts,
            **self._observer.metrics(),
        }

    def save(self, *, is_best: bool = False) -> None:
        """Write a checkpoint of how far it is."""
        folder = self._material.folder
        folder.checkpoints.save(self._progress, self.tally, is_best=is_best)
        folder.write_progress(self.tally.epoch, self.tally.batch, self.wall_s)
        self._saved_at = time.perf_counter()
