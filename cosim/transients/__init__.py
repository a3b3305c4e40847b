"""Circuits in time: waveforms after a step of the drives, the linearised response, and how long settling takes."""
