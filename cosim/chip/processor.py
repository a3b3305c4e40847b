"""A digital processor and its buffer: what they hold, move and use for some work."""

from dataclasses import dataclass
from typing import final

from .digital_cost import Arithmetic, buffer_j_per_byte, update_of, update_work, work_energy_j
from .digital_work import DigitalWork, StageWork
from .parts import EnergyParts
from .prices import Energies, ProcessorPrice
from .settings import ChipSettings
from .source import Training


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """What a processor has to do.

    Args:
        work: of one sample, without updates of parameters.
        parameters: that an optimiser trains, conductances included.
        inference_codes, training_codes: bytes of converters' codes.
    """

    work: StageWork
    parameters: int
    inference_codes: float = 0.0
    training_codes: float = 0.0


def price_processor(load: Load, settings: ChipSettings, training: Training | None) -> tuple[ProcessorPrice, Energies]:
    """Return a processor and the energy of its arithmetic and buffer.

    A buffer holds what an inference moves and, where it trains, what the optimiser keeps of each parameter.

    Args:
        load: what it has to do.
        settings: arithmetic and constants.
        training: batch size and optimiser; None where training is not priced.
    """
    inference = load.work.inference
    held = inference.values * settings.arithmetic.value_bytes + load.inference_codes
    parts, moved = _parts(inference, load.inference_codes, held, settings.arithmetic, settings)
    trained_parts, trained_moved, trained_held, work = None, 0.0, 0.0, StageWork(inference=inference)
    if training is not None:
        update = update_work(training.optimizer, load.parameters, training.batch_size)
        work = StageWork(inference=inference, training=load.work.training + update)
        values = inference.values + load.parameters * update_of(training.optimizer).copies
        trained_held = values * settings.training_arithmetic.value_bytes + load.training_codes
        trained_parts, trained_moved = _parts(
            work.training, load.training_codes, trained_held, settings.training_arithmetic, settings
        )
    price = ProcessorPrice(
        work=work,
        parameters=load.parameters,
        inference_bytes=held,
        training_bytes=trained_held,
        moved_bytes=(moved, trained_moved),
    )
    return price, Energies(inference=parts, training=trained_parts)


def _parts(
    work: DigitalWork, code_bytes: float, held_bytes: float, arithmetic: Arithmetic, settings: ChipSettings
) -> tuple[EnergyParts, float]:
    """Return the energy of some work and its bytes, with the bytes."""
    moved = work.values * arithmetic.value_bytes + code_bytes
    parts = EnergyParts(
        digital=work_energy_j(work, arithmetic, settings.constants),
        buffers=moved * buffer_j_per_byte(held_bytes, settings.constants),
    )
    return parts, moved
