"""Does training in ngspice reach what is promised? The CIFAR-10 study, three seeds: about 45 minutes on two cores.

Asked of examples/cifar10.toml: test accuracy of at least 0.52 with ideal and 0.50 with 8-bit converters, mean of three
seeds; no training in ngspice longer than 12 minutes; EP minus exact gradients within two standard errors. Exit status 1
otherwise. Interrupted, it goes on.

Run: TELLEGEN_CIFAR10=PATH python benchmarks/long/cifar10_study.py [FOLDER]      (runs/cifar10-study without one)
"""

import sys
from pathlib import Path

from cosim.studies.cifar10 import cifar10_study
from cosim.studies.comparison import Comparison
from digital.errors import DataError

LEAST = {"ngspice": 0.52, "ngspice-8bit": 0.50}  # mean test accuracy
LONGEST_S = 12 * 60.0  # of one training


def find_misses(comparison: Comparison) -> list[str]:
    """Return a line for each limit that is missed."""
    rows = {row.name: row for row in comparison.rows}
    lines = []
    for name, least in LEAST.items():
        row = rows[name]
        if row.mean < least:
            lines.append(f"{row.title}: mean test accuracy {row.mean:.4f}, at least {least:g} asked")
        if max(row.wall_s) > LONGEST_S:
            lines.append(f"{row.title}: {max(row.wall_s):.0f} s for one training, at most {LONGEST_S:.0f} s asked")
    for name in ("newton", *LEAST):
        difference = comparison.difference(rows[name])
        if difference is not None and not difference.is_within:
            lines.append(
                f"{rows[name].title}: {difference.value:+.4f} from exact gradients, more than two standard errors of "
                f"{difference.standard_error:.4f}"
            )
    return lines


def main() -> None:
    """Run or read the study, print its table, and end with 1 if a limit is missed."""
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("runs/cifar10-study")
    try:
        comparison = cifar10_study(out, command=f"python benchmarks/long/cifar10_study.py {out}")
    except DataError as error:
        sys.exit(f"cifar10 study: {error}")
    print(comparison.markdown())
    misses = find_misses(comparison)
    if misses:
        sys.exit("\n".join(f"cifar10 study: MISSED: {line}" for line in misses))


if __name__ == "__main__":
    main()
