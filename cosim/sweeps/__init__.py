"""Sweeps: one network, many configurations, on all cores; recorded point by point, then drawn."""
