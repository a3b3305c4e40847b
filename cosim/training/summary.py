"""A run folder, summed up for people and for programs: finished, going on, stopped or damaged."""

import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final, final

from circuits.block_layout import build
from circuits.energy_block import EnergyBlock, Polarity

from .block_summary import BlockSummary, list_blocks
from .checkpoints import FILE_NAMES
from .config import AnalogStage, Config, ConvStage, GradientKind, HopfieldStage, LinearStage, ModuleStage
from .configured_blocks import configured_blocks, has_convolution
from .effect_texts import describe_effects
from .run_contents import RunContents, Shapes, read_contents
from .run_folder import Metrics

WIDTH: Final = 79
LABEL: Final = 12  # columns of the labels on the left
COUNTS: Final = ("relaxations", "iterations", "dac_conversions", "adc_conversions")
CONDUCTANCES: Final = re.compile(r"model/energy\.(\d+)\.g_(?:plus|minus)\.")  # of the k-th energy block
MOMENTS: Final = ("exp_avg", "momentum_buffer")  # Adam's and SGD's: one for each trained tensor, and of its shape


class RunState(Enum):
    """How far a run is; its files do not say whether a process trains in it right now."""

    FINISHED = "finished"
    UNFINISHED = "unfinished"  # stopped, or still going
    NO_CHECKPOINT = "no_checkpoint"


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class WeightCount:
    """The trained numbers of a network.

    Args:
        digital: of the digital stages.
        conductances: of the analog ones, G+ and G- each.
        devices: resistors that hold them; two a conductance with differential polarity, many of a kernel.
    """

    digital: int
    conductances: int
    devices: int


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RunSummary:
    """A run folder, summed up.

    Args:
        run: the folder.
        state: how far the run is.
        epoch, batch: epochs finished, and batches of the next one, that a checkpoint holds.
        best, last: measurements of the epoch with the highest test accuracy and of the last one; None before the first.
        counts: relaxations, iterations and conversions by name.
        weights: None before the first checkpoint, and where convolutions are behind a stage that is not installed here.
        blocks: the analog stages in order.
        contents: what was read.
    """

    run: Path
    state: RunState
    epoch: int
    batch: int
    best: Metrics | None
    last: Metrics | None
    counts: Mapping[str, int]
    weights: WeightCount | None
    blocks: tuple[BlockSummary, ...]
    contents: RunContents

    def to_json(self) -> dict[str, Any]:
        """Return what `tellegen show --json` writes."""
        c = self.contents
        return {
            "run": str(self.run),
            "state": self.state.value,
            "epoch": self.epoch,
            "batch": self.batch,
            "epochs": None if c.config is None else c.config.training.epochs,
            "start": None if c.config is None or c.config.start is None else c.config.start.run,
            "preset": None if c.config is None else c.config.preset,
            "width": None if c.config is None else c.config.width,
            "data": None if c.config is None else c.config.data.name.value,
            "effects": None if c.config is None else describe_effects(c.config),
            "gradient": None if c.config is None else c.config.gradient.value,
            "simulator": None if c.config is None else _simulator(c.config),
            "best": self.best,
            "last": self.last,
            "result": None if c.result is None else dict(c.result),
            "counts": dict(self.counts),
            "wall_s": c.wall_s,
            "weights": None if self.weights is None else asdict(self.weights),
            "blocks": [block.to_json() for block in self.blocks],
            "files": [str(path) for path in c.files],
            "damaged": list(c.damaged),
        }

    def lines(self) -> list[str]:
        """Return it for people; within 80 columns, but for paths that are longer."""
        facts = [("run", str(self.run)), ("state", self._state())]
        facts += [("damaged", sentence) for sentence in self.contents.damaged]
        facts += self._facts()
        for block in self.blocks:
            facts += [(block.name if k == 0 else "", text) for k, text in enumerate(block.texts())]
        lines = [line for label, text in facts for line in _wrapped(label, text)]
        paths = (self._file(path) for path in self.contents.files)  # one a line, to be clicked on
        return [*lines, *(f"{'' if k else 'files':<{LABEL}}{path}" for k, path in enumerate(paths))]

    def _state(self) -> str:
        config = self.contents.config
        of = "" if config is None else f" of {config.training.epochs}"
        match self.state:
            case RunState.FINISHED:
                return f"finished, {self.epoch}{of} epochs"
            case RunState.UNFINISHED:
                batches = f", {self.batch} batches of the next" if self.batch else ""
                return f"stopped or still going, {self.epoch}{of} epochs done{batches}"
            case RunState.NO_CHECKPOINT:
                return f"no checkpoint yet, 0{of} epochs done"

    def _facts(self) -> list[tuple[str, str]]:
        """Label and text of each fact that is known."""
        config, result = self.contents.config, self.contents.result
        facts = []
        if config is not None:
            images = (
                ""
                if result is None
                else f", {_count(result, 'n_train')} images and {_count(result, 'n_test')} held out"
            )
            facts += [("data", f"{config.data.name.value}{images}"), ("network", _describe_stages(config))]
            facts += [("as made", text) for text in describe_effects(config)]
            if config.preset is not None:
                facts.append(("preset", f"{config.preset} at width {config.width:g}"))
            facts.append(("training", _describe_training(config)))
            if config.start is not None:
                facts.append(("began with", f"{config.start.run}, its {config.start.checkpoint} checkpoint"))
        if self.best is not None:
            accuracy = _number(self.best, "test_accuracy")
            facts.append(("best epoch", f"{_number(self.best, 'epoch'):.0f}: test accuracy {accuracy:.4f}"))
        if self.last is not None:
            test, train = (
                f"{_number(self.last, f'{split}_accuracy'):.4f} (loss {_number(self.last, f'{split}_loss'):.4f})"
                for split in ("test", "train")
            )
            facts.append(("last epoch", f"{_number(self.last, 'epoch'):.0f}: test accuracy {test}, train {train}"))
        if result is not None:
            facts.append(("result", f"test accuracy {_number(result, 'test_accuracy'):.4f}, after the last epoch"))
        top5 = self._top5()
        facts += [("top-5", top5)] if top5 else []
        work = self._work()
        facts += [("work", work)] if work else []
        if self.weights is not None:
            w = self.weights
            analog = f"; {w.conductances:,} conductances of {w.devices:,} devices" if w.conductances else ""
            facts.append(("weights", f"{w.digital:,} digital{analog}"))
        return facts

    def _top5(self) -> str:
        """Return the shares of images whose class is among the five likeliest, of the last epoch or the result."""
        known = {**(self.last or {}), **(self.contents.result or {})}
        test, train = (_number(known, f"{split}_top5") for split in ("test", "train"))
        return "" if math.isnan(test) else f"test {test:.4f}, train {train:.4f}"

    def _work(self) -> str:
        texts = []
        if self.counts:
            conversions = sum(count for name, count in self.counts.items() if name.endswith("_conversions"))
            texts = [f"{self.counts.get('relaxations', 0):,} relaxations", f"{conversions:,} conversions"]
        return ", ".join([*texts, *([] if self.contents.wall_s is None else [_format_time(self.contents.wall_s)])])

    def _file(self, path: Path) -> str:
        """Return a path; of a checkpoint with its epoch."""
        for which, tally in self.contents.tallies.items():
            if FILE_NAMES[which] == path.name:
                return f"{path}, epoch {tally.epoch}" + (f" and {tally.batch} batches" if tally.batch else "")
        return str(path)


