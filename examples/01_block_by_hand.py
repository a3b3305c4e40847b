"""A circuit by hand in two simulators, then the smallest energy block.

    in --[1 kohm]--+-- out --[1 kohm]-- ground      E = sum of 1/2 G+ (s - x)^2 + 1/2 G- (s + x)^2
                   |
                   +-->|-- rail (1 V)               s = sum (G+ - G-) x / sum (G+ + G-)

Expected: 1 V in gives 0.500000 V, the diode is off; 5 V in gives 1.668280 V instead of 2.5 V, the diode conducts.
Both simulators say the same to 1e-8 V. The block's one unit settles at s = 0.425 / 1.4 = 0.303571.
"""

import numpy as np

from circuits import CircuitBuilder, DiodeModel, EnergyBlock, NodeLayer, build
from cosim.simulators.newton import NewtonSimulator
from cosim.simulators.ngspice import NgspiceSimulator
from netlists import lower


def solve_divider() -> None:
    """Solve the divider at two input voltages, as one batch, in both simulators."""
    circuit = (
        CircuitBuilder("clamped divider")
        .voltage_source("in", "in", "0", 0.0, driven=True)  # driven: each sample brings its own value
        .voltage_source("rail", "rail", "0", 1.0)
        .resistor("1", "in", "out", 1e-3)
        .resistor("2", "out", "0", 1e-3)
        .diode("clamp", "out", "rail", DiodeModel(saturation_current_a=1e-14))
        .build()
    )
    netlist, nodes = lower(circuit)
    drives = np.array([[1.0], [5.0]])  # [batch, n_drives] V
    print("simulator   out at 1 V    out at 5 V   Kirchhoff residual")
    for simulator in (NewtonSimulator(), NgspiceSimulator()):
        point = simulator.prepare(netlist).solve(circuit.resistors.conductance_s, drives)
        at_1_v, at_5_v = point.voltage_v[:, nodes.node("out")]
        # The net current at the worst node, by our own element laws, whoever solved the circuit.
        print(f"{simulator.name:<9} {at_1_v:10.6f} V {at_5_v:11.6f} V {point.residual_a.max():18.1e} A")


def solve_block() -> None:
    """Set two differential weights, four devices each, put two voltages on the rows, and read the unit."""
    block = build(EnergyBlock(name="one unit", n_inputs=2, layers=(NodeLayer(size=1),)))
    g_plus = {"w1": np.array([[0.8], [0.1]])}  # [n_rows, n_columns] in units of g_unit; w = G+ - G- = 0.7, -0.3
    g_minus = {"w1": np.array([[0.1], [0.4]])}
    drives = block.drives(np.array([[0.5, -0.25]]))  # x, dimensionless
    netlist, _ = lower(block.circuit)
    point = NewtonSimulator().prepare(netlist).solve(block.program(g_plus, g_minus), drives)
    s = block.outputs(point.voltage_v)[0, 0]
    print(f"block     {len(block.circuit.resistors)} devices, s = {s:.6f}, by hand {0.425 / 1.4:.6f}")


def main() -> None:
    """Run both."""
    solve_divider()
    solve_block()


if __name__ == "__main__":
    main()
