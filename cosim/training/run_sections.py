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


class ImageChoice(Enum):
    """Which images of a data set."""

    ALL = "all"
    LISTED = "listed"  # the 3,000 and 660 of the published results, by their official index


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
    """How the learning rate changes from step to step."""

    ONE_CYCLE = "one_cycle"
    COSINE = "cosine"
    CONSTANT = "constant"


@final
class DataSection(Section):
    """`[data]`: which images, how many, which split, and how they are varied in training.

    `path` is where CIFAR-10 is, `url` where it may be downloaded from. Sizes are of balanced subsets; without one the
    digits hold out 360 and everything else stays whole.
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

    @model_validator(mode="after")
    def _check(self) -> "DataSection":
        if self.name is DatasetKind.DIGITS:
            named = [key for key in ("path", "url") if getattr(self, key) is not None]
            if self.images is not ImageChoice.ALL:
                named.append("images")
            if named:
                raise ValueError(f'{named[0]} is for data.name = "cifar10"; the digits come with scikit-learn')
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
    """`[training]`: the loop; a checkpoint after each epoch, and within one when the last is this old."""

    epochs: Count = 10
    batch_size: Count = 64
    loss: Annotated[LossKind, READ_LOOSELY] = LossKind.CROSS_ENTROPY
    optimizer: Annotated[OptimizerKind, READ_LOOSELY] = OptimizerKind.ADAMW
    learning_rate: Positive = 3e-3
    weight_decay: NotNegative = 0.0
    schedule: Annotated[ScheduleKind, READ_LOOSELY] = ScheduleKind.ONE_CYCLE
    checkpoint_every_s: Positive = 300.0
    seed: Seed = 0
