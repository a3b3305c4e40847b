"""Versions of what a number came from."""

import importlib.metadata
import platform
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
    """Return the version of Python and of each distribution; None where it is not installed."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for name in distributions:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return versions
