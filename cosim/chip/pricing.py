"""Price a network: parts, activity, time and energy of the chip, and of the same network all-digital.

Takes: a run folder or a bundle. Gives: a `ChipReport`. One tile an energy block: its crossbars, the digital stage
before it, a buffer; the readout has a processor of its own.
"""

from pathlib import Path
from typing import Final

from rich.console import Console

from circuits.block_circuit import BlockCircuit
from circuits.energy_block import Drive

from ..analog_block import AnalogBlock
from ..compilation.bundle import Bundle
from ..phase_settings import ParameterRead
from ..progress import counting_bar
from ..threads import one_thread
from ..training.checkpoints import Which
from .activity import BlockActivity, inference_activity, training_activity
from .all_digital import gradient_work, relaxed_twin, tanh_twin
from .bundled import bundled_chain
from .conversion import BlockConverters, block_converters
from .digital_work import StageWork
from .equilibria import BlockStates, block_states
from .inventory import count_parts
from .parts import EnergyParts
from .prices import CircuitPrice, Energies, ProcessorPrice, TilePrice
from .processor import Load, price_processor
from .report import ChipReport
from .settings import ChipSettings
from .settled_energy import PhaseCosts, phase_costs
from .source import Training, open_source
from .stages import Link, describe_stages
from .sweeps import SweepCount
from .tolerances import free_tolerance_v, nudged_tolerance_v

READOUT: Final = "readout"
LOCAL_NOTE: Final = (
    'phases.parameter_read = "local": circuits at the devices form the conductance gradients; they are not priced, and '
    "what they see settles to half a step of an ADC with the bits of the phase ADC"
)


@one_thread()
def price_chip(
    target: Path,
    *,
    settings: ChipSettings | None = None,
    data: Path | None = None,
    which: Which = Which.LAST,
    console: Console | None = None,
) -> ChipReport:
    """Price the chip of a run's or a bundle's network.

    Args:
        target: the run folder or bundle.
        settings: of the chip; defaults if left out.
        data: where the images are, if not where they were.
        which: the checkpoint of a run.
        console: shows a progress bar where it is a terminal.

    Returns:
        the report.

    Raises:
        RunError, BundleError, ConfigError, DataError: if the folder or its images cannot be used.
        ChipError: if a tile is too small for a weight, or a state is not found.
        SimulatorNotFound: if ngspice, whose `.tran` settles the blocks, is not installed.
        SimulationError: if a block has no equilibrium or does not settle, naming it.
    """
    settings = settings or ChipSettings()
    source = open_source(target, samples=settings.samples, data=data, which=which)
    training: Training | None = None
    if isinstance(source, Bundle):
        chain, notes = bundled_chain(source, settings.samples)
    else:
        chain, notes, training = describe_stages(source), source.notes, source.training
    tiles = []
    with counting_bar(console) as progress:
        task = progress.add_task("blocks", total=len(chain.links))
        for link in chain.links:
            tiles.append(_price_link(link, settings, training))
            progress.advance(task)
    if chain.readout is not None:
        load = Load(work=chain.readout, parameters=chain.readout_parameters)
        processor, energies = price_processor(load, settings, training)
        tiles.append(
            TilePrice(
                name=READOUT,
                circuit=None,
                processor=processor,
                energies=energies,
                tanh=energies,
                relaxed=energies,
                shared=energies,
            )
        )
    analog = [link.energy for link in chain.links if isinstance(link.energy, AnalogBlock)]
    if training is not None and any(block.settings.parameter_read is ParameterRead.LOCAL for block in analog):
        notes = (*notes, LOCAL_NOTE)
    return ChipReport(
        target=target,
        settings=settings,
        tiles=tuple(tiles),
        io_j=chain.image_values * (settings.constants["dram"] + 2.0 * settings.constants["sram_1mb"]),
        batch_size=None if training is None else training.batch_size,
        notes=notes,
    )


def _price_link(link: Link, settings: ChipSettings, training: Training | None) -> TilePrice:
    """Return the price of one tile: a digital stage and its energy block, each with a bank of the buffer."""
    stage = Load(work=link.feedforward, parameters=link.stage_parameters)
    processor, shared = price_processor(stage, settings, training)
    if isinstance(link.energy, AnalogBlock):
        return _price_analog(link, link.energy, processor, shared, settings, training)
    computed = Load(work=link.digital_energy, parameters=link.energy_parameters)
    own, energies = price_processor(computed, settings, training)
    whole = shared + energies
    return TilePrice(
        name=link.name,
        circuit=None,
        processor=processor + own,
        energies=whole,
        tanh=whole,
        relaxed=whole,
        shared=shared,
    )


