"""The feedforward stages: ordinary torch modules that know of no circuit."""
