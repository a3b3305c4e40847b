"""Find an example configuration of the source tree."""

from pathlib import Path

from ..errors import ConfigError


def find_example(config: Path) -> Path:
    """Return an example of the working directory or of the source tree.

    Args:
        config: as "examples/digits.toml".

    Raises:
        ConfigError: if it is in neither.
    """
    for root in (Path.cwd(), Path(__file__).resolve().parents[2]):
        if (root / config).is_file():
            return root / config
    raise ConfigError(f"{config}: not found here; run from the source tree, or name a configuration with --config")
