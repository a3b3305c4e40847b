"""The CIFAR-10 study: one network trained by EP in ngspice and in newton, by exact gradients, and without a circuit.

Takes: a configuration and where the images are. Gives: a run folder a training, a table, a picture. Each training is an
ordinary run that `tellegen show` and `eval` read; the study goes on wherever it was interrupted, within one too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from rich.console import Console

from ..errors import StudyError
from ..files import format_json, make_folder, write_atomically
from ..training.config import Config, GainStage
from ..training.config_file import load_config
from ..training.data import with_absolute_data, with_data
from .comparison import Comparison, Row
from .comparison_plot import plot_comparison
from .example import find_example
from .trainings import train_once

EIGHT_BITS: Final = tuple(f"converters.{name}.bits=8" for name in ("input", "output", "nudge", "phase"))


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """One way to train the network.

    Args:
        name: of its folder.
        title: in the table.
        overrides: of the configuration.
        unit_gain: True to set every gain stage to 1. Gains make up for what passive crossbars attenuate; tanh layers
            attenuate nothing, and would only be driven into saturation.
    """

    name: str
    title: str
    overrides: tuple[str, ...]
    unit_gain: bool = False


REFERENCE: Final = "implicit"  # what equilibrium propagation is compared with: the exact gradient of the same circuits
VARIANTS: Final = (
    Variant(name="backprop", title="tanh layers, backprop, no gain", overrides=("gradient=backprop",), unit_gain=True),
    Variant(
        name="implicit",
        title="exact gradients (implicit), newton",
        overrides=("gradient=implicit", "simulator.name=newton"),
    ),
    Variant(name="newton", title="EP in newton", overrides=("gradient=ep", "simulator.name=newton")),
    Variant(
        name="ngspice", title="EP in ngspice, ideal converters", overrides=("gradient=ep", "simulator.name=ngspice")
    ),
    Variant(
        name="ngspice-8bit",
        title="EP in ngspice, 8-bit converters",
        # Digital reads: the phases' 8-bit codes of every layer give the conductance gradients too.
        overrides=("gradient=ep", "simulator.name=ngspice", "phases.parameter_read=digital", *EIGHT_BITS),
    ),
)


def cifar10_study(
    out: Path,
    *,
    data: Path | None = None,
    config: Path | None = None,
    overrides: Sequence[str] = (),
    n_seeds: int = 3,
    only: Sequence[str] = (),
    command: str = "",
    console: Console | None = None,
) -> Comparison:
    """Train every variant with every seed, or go on doing so, and compare them.

    Args:
        out: folder of the study: a run folder OUT/<variant>/seed-<k> a training, and the results of all.
        data: where CIFAR-10 is; see `load_data` for what happens without.
        config: another configuration than examples/cifar10.toml.
        overrides: "training.epochs=1" and the like, for all variants.
        n_seeds: trainings of each variant, with seeds 0, 1, ...
        only: names of variants; all where it is empty.
        command: how the study was started, for its record.
        console: where to show progress; standard output if left out.

    Returns:
        the comparison; OUT/study.json, table.md and accuracy.png hold it.

    Raises:
        StudyError: for an unknown variant, or seeds that are no number above zero.
        ConfigError: if a run folder in OUT was started with another configuration.
        DataError, SimulatorNotFound, RunError, KeyboardInterrupt: as `train`; every finished batch is kept.
    """
    console = console or Console()
    chosen = _choose(only, n_seeds)
    example = config or find_example(Path("examples/cifar10.toml"))
    make_folder(out)
    rows = []
    for k, variant in enumerate(chosen):
        results = []
        for seed in range(n_seeds):
            number = f"training {k * n_seeds + seed + 1} of {len(chosen) * n_seeds}"
            console.rule(f"{number}: {variant.title}, seed {seed}", style="", align="left")
            settings = with_absolute_data(with_data(_configure(example, overrides, variant, seed), data))
            results.append(train_once(out / variant.name / f"seed-{seed}", settings, console))
            console.print(results[-1].lines()[0], highlight=False, soft_wrap=True)
        rows.append(Row.from_results(variant.name, variant.title, results))
        _keep(Comparison(rows=tuple(rows), reference=REFERENCE, command=command), out)
    return Comparison(rows=tuple(rows), reference=REFERENCE, command=command)


def _choose(only: Sequence[str], n_seeds: int) -> list[Variant]:
    names = [variant.name for variant in VARIANTS]
    unknown = [name for name in only if name not in names]
    if unknown:
        raise StudyError(f"study cifar10: no variant '{unknown[0]}'; there are {', '.join(names)}")
    if n_seeds < 1:
        raise StudyError(f"study cifar10: {n_seeds} seeds; give one or more, three for a standard deviation")
    return [variant for variant in VARIANTS if not only or variant.name in only]


def _configure(example: Path, overrides: Sequence[str], variant: Variant, seed: int) -> Config:
    texts = [*overrides, *variant.overrides, f"training.seed={seed}"]
    config = load_config(example, texts)
    if variant.unit_gain:
        gains = [k for k, stage in enumerate(config.network.stages) if isinstance(stage, GainStage)]
        config = load_config(example, [*texts, *(f"network.stages.{k}.value=1.0" for k in gains)])
    return config


def _keep(comparison: Comparison, out: Path) -> None:
    """Write what is known so far."""
    write_atomically(out / "study.json", format_json(comparison.to_json()).encode())
    write_atomically(out / "table.md", comparison.markdown().encode())
    plot_comparison(comparison, out / "accuracy.png", title="CIFAR-10 subset, test accuracy of each training")
