"""The resistors of a circuit that are not linear: what they carry beyond Ohm's law, device by device.

I = g (V + k3 V^3): the linear part is in every conductance matrix, so only the excess g k3 V^3 and its slope are here.
Arrays of one entry per device and sample are made a part of the batch at a time.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import final

import numpy as np
from scipy import sparse

from .arrays import Floats, Indices
from .circuit import Circuit
from .topology import incidence_matrix

DEVICE_BYTES = 1 << 24  # memory of one value per device and sample; sets how many samples are treated at a time


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CubicBranches:
    """The cubic resistors of a circuit.

    Args:
        device: [n] resistor index.
        incidence: [n, n_nodes] A; A v is the voltage across each.
        k3_per_v2: [n] 1/V^2.
    """

    device: Indices
    incidence: sparse.csr_array
    k3_per_v2: Floats

    def coefficient(self, conductance_s: Floats) -> Floats:
        """Return g k3, [n, 1] A/V^3, from the conductances of all resistors."""
        return np.asarray((conductance_s[self.device] * self.k3_per_v2)[:, np.newaxis])

    def leaving(self, conductance_s: Floats, voltage_v: Floats) -> Floats:
        """Return the excess current that leaves each node, [batch, n_nodes] A.

        Equation: A^T (g k3 V^3), V = A v.
        """
        coefficient = self.coefficient(conductance_s)
        return self._summed(voltage_v, lambda v: coefficient * (v * v * v), self.incidence.T.tocsr())

    def slope(self, conductance_s: Floats, voltage_v: Floats) -> Floats:
        """Return the sum of 3 g k3 V^2 over the cubic devices at each node, [batch, n_nodes] S."""
        coefficient = 3.0 * self.coefficient(conductance_s)
        return self._summed(voltage_v, lambda v: coefficient * (v * v), abs(self.incidence).T.tocsr())

    def leaving_response(
        self, conductance_s: Floats, mean_v: Floats, response_v: Floats, change_v: Floats | None
    ) -> Floats:
        """Return the difference of the excess currents of two phases over beta2 - beta1, [batch, n_nodes] A.

        Equation: A^T g k3 R (3 M^2 + D^2 / 4), since V2^3 - V1^3 = D (3 M^2 + D^2 / 4).

        Args:
            conductance_s: [n_resistors] S.
            mean_v: [batch, n_nodes] V — mean m of the phases.
            response_v: [batch, n_nodes] V — their difference d over beta2 - beta1, r.
            change_v: [batch, n_nodes] V — d itself; None: infinitely small, which is implicit differentiation.
        """
        coefficient, back = self.coefficient(conductance_s), self.incidence.T.tocsr()
        found = np.empty_like(response_v)
        for part in self._parts(len(mean_v)):
            m, r = self._across(mean_v[part]), self._across(response_v[part])
            square = 3.0 * m * m
            if change_v is not None:
                square += self._across(change_v[part]) ** 2 / 4.0
            found[part] = (back @ (coefficient * r * square)).T
        return found

    def restricted_to(self, nodes: Indices) -> "CubicBranches":
        """Return those devices that touch one of some nodes."""
        touches = np.flatnonzero(np.asarray(abs(self.incidence)[:, nodes].sum(axis=1)))
        return CubicBranches(
            device=self.device[touches], incidence=self.incidence[touches], k3_per_v2=self.k3_per_v2[touches]
        )

    def _across(self, voltage_v: Floats) -> Floats:
        """Return the voltage across each device, [n, batch]."""
        return np.asarray(self.incidence @ voltage_v.T)

    def _parts(self, batch: int) -> Iterator[slice]:
        size = max(1, DEVICE_BYTES // (8 * max(1, len(self.device))))
        return (slice(k, k + size) for k in range(0, batch, size))

    def _summed(self, voltage_v: Floats, law: Callable[[Floats], Floats], back: sparse.csr_array) -> Floats:
        """Return at each node the sum of what a law gives for the devices' voltages, [batch, n_nodes]."""
        found = np.empty_like(voltage_v)
        for part in self._parts(len(voltage_v)):
            found[part] = (back @ law(self._across(voltage_v[part]))).T
        return found


def cubic_branches(circuit: Circuit) -> CubicBranches | None:
    """Return the cubic resistors of a circuit; None where all are linear."""
    r, device = circuit.resistors, circuit.resistors.cubic
    if not len(device):
        return None
    return CubicBranches(
        device=device,
        incidence=incidence_matrix(circuit, r.a[device], r.b[device]),
        k3_per_v2=r.k3_per_v2[device],
    )
