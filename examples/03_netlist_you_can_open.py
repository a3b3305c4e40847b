"""Lower a block to a netlist you can open, run it in plain ngspice, and hand it to PySpice.

    EnergyBlock --build--> Circuit --lower--> Netlist --format_standalone--> deck.cir --ngspice -b--> voltages
                              |                  |
                              |                  +--prepare--> newton --solve--> voltages
                              +--to_pyspice--> PySpice circuit

Expected: deck (34 resistors, 8 diodes) and PySpice circuit give newton's node voltages to 1e-8 V; the output is
-0.027044. The deck stays: `ngspice -b runs/netlist/deck.cir` prints the same voltages.
"""

import sys
from pathlib import Path

import numpy as np

from circuits import Clamp, EnergyBlock, NodeLayer, build
from cosim.simulators.newton import NewtonSimulator
from cosim.simulators.ngspice.program import run_program, solve_standalone
from netlists import format_standalone, lower
from netlists.pyspice_export import to_pyspice


def main() -> None:
    """Write, run and compare."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/netlist")
    hidden = NodeLayer(size=2, clamp=Clamp(low_v=-0.1, high_v=0.1))
    block = build(EnergyBlock(name="small block", n_inputs=3, layers=(hidden, NodeLayer(size=1, leak_s=5e-5))))
    generator = np.random.default_rng(0)
    low, high = block.block.window
    g_plus = {crossbar.name: generator.uniform(low, high, crossbar.shape) for crossbar in block.crossbars}
    g_minus = {crossbar.name: generator.uniform(low, high, crossbar.shape) for crossbar in block.crossbars}
    conductance_s = block.program(g_plus, g_minus)
    drives = block.drives(np.array([[0.9, -0.6, 0.3]]))

    # One circuit with these values in it; its netlist says how every node and device is spelt.
    circuit = block.circuit.with_conductances(conductance_s).with_drives(drives[0])
    netlist, nodes = lower(circuit)
    deck = format_standalone(netlist)
    run_program(deck, keep=folder)
    print(f"deck        {folder / 'deck.cir'}: {len(circuit.resistors)} resistors, {len(circuit.diodes)} diodes")
    shown = ("vx0p ", "rw1_0_0_pp ", "dclamp1_0p_u ")
    print("".join(f"            {line}\n" for line in deck.splitlines() if line.startswith(shown)), end="")

    newton = NewtonSimulator().prepare(netlist).solve(conductance_s, drives).voltage_v[0]
    plain, _ = solve_standalone(netlist)
    print(f"ngspice -b  differs from newton by at most {np.abs(plain - newton).max():.0e} V")

    pyspice = to_pyspice(circuit)
    vectors = run_program(f"{pyspice}\n.op\n.end\n")
    largest = max(abs(vectors[name][0] - newton[k]) for name, k in nodes.node_index.items() if k)
    print(f"PySpice     {type(pyspice).__name__} '{pyspice.title}' differs by at most {largest:.0e} V")
    print(f"layer 1     {np.round(block.states(plain[None])[0][0], 6)}  (clamped at +-0.1)")
    print(f"output      {block.outputs(plain[None])[0, 0]:.6f}")


if __name__ == "__main__":
    main()
