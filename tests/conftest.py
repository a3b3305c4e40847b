"""What every test shares: the --ngspice option, one thread per process, fixed seeds, no display.

`--ngspice=required` never skips a test for want of ngspice and stops at once where it is missing;
`if-available` (the default) skips those tests where it is missing; `off` skips them always.
"""

from __future__ import annotations

import ctypes.util
import importlib.util
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

os.environ["MPLBACKEND"] = "Agg"

HAS_TORCH = importlib.util.find_spec("torch") is not None
if HAS_TORCH:
    import torch

    # As in the workers: several threads are slower on small systems, and change the order of sums.
    torch.set_num_threads(1)

if importlib.util.find_spec("hypothesis") is not None:
    import hypothesis

    # The same examples on every run; the time of one example says nothing on a shared machine.
    hypothesis.settings.register_profile("tellegen", derandomize=True, deadline=None)
    hypothesis.settings.load_profile("tellegen")


def list_missing_ngspice() -> list[str]:
    """Name what of ngspice cannot be found here."""
    missing = []
    path = os.environ.get("NGSPICE_LIBRARY_PATH")
    if path:
        if not Path(path.replace("{}", "")).is_file():
            missing.append(f"libngspice (NGSPICE_LIBRARY_PATH={path} is no file)")
    elif ctypes.util.find_library("ngspice") is None:
        missing.append("libngspice")
    if shutil.which("ngspice") is None:
        missing.append("the ngspice program")
    return missing


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--ngspice",
        choices=("required", "if-available", "off"),
        default="if-available",
        help="tests that need ngspice: never skip them, skip them where it is missing, or skip them always",
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--ngspice") == "required" and (missing := list_missing_ngspice()):
        raise pytest.UsageError(f"--ngspice=required, but missing: {', '.join(missing)}. Run `make setup`.")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    choice = config.getoption("--ngspice")
    if choice == "required":
        return
    missing = list_missing_ngspice()
    if choice == "if-available" and not missing:
        return
    reason = "--ngspice=off" if choice == "off" else f"missing: {', '.join(missing)}"
    for item in items:
        if item.get_closest_marker("ngspice"):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True)
def _fixed_seeds() -> None:
    """Seed the global generators too: torch draws initial weights from its own."""
    np.random.seed(0)  # noqa: NPY002  the legacy generator is the global one
    if HAS_TORCH:
        torch.manual_seed(0)
