"""Does one network learn as well in any cut, by EP as by exact gradients? The splitting study, three seeds.

Asked: every training at 0.30 or more on the images held out, EP minus ID within two standard errors in each cut, for
Hopfield blocks and for resistive ones in newton and in ngspice; 60 minutes for the whole on two cores, where nothing
else runs. Exit status 1 otherwise. Interrupted, it goes on; the time is then that of the trainings, shared out among
the cores.

Run: TELLEGEN_CIFAR10=PATH python benchmarks/long/splitting_study.py [FOLDER]    (runs/splitting without one)
"""

import os
import sys
from pathlib import Path

from cosim.studies.splitting import splitting_study
from cosim.studies.splitting_results import Splitting
from digital.errors import DataError

LEAST = 0.30  # test accuracy of any training
LONGEST_S = 60 * 60.0


def find_misses(splitting: Splitting, cores: int) -> list[str]:
    """Return a line for each limit that is missed."""
    lines = [
        f"{split.variant.title}: test accuracy {min(split.row.accuracies):.4f}, at least {LEAST:g} asked"
        for split in splitting.rows
        if min(split.row.accuracies) < LEAST
    ]
    for split in splitting.rows:
        difference = splitting.minus_id(split)
        if difference is not None and not difference.is_within:
            lines.append(
                f"{split.variant.title}: {difference.value:+.4f} from ID, more than two standard errors of "
                f"{difference.standard_error:.4f}"
            )
    wall_s = splitting.trained_s / cores
    if wall_s > LONGEST_S:
        lines.append(f"{wall_s / 60:.0f} minutes on {cores} cores, at most {LONGEST_S / 60:.0f} asked")
    return lines


def main() -> None:
    """Run or read the study, print its table, and end with 1 if a limit is missed."""
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("runs/splitting")
    cores = os.cpu_count() or 1
    try:
        splitting = splitting_study(out, command=f"python benchmarks/long/splitting_study.py {out}")
    except DataError as error:
        sys.exit(f"splitting study: {error}")
    print(splitting.markdown())
    print("\n".join(splitting.verdicts()))
    print(f"{splitting.trained_s / cores / 60:.1f} minutes of training on {cores} cores")
    misses = find_misses(splitting, cores)
    if misses:
        sys.exit("\n".join(f"splitting study: MISSED: {line}" for line in misses))


if __name__ == "__main__":
    main()
