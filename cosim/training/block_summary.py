"""One analog stage of a run, summed up: what it is made of, and what its circuit showed in training."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import prod
from typing import Any, final

from circuits.convolution import format_shape
from circuits.energy_block import Drive, EnergyBlock, Polarity

from ..phases import TOLERANCE_MARGIN
from .analog_sections import AnalogStage
from .config import Config, GradientKind
from .configured_blocks import configured_blocks, has_convolution
from .observation import ADC_STEP, CLAMPED_SHARE, NUDGE_RESPONSE, QUANTITIES, TOLERANCE
from .run_contents import Shapes
from .run_folder import Metrics


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class BlockSummary:
    """One analog stage, with what its circuit showed in the last epoch that observed it.

    Args:
        name: of the block.
        sizes: inputs, then the units of each layer; None for inputs that no checkpoint tells, or layers behind a stage
            that is not installed here; empty without a configuration.
        shapes: likewise, (channels, height, width) of an image and (units,) of others; not for programs.
        drive, polarity: as configured; None without a configuration.
        is_circuit: False for the tanh layers that stand in for one.
        clamped_share: of all units; None where nothing was observed, and so below.
        nudge_response_v: V — root mean square of the outputs' change between the phases.
        tolerance_v: V — the solver's.
        adc_step_v: V — of the ADC that reads states.
    """

    name: str
    sizes: tuple[int | None, ...] = ()
    shapes: tuple[tuple[int, ...] | None, ...] = ()
    drive: Drive | None = None
    polarity: Polarity | None = None
    is_circuit: bool = True
    clamped_share: float | None = None
    nudge_response_v: float | None = None
    tolerance_v: float | None = None
    adc_step_v: float | None = None

    @property
    def tolerances(self) -> float | None:
        """The response in solver tolerances."""
        if self.nudge_response_v is None or not self.tolerance_v:
            return None
        return self.nudge_response_v / self.tolerance_v

    @property
    def is_noise(self) -> bool:
        """Whether the response is too close to the solver's tolerance to be read."""
        return self.tolerances is not None and self.tolerances < TOLERANCE_MARGIN

    def to_json(self) -> dict[str, Any]:
        """Return it for programs."""
        words = {
            "drive": None if self.drive is None else self.drive.value,
            "polarity": None if self.polarity is None else self.polarity.value,
        }
        facts = {name: value for name, value in asdict(self).items() if name != "shapes"}
        return {**facts, **words, "tolerances": self.tolerances, "is_noise": self.is_noise}

    def texts(self) -> list[str]:
        """Return it for people: what it is, the share of clamped units, the response."""
        shapes = self.shapes or tuple(None if size is None else (size,) for size in self.sizes)
        sizes = "-".join("?" if shape is None else format_shape(shape) for shape in shapes)
        if not self.is_circuit:
            return [f"{sizes}, tanh layers in place of the circuit"]
        made_of = [sizes] if self.sizes else []
        made_of += [f"{self.drive.value}-driven"] if self.drive is not None else []
        made_of += [self.polarity.value] if self.polarity is not None else []
        texts = [", ".join(made_of)] if made_of else []
        if self.clamped_share is not None:
            texts.append(f"{100 * self.clamped_share:.1f} % of the units clamped")
        if self.nudge_response_v is not None:
            texts.append(self._response())
        return texts

    def _response(self) -> str:
        text = f"nudge response {self.nudge_response_v:.2g} V rms"
        if self.tolerances is not None:
            text += f", {self.tolerances:.2g} tolerances"
        if self.adc_step_v:
            text += f", {(self.nudge_response_v or 0.0) / self.adc_step_v:.2g} ADC steps"
        return f"{text}: NOISE, raise phases.beta" if self.is_noise else text


def list_blocks(config: Config | None, metrics: Sequence[Metrics], shapes: Shapes) -> tuple[BlockSummary, ...]:
    """Return the analog stages in order; without a configuration those that the metrics name.

    Args:
        config: None if it is damaged.
        metrics: with the observer's names.
        shapes: of a checkpoint's tensors; empty without one.
    """
    if config is None:
        suffixes = tuple(f".{quantity}" for quantity in QUANTITIES)
        observed = [name.rpartition(".")[0] for entry in metrics for name in entry if name.endswith(suffixes)]
        return tuple(_with_observations(BlockSummary(name=name), metrics) for name in dict.fromkeys(observed))
    stages = [stage for stage, _ in config.network.energy_blocks if isinstance(stage, AnalogStage)]
    circuits = configured_blocks(config) if any(map(has_convolution, stages)) else {}
    blocks = []
    for k, (stage, name) in enumerate(config.network.energy_blocks):
        if isinstance(stage, AnalogStage):
            layers = _shapes(stage, k, shapes, circuits.get(name))
            block = BlockSummary(
                name=name,
                sizes=tuple(None if shape is None else prod(shape) for shape in layers),
                shapes=layers,
                drive=stage.drive,
                polarity=stage.polarity,
                is_circuit=config.gradient is not GradientKind.BACKPROP,
            )
            blocks.append(_with_observations(block, metrics))
    return tuple(blocks)


def _with_observations(block: BlockSummary, metrics: Sequence[Metrics]) -> BlockSummary:
    """Add what a block showed in the last epoch that observed it."""
    names = [f"{block.name}.{quantity}" for quantity in QUANTITIES]
    shown: Metrics = next((entry for entry in reversed(metrics) if any(name in entry for name in names)), {})
    return replace(
        block,
        clamped_share=shown.get(f"{block.name}.{CLAMPED_SHARE}"),
        nudge_response_v=shown.get(f"{block.name}.{NUDGE_RESPONSE}"),
        tolerance_v=shown.get(f"{block.name}.{TOLERANCE}"),
        adc_step_v=shown.get(f"{block.name}.{ADC_STEP}"),
    )


def _shapes(
    stage: AnalogStage, k: int, shapes: Shapes, circuit: EnergyBlock | None
) -> tuple[tuple[int, ...] | None, ...]:
    """Return the shapes of the k-th energy block's inputs and layers; None where nothing tells."""
    if circuit is not None:
        first = circuit.input_shape if circuit.drive is Drive.CURRENT else circuit.layers[0].shape
        return (circuit.input_shape, first, *(layer.shape for layer in circuit.layers[1:]))
    n_inputs = _n_inputs(stage, k, shapes)
    return (None if n_inputs is None else (n_inputs,), *((n,) if (n := layer.size) else None for layer in stage.layers))


def _n_inputs(stage: AnalogStage, k: int, shapes: Shapes) -> int | None:
    """Return how many inputs the k-th energy block has; only a checkpoint tells those of an input crossbar."""
    first = stage.layers[0].size
    if stage.drive is Drive.CURRENT or first is None:
        return first
    crossbar = shapes.get(f"model/energy.{k}.g_plus.w1")
    if crossbar is not None:
        return crossbar[0]
    dense = (s for name, s in shapes.items() if name.startswith(f"model/energy.{k}.") and len(s) == 2)  # tanh layers
    return next((shape[1] for shape in dense if shape[0] == first), None)
