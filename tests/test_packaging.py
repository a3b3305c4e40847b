"""The four generic top-level names are ours, complete, and quick to start."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest

PACKAGES = ("circuits", "netlists", "cosim", "digital")
ROOT = Path(__file__).resolve().parent.parent
IN_SOURCE_TREE = (ROOT / "setup.cfg").is_file()
source_tree_only = pytest.mark.skipif(not IN_SOURCE_TREE, reason="no source tree beside an installed wheel")


def locate(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    assert spec is not None, f"{package} cannot be imported"
    assert spec.origin is not None, f"{package} has no __init__.py"
    return Path(spec.origin).resolve().parent


@pytest.mark.parametrize("package", PACKAGES)
def test_package_belongs_to_exactly_one_distribution(package: str) -> None:
    # A set: an editable install and the egg-info of the tree are both seen, under the same name.
    assert set(importlib.metadata.packages_distributions().get(package, [])) == {"tellegen"}


@pytest.mark.parametrize("package", PACKAGES)
def test_package_resolves_inside_this_project(package: str) -> None:
    home = ROOT if IN_SOURCE_TREE else Path(sysconfig.get_path("purelib")).resolve()
    assert locate(package) == home / package


@pytest.mark.parametrize("package", PACKAGES)
def test_package_is_marked_as_typed(package: str) -> None:
    assert (locate(package) / "py.typed").is_file()


@pytest.mark.parametrize("package", PACKAGES)
def test_every_folder_with_modules_is_a_package(package: str) -> None:
    # `packages = find:` would leave such a folder out of the wheel without a word.
    folders = {path.parent for path in locate(package).rglob("*.py")}
    assert [str(folder) for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []


def test_version_is_the_distributions() -> None:
    assert importlib.metadata.version("tellegen") == "0.1.0"


def find_command() -> str:
    command = Path(sysconfig.get_path("scripts")) / "tellegen"
    assert command.is_file(), "the console script is not installed; run `make setup`"
    return str(command)


def test_help_answers_within_half_a_second() -> None:
    command = find_command()
    times = []
    for _ in range(5):  # the best of five: the machine may be busy, and the first run compiles
        start = time.perf_counter()
        result = subprocess.run([command, "--help"], capture_output=True, text=True, timeout=60, check=False)
        times.append(time.perf_counter() - start)
        assert result.returncode == 0, result.stderr
        assert "train" in result.stdout
    assert min(times) < 0.5


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['tellegen', '--help']\n"
        "from cosim.cli import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        "heavy = {'torch', 'numba', 'scipy', 'sklearn', 'matplotlib', 'PySpice', 'pydantic'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )
    assert result.returncode == 0, result.stderr


@source_tree_only
def test_no_example_or_benchmark_is_named_like_a_package() -> None:
    stems = {path.stem for folder in ("examples", "benchmarks") for path in (ROOT / folder).glob("*")}
    assert stems.isdisjoint(PACKAGES)


@source_tree_only
def test_tests_are_flat() -> None:
    # A folder tests/circuits with an __init__.py would be imported as `circuits`.
    tests = ROOT / "tests"
    assert [str(path.relative_to(ROOT)) for path in tests.rglob("*.py") if path.parent != tests] == []
    assert not (ROOT / "tests" / "__init__.py").exists()
