"""A sweep from its file to its folder: the public function of this package."""

import functools
import os
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from rich.console import Console

from ..progress import counting_bar
from ..simulators.ngspice.pool import make_loky_executor
from ..versions import DISTRIBUTIONS, collect_versions
from .engine import Died, Pool, run_all
from .errors import StoreError, SweepError
from .folder import SweepFolder
from .outputs import write_outputs
from .plan import Plan, make_plan
from .point import Outcome, Point
from .results import Results
from .store import Store, open_store
from .summary import write_summary
from .sweep_file import load_sweep
from .trainings import train_base
from .trial import try_plan
from .worker import get_ready, run_point

IN_FLIGHT_ON_DASK: Final = 64  # enough for as many cores; what is under way when a worker dies is done again
_SAY_EVERY_S: Final = 60.0  # where there is no terminal to draw a bar on


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class SweepReport:
    """What a sweep came to.

    Args:
        out: its folder.
        results: its points and what they measured.
        files: what was written there.
        n_computed: points computed this time; the others were recorded already.
        wall_s: s this time.
    """

    out: Path
    results: Results
    files: tuple[str, ...]
    n_computed: int
    wall_s: float

    @property
    def passed(self) -> bool:
        """Whether no point failed."""
        return not self.results.failed

    def to_json(self) -> dict[str, Any]:
        """Return what `tellegen sweep --json` writes."""
        return {
            "out": str(self.out),
            "points": len(self.results.plan.points),
            "computed": self.n_computed,
            "failed": len(self.results.failed),
            "wall_s": self.wall_s,
            "files": list(self.files),
            "rows": self.results.rows(),
        }

    def lines(self) -> list[str]:
        """Return the report for people."""
        n, failed = len(self.results.plan.points), self.results.failed
        lines = [f"{n} points, {self.n_computed} computed now, {len(failed)} failed, {self.wall_s:.1f} s"]
        for point in failed[:3]:
            error = (self.results.outcomes[point.key].error or "").strip().splitlines()[-1]
            lines.append(f"point {point.position}, seed {point.seed}: {error}")
        lines += [f"and {len(failed) - 3} more failed; summary.md names them"] if len(failed) > 3 else []
        return [*lines, f"wrote {', '.join(self.files)} in {self.out}"]


def sweep(
    file: Path,
    out: Path,
    *,
    data: Path | None = None,
    executor_factory: Callable[[], Executor] | None = None,
    in_flight: int | None = None,
    force: bool = False,
    retry: bool = False,
    command: str = "",
    console: Console | None = None,
) -> SweepReport:
    """Do a sweep, or go on with it.

    Args:
        file: the sweep file; `sweep_file` has its keys.
        out: its folder.
        data: where the images are, if not where the base says.
        executor_factory: makes a `concurrent.futures.Executor`, and a new one after a crash; a process for each core if
            left out. Where workers are on other machines they need `out` at the same place if anything is trained.
        in_flight: points that it has at a time, more than it has workers; twice the cores if left out.
        force: replace a sweep that is there.
        retry: try points again that failed.
        command: how the sweep was started, for its record.
        console: where to show progress; nowhere if left out.

    Returns:
        the report.

    Raises:
        SweepError: for a wrong sweep file, before anything is computed or written.
        StoreError: if the folder is taken or damaged, or holds another sweep; it stays as it is.
        ConfigError, RunError, DataError, SimulatorNotFound: if the base cannot be used, or its simulator is missing.
        KeyboardInterrupt: with every finished point recorded.
    """
    start = time.perf_counter()
    factory = executor_factory or functools.partial(make_loky_executor, os.cpu_count() or 1)
    in_flight = in_flight or 2 * (os.cpu_count() or 1)
    folder = SweepFolder(path=out)
    folder.check_place(force=force)
    spec = load_sweep(file)
    with warnings.catch_warnings(), Pool(factory) as pool:
        # Loky replaces a worker that has grown by images and a base network, and says so: nothing is lost, nor wrong.
        warnings.filterwarnings("ignore", message="A worker was restarted", category=UserWarning)
        for k in range(in_flight // 2):  # workers start while the points are planned
            pool.submit(get_ready, k, is_first=True)
        plan = make_plan(spec, out=out, source=file, data=data)
        try_plan(plan)
        with folder.locked():
            if force:
                folder.clear()
            with open_store(folder.store, plan.to_json(), {point.key for point in plan.points}) as store:
                jobs = [job for job in plan.jobs if _is_due(store, job, retry=retry)]
                if jobs and plan.base.trains:
                    _train_bases(plan, pool, in_flight, console)
                _run(jobs, store, out.absolute(), pool, in_flight, console)
                results = Results(plan, store.outcomes)
            pool.stop()
            files = _write(results, out, spec.title or file.stem, command, start)
    wall_s = time.perf_counter() - start
    return SweepReport(out=out, results=results, files=files, n_computed=len(jobs), wall_s=wall_s)


def _write(results: Results, out: Path, title: str, command: str, start: float) -> tuple[str, ...]:
    """Write what is made of the results, and return the names of the files."""
    pictures = write_outputs(results, out, title)
    write_summary(
        results,
        pictures,
        out / "summary.md",
        title=title,
        command=command,
        versions=collect_versions((*DISTRIBUTIONS, "pyarrow")),
        wall_s=time.perf_counter() - start,
    )
    return ("results.parquet", "results.csv", *pictures, "summary.md")


def _is_due(store: Store, job: Point, *, retry: bool) -> bool:
    found = store.outcomes.get(job.key)
    return found is None or (retry and found.error is not None)


def _train_bases(plan: Plan, pool: Pool, in_flight: int, console: Console | None) -> None:
    """Train the base once a seed; finished ones are found.

    Raises:
        SweepError: if one fails: there is nothing to sweep then.
    """
    bases = [plan.base.of_seed(k) for k in sorted({point.seed for point in plan.points})]
    with counting_bar(console) as bar:
        task = bar.add_task("training the base", total=len(bases))
        for base, error in run_all(pool, train_base, bases, in_flight=in_flight):
            if error is not None:
                raise SweepError(f"{base.run}: the base could not be trained: {error}")
            bar.advance(task)


def _run(
    jobs: Sequence[Point],
    store: Store,
    out: Path,
    pool: Pool,
    in_flight: int,
    console: Console | None,
) -> None:
    """Run the points that are due, and record each as it finishes."""
    call = functools.partial(run_point, out=out)
    n_failed, start = 0, time.perf_counter()
    said = start
    with counting_bar(console) as bar:
        task = bar.add_task("points", total=len(jobs))
        for done, (job, found) in enumerate(run_all(pool, call, jobs, in_flight=in_flight), 1):
            outcome = _of_the_dead(job, found) if isinstance(found, Died) else found
            if outcome.key != job.key:
                raise StoreError(
                    f"point {job.key} came back as {outcome.key}: workers have another tellegen than this one"
                )
            store.record(outcome)
            n_failed += outcome.error is not None
            bar.update(task, advance=1, description=f"points, {n_failed} failed" if n_failed else "points")
            now = time.perf_counter()
            if console is not None and not console.is_terminal and now - said >= _SAY_EVERY_S:
                said = now
                left = (now - start) / done * (len(jobs) - done)
                text = f"{done} of {len(jobs)} points, {n_failed} failed, about {left:.0f} s to go"
                console.print(text, highlight=False)


def _of_the_dead(job: Point, died: Died) -> Outcome:
    return Outcome(
        key=job.key,
        measured={},
        error=f"it ended its worker process twice, the second time with nothing beside it: {died}",
        wall_s=0.0,
        cpu_s=0.0,
    )
