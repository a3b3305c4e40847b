"""Which nodes ideal voltage sources and amplifiers tie together, found by walking from node to node."""

from typing import Final, final

from .circuit import GROUND, Circuit
from .errors import CircuitError

NONE: Final = -1  # index of "no unknown": the node is at ground or at a known voltage


@final
class Ties:
    """The ties of a circuit.

    A walk begins at ground, then at each node that is set by nothing else. Sources tie both ways, amplifiers forward.

    Args:
        circuit: any circuit.

    Attributes:
        root: the node whose voltage each tied node follows; GROUND where the voltage is known.
        gain: of each tied node, volts per volt of its root.
        paths: of each tied node, what is added for each volt of a voltage source.

    Raises:
        CircuitError: if voltage sources and amplifiers set a node twice, or in a loop.
    """

    def __init__(self, circuit: Circuit) -> None:
        self._circuit = circuit
        self._neighbours: dict[int, list[tuple[int, int, float]]] = {}
        self._outputs: dict[int, list[tuple[int, int, float]]] = {}
        self._used: set[int] = set()
        self.root: dict[int, int] = {}
        self.gain: dict[int, float] = {}
        self.paths: dict[int, dict[int, float]] = {}
        v, amplifiers = circuit.voltage_sources, circuit.amplifiers
        for k, (plus, minus) in enumerate(zip(v.plus.tolist(), v.minus.tolist(), strict=True)):
            self._neighbours.setdefault(minus, []).append((plus, k, 1.0))
            self._neighbours.setdefault(plus, []).append((minus, k, -1.0))
        columns = zip(amplifiers.start.tolist(), amplifiers.end.tolist(), amplifiers.gain.tolist(), strict=True)
        for k, (start, end, gain) in enumerate(columns):
            self._outputs.setdefault(start, []).append((end, k, gain))
        driven = self._driven()
        # Ground first: everything tied to it is known.
        seeds = sorted({*self._neighbours, *self._outputs, *([GROUND] if len(amplifiers) else [])})
        for seed in seeds:
            if seed not in self.root and seed not in driven:
                self._walk(seed)
        for k, end in enumerate(amplifiers.end.tolist()):
            if end not in self.root:
                raise CircuitError(
                    f"circuit '{circuit.name}': amplifier '{amplifiers.names[k]}' drives its own input, by amplifiers "
                    f"and voltage sources at node '{circuit.labels[end]}'; break the loop"
                )

    def _driven(self) -> set[int]:
        """Return the nodes that amplifiers set, directly or through voltage sources."""
        driven: set[int] = set()
        queue = self._circuit.amplifiers.end.tolist()
        while queue:
            node = queue.pop()
            if node not in driven:
                driven.add(node)
                queue += [other for other, _, _ in self._neighbours.get(node, ())]
        return driven - {GROUND}

    def _walk(self, seed: int) -> None:
        """Tie everything that a node sets to it."""
        circuit = self._circuit
        self.root[seed], self.gain[seed], self.paths[seed] = seed, 1.0, {}
        queue = [seed]
        while queue:
            node = queue.pop()
            for other, k, sign in self._neighbours.get(node, ()):
                if k in self._used:
                    continue
                self._used.add(k)
                if other in self.root:
                    raise CircuitError(
                        f"circuit '{circuit.name}': voltage source '{circuit.voltage_sources.names[k]}' closes a loop "
                        f"of voltage sources at node '{circuit.labels[other]}'; put a resistance in the loop or remove "
                        "a source"
                    )
                self._tie(other, node, 1.0, {**self.paths[node], k: sign})
                queue.append(other)
            for end, k, gain in self._outputs.get(node, ()):
                if end in self.root:
                    raise CircuitError(
                        f"circuit '{circuit.name}': amplifier '{circuit.amplifiers.names[k]}' sets node "
                        f"'{circuit.labels[end]}', which another amplifier or a voltage source sets already; give it "
                        "a node of its own"
                    )
                self._tie(end, node, gain, {source: gain * share for source, share in self.paths[node].items()})
                queue.append(end)

    def _tie(self, node: int, to: int, gain: float, path: dict[int, float]) -> None:
        self.root[node], self.gain[node], self.paths[node] = self.root[to], gain * self.gain[to], path
