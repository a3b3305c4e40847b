"""The command `tellegen`: each subcommand is a thin skin over one public function.

Exit status: 0 ok, 1 a check failed, 2 bad input, a missing simulator or an equilibrium that is not found (one
message on stderr), 130 interrupted. Nothing heavy is imported before a subcommand runs, so that `tellegen --help`
answers at once.
"""

from .root import main

__all__ = ["main"]
