"""Does one network cut into blocks learn by EP what it learns by exact gradients? The splitting study, abridged.

Asked of one seed and 4 epochs of every cut, ngspice in the finest one only: at least 0.25 of the images held out, EP at
most 0.06 from ID (some two standard errors of the difference of two accuracies on 660 images), and no more than five
minutes on two cores. Exit status 1 otherwise. Three seeds, all epochs and all cuts: benchmarks/long/splitting_study.py.

Run: TELLEGEN_CIFAR10=PATH python benchmarks/splitting.py
"""

import os
import sys
import tempfile
from pathlib import Path

from cosim.studies.splitting import splitting_study
from cosim.studies.splitting_results import Splitting
from digital.errors import DataError

EPOCHS = 4
ONLY = ("hopfield-*", "resistive-*-id", "resistive-*-ep", "resistive-l6-bs2-ep-ngspice")
LEAST = 0.25  # test accuracy; chance is 0.10
FARTHEST = 0.06  # from ID
LONGEST_S = 5 * 60.0  # with two cores


def find_misses(splitting: Splitting) -> list[str]:
    """Return a line for each limit that is missed."""
    lines = []
    for split in splitting.rows:
        if split.row.mean < LEAST:
            lines.append(f"{split.variant.title}: test accuracy {split.row.mean:.4f}, at least {LEAST:g} asked")
        difference = splitting.minus_id(split)
        if difference is not None and abs(difference.value) > FARTHEST:
            lines.append(f"{split.variant.title}: {difference.value:+.4f} from ID, at most {FARTHEST:g} asked")
    wall_s = splitting.trained_s / 2
    if wall_s > LONGEST_S:
        lines.append(f"{wall_s:.0f} s of training on two cores, at most {LONGEST_S:.0f} s asked")
    return lines


def main() -> None:
    """Run the study, print its table, and end with 1 if a limit is missed."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            splitting = splitting_study(
                Path(folder) / "splitting",
                overrides=(f"training.epochs={EPOCHS}",),
                n_seeds=1,
                only=ONLY,
                command="python benchmarks/splitting.py",
            )
        except DataError as error:
            sys.exit(f"splitting: {error}")
    print(splitting.markdown())
    print("\n".join(splitting.verdicts()))
    print(f"splitting  {splitting.trained_s:.0f} s of training in all, on {os.cpu_count()} cores")
    misses = find_misses(splitting)
    if misses:
        sys.exit("\n".join(f"splitting: MISSED: {line}" for line in misses))


if __name__ == "__main__":
    main()
