"""Running circuits: simulators, converters, equilibrium propagation, training and the command line."""
