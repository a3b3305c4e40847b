"""How much does a sweep add to the evaluations in it? 200 points of the digits network on all cores.

Asked: at most 1.3 times (points x one evaluation / cores), starts of workers, tables and pictures included; exit status
1 otherwise.

Run: python benchmarks/sweep.py
Trains the network of examples/digits.toml in newton for 4 epochs first. One evaluation is timed in this process, warm,
as the mean over a sample of the same 200 points, before and after the sweep: on a machine that others use as well,
processor time is printed beside the time on the clock.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from cosim.sweeps.plan import make_plan
from cosim.sweeps.sweep import sweep
from cosim.sweeps.sweep_file import load_sweep
from cosim.sweeps.worker import run_point
from cosim.training.config_file import load_config
from cosim.training.run import train

MOST = 1.3  # times
EVERY = 9  # one point in so many is timed alone; no multiple of an axis, so that all of its values are among them
CONFIG = Path(__file__).parent.parent / "examples" / "digits.toml"
SWEEP = """
do = "evaluate"
[base]
run = "run"
[axes]
"phases.beta" = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5]
"ADC bits" = { keys = ["converters.output.bits", "converters.phase.bits"], values = [4, 6, 8, 10, "ideal"] }
"DAC bits" = { keys = ["converters.input.bits", "converters.nudge.bits"], values = [4, 6, 8, 10, "ideal"] }
"""


def time_evaluations(file: Path, out: Path) -> tuple[float, float]:
    """Return the mean time and processor time of one evaluation, s; the first, cold one does not count."""
    points = make_plan(load_sweep(file), out=out, source=file).points[::EVERY]
    run_point(points[0], out)
    wall, cpu = time.perf_counter(), time.process_time()
    for point in points:
        outcome = run_point(point, out)
        assert outcome.error is None, outcome.error
    return (time.perf_counter() - wall) / len(points), (time.process_time() - cpu) / len(points)


def processor_time() -> float:
    """Return the processor time of this process and of its workers that have ended, s."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def main() -> None:
    """Print the times and their ratio, and end with 1 if the limit is missed."""
    cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        config = load_config(CONFIG, ["simulator.name=newton", "training.epochs=4"])
        train(config, place / "run", console=Console(quiet=True))
        file = place / "sweep.toml"
        file.write_text(SWEEP, encoding="utf-8")
        before, cpu = time_evaluations(file, place / "out")
        spent = processor_time()
        report = sweep(file, place / "out")
        spent = processor_time() - spent
        after, _ = time_evaluations(file, place / "out")
        outcomes = report.results.outcomes.values()
    n, one = len(report.results.plan.points), (before + after) / 2
    ratio = report.wall_s / (n * one / cores)
    in_points = sum(outcome.cpu_s for outcome in outcomes)
    waited = sum(outcome.wall_s for outcome in outcomes) / in_points
    print(
        f"sweep  {n} points on {cores} cores: {report.wall_s:.1f} s; one evaluation {before:.3f} s before and ", end=""
    )
    print(f"{after:.3f} s after, {cpu:.3f} s of processor time")
    print(f"       {ratio:.2f} times points x one evaluation / cores (at most {MOST:g} asked)")
    print(
        f"       processor time: {in_points:.1f} s in the points, {spent:.1f} s in all, with the starts of workers, ",
        end="",
    )
    print(f"tables and pictures: {spent / (n * cpu):.2f} times points x one evaluation")
    print(
        f"       a point took {waited:.2f} times its processor time; above 1.05 others use this machine, and ", end=""
    )
    print("the first ratio says little")
    if not (ratio <= MOST and report.passed):
        sys.exit(f"sweep: MISSED: {ratio:.2f} times, at most {MOST:g} asked")


if __name__ == "__main__":
    main()
