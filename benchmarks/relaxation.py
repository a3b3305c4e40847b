"""What `tellegen bench relaxation` measures, held against what is promised. Takes about a minute.

Run: python benchmarks/relaxation.py
Asked: 256-128-10 streamed at least 300 times faster than `.op` on the full deck; 256-128-64 at least 8 times faster in
newton than streamed in ngspice; every block at least 3 times faster mirrored than not, in ngspice; all ways within
1e-8 V. Exit status 1 if one is missed.
"""

import sys

from rich.console import Console

from cosim.studies.relaxation_bench import BenchReport, BenchRow, relaxation_bench

LEAST_STREAMED = {"256-128-10": 300.0}  # times faster than .op on the full deck
LEAST_NEWTON = {"256-128-64": 8.0}  # times faster than streamed ngspice
LEAST_MIRRORED = 3.0  # times faster than unmirrored, in ngspice
LARGEST_DIFFERENCE_V = 1e-8


def find_misses(report: BenchReport) -> list[str]:
    """Return a line for each limit that is missed; a block that has limits and was not measured is one."""
    missing = {*LEAST_STREAMED, *LEAST_NEWTON} - {row.block for row in report.rows}
    lines = [f"{block}: not measured" for block in sorted(missing)]
    for row in report.rows:
        lines += _find_misses_of_block(row)
    return lines


def _find_misses_of_block(row: BenchRow) -> list[str]:
    ratios = [("mirrored against streamed ngspice", row.ngspice_ms / row.ngspice_mirrored_ms, LEAST_MIRRORED)]
    if row.block in LEAST_STREAMED:
        least = LEAST_STREAMED[row.block]
        ratios.append(("streamed ngspice against .op on the full deck", row.naive_ms / row.ngspice_ms, least))
    if row.block in LEAST_NEWTON:
        ratios.append(("newton against streamed ngspice", row.ngspice_ms / row.newton_ms, LEAST_NEWTON[row.block]))
    lines = [
        f"{row.block}: {what} is {ratio:.1f} times faster, at least {least:g} asked"
        for what, ratio, least in ratios
        if not ratio >= least
    ]
    if not row.max_abs_diff_v <= LARGEST_DIFFERENCE_V:  # NaN is a miss too
        asked = f"at most {LARGEST_DIFFERENCE_V:g} V asked"
        lines.append(f"{row.block}: the ways differ by {row.max_abs_diff_v:.1e} V, {asked}")
    return lines


def main() -> None:
    """Measure, print the table, and end with 1 if a limit is missed."""
    report = relaxation_bench()
    Console(width=100).print(report.table())
    misses = find_misses(report)
    if misses:
        sys.exit("\n".join(f"relaxation: MISSED: {line}" for line in misses))
    print("relaxation: every limit is kept")


if __name__ == "__main__":
    main()
