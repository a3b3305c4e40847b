"""The low-level ngspice simulator: deck text and arrays in, node voltages out; it knows no `Circuit`."""
