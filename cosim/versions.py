"""Versions of what a number came from."""

import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Final

DISTRIBUTIONS: Final = (
    "tellegen",
    "torch",
    "numpy",
    "scipy",
    "numba",
    "PySpice",
    "networkx",
    "pydantic",
    "safetensors",
    "scikit-learn",
    "loky",
    "matplotlib",
)


def collect_versions(distributions: tuple[str, ...] = DISTRIBUTIONS) -> dict[str, str | None]:
    """Return the version of Python and of each distribution, None where it is missing, and a checkout's commit."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for name in distributions:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    commit = source_commit()
    return versions if commit is None else {**versions, "commit": commit}


def source_commit() -> str | None:
    """Return the commit of the source tree, "-dirty" behind it where files were changed; None outside a checkout."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    command = ("git", "-C", str(root), "describe", "--always", "--dirty", "--exclude=*")
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return run.stdout.strip() or None
