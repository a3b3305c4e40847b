"""Compiling a network to a bundle of netlists, proving that they are the network, and running it again."""
