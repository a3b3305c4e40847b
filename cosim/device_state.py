"""What the devices of a block hold: written when other conductances are asked for, read when the circuit relaxes.

Takes: the conductances that the weights ask for. Gives: those that the circuit has. Must not know: torch, phases.
Every draw of a write or a read has a number of its own, which the state counts: a run that is resumed goes on with the
same numbers, and an evaluation, which counts by itself, gives the same each time.
"""

from typing import final

import numpy as np

from circuits.arrays import Floats
from circuits.block_circuit import BlockCircuit
from circuits.crossbar_devices import CrossbarDevices, ReadDraw, Write
from circuits.devices.device_array import DeviceArray
from circuits.devices.pipeline import at_temperature, drifted, program, pulsed, read
from circuits.devices.program_and_verify import VerifyBy, VerifyReport, program_and_verify
from circuits.devices.pulse_counts import pulses_for
from circuits.fabrication import DEVICES, READS, WRITES, crossbar_devices, keyed_generator

from .errors import BlockError

OPEN_S = 1e-12  # of a device that is open: a circuit takes no conductance of zero
EDGE = 1e-6  # by which conductances in units of a float32 may miss a window
N_WRITES, N_READS = 0, 1  # of `counts`
DEVICE_BUFFERS = ("held_s", "asked_s", "counts")  # what a checkpoint holds of a state


def is_device_state(name: str) -> bool:
    """Return whether a tensor of a network's state is of devices."""
    return any(name.rpartition(".")[2] == f"devices_{buffer}" for buffer in DEVICE_BUFFERS)


@final
class DeviceState:
    """The devices of one block and what they hold.

    Args:
        circuit: the block as made.
        use: its devices.

    Raises:
        BlockError: if the block asks for conductances that its devices do not have.
    """

    def __init__(self, circuit: BlockCircuit, use: CrossbarDevices) -> None:
        block, device = circuit.block, use.device
        if block.g_min_s < device.g_min_s * (1 - EDGE) or block.g_max_s > device.g_max_s * (1 + EDGE):
            raise BlockError(
                f"block '{block.name}': its window of {block.g_min_s:g} to {block.g_max_s:g} S is not within that of "
                f"device '{device.name}', {device.g_min_s:g} to {device.g_max_s:g} S; move the block into it "
                "(AnalogBlock.from_digital, or [circuit] of a run), or give the device another window"
            )
        self.use = use
        self.places = crossbar_devices(circuit)
        n = len(self.places)
        generator = keyed_generator(use.seed, block.name, DEVICES)
        self.devices = DeviceArray.draw(use.written_device, (n,), generator)
        self.held_s, self.asked_s = np.zeros(n), np.zeros(n)
        self.counts = np.zeros(2, dtype=np.int64)
        self.verified: VerifyReport | None = None  # of the last write, if it was verified
        self._block_name, self._temperature_k = block.name, circuit.circuit.temperature_k
        self._evaluation_reads = 0

    def begin_evaluation(self) -> None:
        """Count the reads of evaluations from the start."""
        self._evaluation_reads = 0

    def write(self, asked_s: Floats) -> bool:
        """Write what is asked for, [n_resistors] S, if it is not what was asked for last.

        Returns:
            whether it was written.
        """
        wanted_s = self._wanted(asked_s)
        if self.counts[N_WRITES] and np.array_equal(wanted_s, self.asked_s):
            return False
        generator = keyed_generator(self.use.seed, self._block_name, WRITES, int(self.counts[N_WRITES]))
        match self.use.write:
            case Write.PROGRAM_AND_VERIFY:
                start_s = self.held_s if self.counts[N_WRITES] and self._verifies_by_pulses else None
                self.held_s, self.verified = program_and_verify(
                    self.devices, wanted_s, generator, verify=self.use.verify, start_s=start_s
                )
            case Write.PULSES if self.counts[N_WRITES]:
                change_s = wanted_s - self.asked_s
                counts = pulses_for(change_s, self.use.device, generator, most_pulses=self.use.most_pulses)
                self.held_s = pulsed(self.devices, self.held_s, counts, generator)
            case _:
                self.held_s = program(self.devices, wanted_s, generator)
        self.asked_s = wanted_s
        self.counts[N_WRITES] += 1
        return True

    @property
    def weights_follow(self) -> bool:
        """Whether weights are what the devices hold: pulses leave no other account of them."""
        return self.use.write is Write.PULSES

    def asked(self, asked_s: Floats) -> None:
        """Take what weights ask for that have followed the devices, [n_resistors] S: nothing is to be written."""
        self.asked_s = self._wanted(asked_s)

    def _wanted(self, asked_s: Floats) -> Floats:
        return np.clip(asked_s[self.places], self.use.device.g_min_s, self.use.device.g_max_s)

    def held(self, asked_s: Floats) -> Floats:
        """Return conductances, [n_resistors] S, with what the devices hold in place of what is asked of them."""
        return self._placed(asked_s, self.held_s)

    def now(self, asked_s: Floats, *, learn: bool) -> Floats:
        """Return the conductances that the circuit has, [n_resistors] S: drifted, at its temperature, noise included.

        Args:
            asked_s: [n_resistors] S; what is no device of a crossbar stays.
            learn: whether a training goes on, in which reads are counted.
        """
        g_s = self.held_s if self.use.time_s is None else drifted(self.devices, self.held_s, self.use.time_s)
        g_s = at_temperature(self.devices, g_s, self._temperature_k)
        if self.devices.device.read_noise is not None:
            number = int(self.counts[N_READS]) if learn else self._evaluation_reads
            generator = keyed_generator(self.use.seed, self._block_name, READS, int(learn), number)
            g_s = read(self.devices, g_s, generator, time_s=self.use.time_s, written_s=self.held_s)
            if learn:
                self.counts[N_READS] += 1
            else:
                self._evaluation_reads += 1
        return self._placed(asked_s, g_s)

    @property
    def _verifies_by_pulses(self) -> bool:
        return self.use.verify is not None and self.use.verify.by is VerifyBy.PULSES

    @property
    def draws_each_phase(self) -> bool:
        """Whether every phase sees noise of its own."""
        return self.devices.device.read_noise is not None and self.use.read_draw is ReadDraw.EACH_PHASE

    def _placed(self, asked_s: Floats, g_s: Floats) -> Floats:
        placed_s = asked_s.copy()
        placed_s[self.places] = np.maximum(g_s, OPEN_S)
        return placed_s
