"""Training a network from a configuration file: configuration, training loop, checkpoints, run folder."""
