"""What a run is made with besides its network: `[data]`, `[simulator]` and `[training]`."""

from enum import Enum
from typing import Annotated, final

from pydantic import Field, model_validator

from ..reduce import Reduce
from .section import READ_LOOSELY, Count, Device, Margin, NotNegative, Positive, Section, Seed


class DatasetKind(Enum):
    """Which images."""

    DIGITS = "digits"
    CIFAR10 = "cifar10"
    CIFAR100 = "cifar100"
    IMAGENET32 = "imagenet32"


class ImageChoice(Enum):
    """Which images of a data set."""

    ALL = "all"
    LISTED = "listed"  # the 3,000 and 660 of the published results, by their official index


class CropPaddingKind(Enum):
    """What is put around an image before it is shifted."""

    ZEROS = "zeros"
    EDGE = "edge"  # the nearest pixel


class LossKind(Enum):
    """What is minimised."""

    CROSS_ENTROPY = "cross_entropy"
    MSE = "mse"  # against one-hot vectors


class SimulatorKind(Enum):
    """Which simulator relaxes the blocks."""

    NEWTON = "newton"
    NGSPICE = "ngspice"


class OptimizerKind(Enum):
    """Which of torch's optimisers."""

    ADAMW = "adamw"
    ADAM = "adam"
    SGD = "sgd"


class ScheduleKind(Enum):
    """How the learning rate changes from step to step, or from epoch to epoch."""

    ONE_CYCLE = "one_cycle"
    COSINE = "cosine"
    COSINE_PER_EPOCH = "cosine_per_epoch"  # the same rate through an epoch, as in the paper
    CONSTANT = "constant"


@final
class DataSection(Section):
    """`[data]`: which images, how many, which split, and how they are varied in training.

    `path` is where the images are, `url` where CIFAR may be downloaded from. Sizes are of balanced subsets; without one
    the digits hold out 360 and everything else stays whole. A network sees (pixel / largest - mean) / std; `mean` and
    `std`, a number a channel, are the data set's own if left out.
    """

    name: Annotated[DatasetKind, READ_LOOSELY] = DatasetKind.DIGITS
    path: Annotated[str, Field(min_length=1)] | None = None
    url: Annotated[str, Field(pattern=r"^https?://", examples=["https://..."])] | None = None
    images: Annotated[ImageChoice, READ_LOOSELY] = ImageChoice.ALL
    train_size: Count | None = None
    test_size: Count | None = None
    seed: Seed = 0
    flip: bool = False
    crop: Margin = 0
    crop_padding: Annotated[CropPaddingKind, READ_LOOSELY] = CropPaddingKind.ZEROS
    mean: Annotated[tuple[float, ...], Field(strict=False, min_length=1)] | None = None
    std: Annotated[tuple[Positive, ...], Field(strict=False, min_length=1)] | None = None

    @model_validator(mode="after")
    def _check(self) -> "DataSection":
        if self.path is not None and self.name is DatasetKind.DIGITS:
            raise ValueError(
                'path is for data.name = "cifar10", "cifar100" or "imagenet32"; the digits come with scikit-learn'
            )
        if self.url is not None and self.name not in {DatasetKind.CIFAR10, DatasetKind.CIFAR100}:
            raise ValueError(
                f'url is for data.name = "cifar10" or "cifar100"; {self.name.value} is not downloaded, leave it out'
            )
        if self.images is not ImageChoice.ALL and self.name is not DatasetKind.CIFAR10:
            raise ValueError(f'images is for data.name = "cifar10"; {self.name.value} has no list, leave it out')
        return self


@final
class SimulatorSection(Section):
    """`[simulator]`: which one, how far it may reduce circuits, and how it runs.

    `device` is newton's: "cpu", "cuda" or "cuda:1". The others are ngspice's: worker processes (0: in this process),
    the time a chunk may take, the samples of one, which are part of the result's last bits, and the address of a Dask
    scheduler whose workers are to be used in place of own ones.
    """

    name: Annotated[SimulatorKind, READ_LOOSELY] = SimulatorKind.NEWTON
    reduce: Annotated[Reduce, READ_LOOSELY] = Reduce.MIRROR
    device: Device = "cpu"
    workers: Annotated[int, Field(ge=0, le=256)] = 0
    timeout_s: Positive = 300.0
    chunk: Count = 32
    dask: Annotated[str, Field(pattern=r"^[a-z]+://.+$", examples=["tcp://localhost:8786"])] | None = None

    @model_validator(mode="after")
    def _check(self) -> "SimulatorSection":
        if self.dask is not None and self.name is not SimulatorKind.NGSPICE:
            raise ValueError(f'dask = "{self.dask}" is for name = "ngspice"; {self.name.value} runs in this process')
        return self


@final
class TrainingSection(Section):
    """`[training]`: the loop; a checkpoint after each epoch, and within one when the last is this old.

    `final_learning_rate` is where a cosine ends. `drop_last` leaves out a last batch that is not full; without it only
    one of a single sample is left out. `device` is of the digital and hopfield stages; circuits have their own.
    """

    epochs: Count = 10
    batch_size: Count = 64
    loss: Annotated[LossKind, READ_LOOSELY] = LossKind.CROSS_ENTROPY
    optimizer: Annotated[OptimizerKind, READ_LOOSELY] = OptimizerKind.ADAMW
    learning_rate: Positive = 3e-3
    final_learning_rate: NotNegative = 0.0
    weight_decay: NotNegative = 0.0
    schedule: Annotated[ScheduleKind, READ_LOOSELY] = ScheduleKind.ONE_CYCLE
    drop_last: bool = False
    device: Device = "cpu"
    checkpoint_every_s: Positive = 300.0
    seed: Seed = 0

    @model_validator(mode="after")
    def _check(self) -> "TrainingSection":
        if self.final_learning_rate > 0 and self.schedule not in {ScheduleKind.COSINE, ScheduleKind.COSINE_PER_EPOCH}:
            raise ValueError(
                f'final_learning_rate = {self.final_learning_rate:g} is of schedule = "cosine" or "cosine_per_epoch", '
                f'not of "{self.schedule.value}"; leave it out, or set another schedule'
            )
        if self.final_learning_rate > self.learning_rate:
            raise ValueError(
                f"final_learning_rate = {self.final_learning_rate:g} is above learning_rate = {self.learning_rate:g}; "
                "a cosine goes down"
            )
        return self
