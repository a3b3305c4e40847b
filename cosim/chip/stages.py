"""The chain of a network as a chip has it: before each energy block a digital processor, one more for the readout.

Takes: a network and images. Gives: of every link its block, what enters it, and the digital work before it.
"""

from dataclasses import dataclass, replace
from typing import final

from torch import Tensor, nn

from digital.hopfield import HopfieldBlock

from ..analog_block import AnalogBlock
from .digital_work import MOST_SAMPLES, StageWork, count_stage
from .equilibria import Crossings, watch
from .source import Source


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Link:
    """One energy block with the digital stage before it.

    Args:
        name: of the block.
        energy: an `AnalogBlock`, or a module that a digital processor computes.
        x: [n, ...] what enters the block.
        ds: [n, ...] dL/ds of each sample; None where nothing up to here is trained.
        want_x: whether dL/dx is needed, as stages before the block are trained.
        feedforward: work of the stage before it.
        digital_energy: work of the block itself, where it is computed; nothing of a circuit.
        stage_parameters, energy_parameters: trained numbers of the stage, and of a block that is computed.
    """

    name: str
    energy: nn.Module
    x: Tensor
    ds: Tensor | None
    want_x: bool
    feedforward: StageWork
    digital_energy: StageWork
    stage_parameters: int
    energy_parameters: int

    @property
    def is_analog(self) -> bool:
        """Whether a circuit relaxes the block."""
        return isinstance(self.energy, AnalogBlock)


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Chain:
    """A network's links, and its readout with the loss.

    Args:
        links: in order.
        readout: work of the readout and the loss; None where the network's own code is not known.
        readout_parameters: trained numbers of it.
        image_values: numbers that an image has.
    """

    links: tuple[Link, ...]
    readout: StageWork | None
    readout_parameters: int
    image_values: int


def describe_stages(source: Source) -> Chain:
    """Return the chain of a network, its digital work counted on images.

    Args:
        source: the network with its images.
    """
    network = source.network
    modules = [*network.feedforward, *network.energy, network.readout]
    seen = watch(network, modules, source.x, source.y, source.loss)
    classes = source.y.repeat(MOST_SAMPLES)
    links, want_gradient = [], False
    for number, (feedforward, energy) in enumerate(network.links, start=1):
        before = want_gradient
        want_x = before or _trained(feedforward) > 0
        want_gradient = want_x or _trained(energy) > 0
        links.append(
            Link(
                name=_name(energy, number),
                energy=energy,
                x=seen.inputs[energy],
                ds=seen.gradients.get(energy),
                want_x=want_x,
                feedforward=count_stage(feedforward, seen.inputs[feedforward], want_x=before),
                digital_energy=_energy_work(energy, seen, want_x=want_x),
                stage_parameters=_trained(feedforward),
                energy_parameters=0 if isinstance(energy, AnalogBlock) else _trained(energy),
            )
        )
    return Chain(
        links=tuple(links),
        readout=count_stage(
            network.readout,
            seen.inputs[network.readout],
            want_x=want_gradient,
            loss=lambda logits: source.loss(logits, classes[: len(logits)]),
        ),
        readout_parameters=_trained(network.readout),
        image_values=source.x[0].numel(),
    )


def _trained(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def _name(energy: nn.Module, number: int) -> str:
    if isinstance(energy, AnalogBlock):
        return energy.block.name
    return energy.config.name if isinstance(energy, HopfieldBlock) else f"block{number}"


def _energy_work(energy: nn.Module, seen: Crossings, *, want_x: bool) -> StageWork:
    """Return the work of an energy block that a digital processor computes.

    The steps of a Hopfield block are those that its free phase took for these images; its weights and states stay in
    the processor meanwhile, so that what is moved is that of one step a phase.
    """
    if isinstance(energy, AnalogBlock):
        return StageWork()
    x = seen.inputs[energy]
    if not isinstance(energy, HopfieldBlock):
        return count_stage(energy, x, want_x=want_x)
    steps = energy.relax(x).steps
    phases = replace(energy.phases, free_steps=steps, tolerance=None)
    whole = count_stage(energy.configured(phases), x, want_x=want_x)
    once = count_stage(energy.configured(replace(phases, free_steps=1, nudged_steps=1)), x, want_x=want_x)
    return StageWork(
        inference=replace(whole.inference, values=once.inference.values),
        training=replace(whole.training, values=once.training.values),
    )