def summarise(run: Path) -> RunSummary:
    """Sum up a run folder.

    Args:
        run: the folder; it may be in use.

    Returns:
        all that can be read of it; damaged files are named in it.

    Raises:
        RunError: if it is no run folder.
    """
    c = read_contents(run)
    tally, last = c.tally, c.metrics[-1] if c.metrics else None
    counted: Mapping[str, Any] = c.result or (None if tally is None else tally.counts) or last or {}
    state = RunState.UNFINISHED if c.has_checkpoint else RunState.NO_CHECKPOINT
    return RunSummary(
        run=run,
        state=state if c.result is None else RunState.FINISHED,
        epoch=_epochs_done(c),
        batch=0 if tally is None else tally.batch,
        best=find_best(c.metrics),
        last=last,
        counts={name: counted[name] for name in COUNTS if isinstance(counted.get(name), int)},
        weights=_count_weights(c.config, c.shapes),
        blocks=list_blocks(c.config, c.metrics, c.shapes),
        contents=c,
    )


def _epochs_done(c: RunContents) -> int:
    """Return the finished epochs; those of the metrics where every checkpoint is damaged."""
    if c.tally is not None:
        return c.tally.epoch
    is_kept = c.has_checkpoint or c.result is not None
    return int(c.metrics[-1]["epoch"]) if c.metrics and is_kept else 0