def _price_analog(
    link: Link,
    block: AnalogBlock,
    stage: ProcessorPrice,
    shared: Energies,
    settings: ChipSettings,
    training: Training | None,
) -> TilePrice:
    """Return the price of a tile with a circuit, and of the same tile all-digital; stage and shared are the stage's."""
    trained = sum(p.numel() for p in block.parameters() if p.requires_grad)
    states = block_states(block, link.x, link.ds)
    banks = block_converters(
        block.circuit,
        block.converters,
        block.settings,
        want_x=link.want_x,
        sharing=settings.sharing,
        bits=settings.bits,
        channels_per_converter=settings.channels_per_converter,
    )
    inventory = count_parts(block.circuit, states.conductance_s, settings.tile, banks)
    infer = inference_activity(banks)
    train, work = None, StageWork()
    if training is not None:
        train = training_activity(
            block.circuit,
            banks,
            block.settings,
            want_x=link.want_x,
            want_conductances=trained > 0,
            n_devices=inventory.devices,
            batch_size=training.batch_size,
        )
        if trained and block.settings.parameter_read is ParameterRead.DIGITAL:
            work = StageWork(training=gradient_work(block, want_x_products=False))
    costs = phase_costs(block, states, banks, settings.constants, train)
    load = Load(
        work=work,
        parameters=trained,
        inference_codes=infer.code_bytes,
        training_codes=0.0 if train is None else train.code_bytes,
    )
    own, digital = price_processor(load, settings, training)
    tanh_energies, relaxed_energies, sweeps = _price_twins(link, block, states, banks, settings, training)
    return TilePrice(
        name=link.name,
        circuit=CircuitPrice(
            sizes=_sizes(block.circuit),
            inventory=inventory,
            converters=banks,
            inference=infer,
            training=train,
            phases=(costs.inference, *costs.training[1:]),
            training_phases=costs.training,
            balance_error=states.balance_error,
            sweeps=sweeps,
        ),
        processor=stage + own,
        energies=shared + _with_circuit(digital, costs, infer, train, settings),
        tanh=shared + tanh_energies,
        relaxed=shared + relaxed_energies,
        shared=shared,
    )


def _price_twins(
    link: Link,
    block: AnalogBlock,
    states: BlockStates,
    banks: BlockConverters,
    settings: ChipSettings,
    training: Training | None,
) -> tuple[Energies, Energies, SweepCount]:
    """Return the energy of tanh layers in a block's place, and of its relaxation computed, with its sweeps."""
    relaxed, sweeps = relaxed_twin(
        block,
        states,
        want_x=link.want_x,
        free_tolerance_v=free_tolerance_v(block, states, banks),
        nudged_tolerance_v=nudged_tolerance_v(block, states, banks),
    )
    tanh = tanh_twin(block, link.x, want_x=link.want_x)
    loads = (Load(work=twin.work, parameters=twin.parameters) for twin in (tanh, relaxed))
    first, second = (price_processor(load, settings, training)[1] for load in loads)
    return first, second, sweeps


def _with_circuit(
    digital: Energies,
    costs: PhaseCosts,
    infer: BlockActivity,
    train: BlockActivity | None,
    settings: ChipSettings,
) -> Energies:
    """Return the energy of a processor with that of its circuit and converters."""
    constants = settings.constants

    def analog(activity: BlockActivity, relaxation_j: float) -> EnergyParts:
        return EnergyParts(
            relaxation=relaxation_j,
            adc=activity.energy_j("ADC", constants),
            dac=activity.energy_j("DAC", constants),
            writes=activity.device_writes * constants["device_write"],
        )

    training = None
    if digital.training is not None and train is not None:
        training = digital.training + analog(train, sum(phase.energy_j for phase in costs.training))
    return Energies(inference=digital.inference + analog(infer, costs.inference.energy_j), training=training)


def _sizes(built: BlockCircuit) -> str:
    """Return the sizes of a block, input first where it has rows of its own: "64-32-24"."""
    sizes = [layer.size for layer in built.block.layers]
    return "-".join(map(str, [built.block.n_inputs, *sizes] if built.block.drive is Drive.VOLTAGE else sizes))
