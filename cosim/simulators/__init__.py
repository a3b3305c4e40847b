"""Simulators: base says what one is, newton and ngspice are two."""