def find_best(metrics: Sequence[Metrics]) -> Metrics | None:
    """Return the epoch with the highest accuracy on the images held out, the first of several; None of none."""
    scored = [entry for entry in metrics if _number(entry, "test_accuracy") >= 0.0]  # NaN is no accuracy
    return max(scored, key=lambda entry: entry["test_accuracy"], default=None)


def _count_weights(config: Config | None, shapes: Shapes) -> WeightCount | None:
    """Count what a checkpoint holds: every trained tensor has a moment, buffers have none."""
    if config is None or not shapes:
        return None
    blocks = config.network.energy_blocks
    conductances = {k: 0 for k, (stage, _) in enumerate(blocks) if isinstance(stage, AnalogStage)}
    trained = 0
    for name, shape in shapes.items():
        if name.startswith("optimizer/") and name.rpartition("/")[2] in MOMENTS:
            trained += math.prod(shape)
        elif (found := CONDUCTANCES.match(name)) and int(found[1]) in conductances:
            conductances[int(found[1])] += math.prod(shape)
    n_conductances = sum(conductances.values())
    devices = _count_devices(config, conductances)
    if trained < n_conductances or devices is None:  # no optimiser of ours, or nothing tells
        return None
    return WeightCount(digital=trained - n_conductances, conductances=n_conductances, devices=devices)


def _count_devices(config: Config, conductances: Mapping[int, int]) -> int | None:
    """Count the resistors of so many conductances of each energy block; many share one of a kernel."""
    devices = 0
    circuits: dict[str, EnergyBlock] | None = None
    for k, n_conductances in conductances.items():
        stage, name = config.network.energy_blocks[k]
        if not isinstance(stage, AnalogStage) or n_conductances == 0:
            continue
        if not has_convolution(stage):
            devices += n_conductances * (2 if stage.polarity is Polarity.DIFFERENTIAL else 1)
            continue
        circuits = configured_blocks(config) if circuits is None else circuits
        if name not in circuits:
            return None
        devices += sum(c.plus.size + (0 if c.minus is None else c.minus.size) for c in build(circuits[name]).crossbars)
    return devices


def _describe_stages(config: Config) -> str:
    """Return the stages in order, energy blocks by name."""
    names = iter([name for _, name in config.network.energy_blocks])
    texts = []
    for stage in config.network.stages:
        match stage:
            case AnalogStage():
                texts.append(f"[{next(names)}]")
            case HopfieldStage():
                texts.append(f"hopfield [{next(names)}]")
            case LinearStage():
                texts.append(f"linear {stage.size}")
            case ConvStage():
                texts.append(f"conv {stage.channels}x{stage.kernel}x{stage.kernel}")
            case ModuleStage():
                texts.append(stage.module)
            case _:
                texts.append(stage.kind)
    return ", ".join(texts)


def _describe_training(config: Config) -> str:
    t = config.training
    where = _simulator(config)
    how = f"gradient {config.gradient.value}" + ("" if where is None else f" in {where}")
    betas = [f", beta {config.phases.beta:g}"] if config.has_circuit else []
    if any(isinstance(stage, HopfieldStage) for stage in config.network.stages):
        betas.append(f", hopfield beta {config.hopfield.beta:g}")
    beta = "".join(betas) if config.gradient is GradientKind.EP else ""
    return (
        f"{how}{beta}, {t.loss.value}, {t.optimizer.value} at {t.learning_rate:g} ({t.schedule.value}), "
        f"batches of {t.batch_size}, seed {t.seed}{'' if t.device == 'cpu' else f', on {t.device}'}"
    )


def _simulator(config: Config) -> str | None:
    """Return the simulator's name; None where there is no circuit."""
    return config.simulator.name.value if config.has_circuit else None


def _number(values: Mapping[str, Any], name: str) -> float:
    """Return a number, NaN if it is missing or none."""
    value = values.get(name)
    return float(value) if isinstance(value, int | float) else math.nan


def _count(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name)
    return f"{value:,}" if isinstance(value, int) else "?"


def _format_time(time_s: float) -> str:
    minutes = round(time_s / 60)
    if time_s < 600:
        return f"{time_s:.1f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _wrapped(label: str, text: str) -> list[str]:
    """Return a text beside its label, on as many lines as it takes; paths stay whole."""
    head = f"{label:<{LABEL}}"
    if len(label) >= LABEL:
        return [label, *_wrapped("", text)]
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=head,
        subsequent_indent=" " * LABEL,
        break_long_words=False,
        break_on_hyphens=False,
    )
