"""An energy block as its deck has it: a torch module that relaxes the circuit that was read, device by device.

It has no weights to train: devices of a deck need not come in fours any more. Bundles are run, not trained.
"""

import torch
from torch import Tensor, nn

from circuits.block_circuit import BlockCircuit
from circuits.convolution import format_shape

from ..converters import Converters, ConverterState
from ..errors import BlockError
from ..phase_settings import PhaseSettings
from ..phases import Phases
from ..reading import Counters
from ..relaxation import Relaxation, RelaxationOptions
from ..simulators.base import AbstractSimulator


class CompiledBlock(nn.Module):
    """The free phase of a circuit: DAC, equilibrium, ADC.

    Args:
        circuit: the block's maps, and its circuit with the values of the deck.
        simulator: where it is relaxed.
        converters: DAC of the input and ADC of the outputs; those that are ranged from data have the buffer
            `converter_ranges`.
        relaxation: how far the circuit is reduced, and the deck's tolerances.
    """

    def __init__(
        self,
        circuit: BlockCircuit,
        *,
        simulator: AbstractSimulator,
        converters: Converters,
        relaxation: RelaxationOptions,
    ) -> None:
        super().__init__()
        self.circuit = circuit
        state = ConverterState()
        self.register_buffer("converter_ranges", torch.from_numpy(state.values))
        self._phases = Phases(
            circuit,
            Relaxation(circuit.circuit, circuit.image, simulator, relaxation),
            PhaseSettings(),
            converters,
            state,
            relaxation.solver,
        )

    def train(self, mode: bool = True) -> "CompiledBlock":
        """Set training or evaluation; the converters' noise of an evaluation begins anew, so each gives the same."""
        self._phases.state.begin_evaluation()
        return super().train(mode)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Return the states of the output layers at the free equilibrium; no gradient comes back.

        Args:
            x: [batch, n_inputs] dimensionless, or [batch, channels, height, width] of an image.

        Returns:
            [batch, n_outputs] dimensionless, or [batch, channels, height, width] where the layer read is an image.

        Raises:
            BlockError: for an input that is no tensor of numbers.
            CircuitError: for a wrong shape, NaN or infinity.
            ConvergenceError: if a sample has no acceptable equilibrium.
        """
        if not x.is_floating_point():
            raise BlockError(f"block '{self.circuit.block.name}': input of type {x.dtype}; give float32 or float64")
        self._phases.state.values[:] = self.get_buffer("converter_ranges").double().cpu().numpy()
        conductance_s = self.circuit.circuit.resistors.conductance_s
        free = self._phases.free(conductance_s, x.detach().flatten(1).double().cpu().numpy(), learn=False)
        outputs = torch.as_tensor(free.outputs, dtype=x.dtype, device=x.device)
        return outputs.reshape(len(x), *self.circuit.block.output_shape)

    @property
    def counters(self) -> Counters:
        """Relaxations, iterations and conversions since the block was made."""
        return self._phases.counters

    def extra_repr(self) -> str:
        """Name and shapes."""
        block = self.circuit.block
        shapes = (block.input_shape, *(layer.shape for layer in block.layers))
        return f"'{block.name}', {'-'.join(map(format_shape, shapes))}, {block.drive.value}-driven, from a deck"
