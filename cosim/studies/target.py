"""What a study of a run or of a configuration was given."""

from pathlib import Path

from ..errors import ConfigError


def require_target(target: Path) -> None:
    """Raise ConfigError unless there is a file or a folder of that name.

    Args:
        target: run folder, or configuration file.
    """
    if not target.exists():
        raise ConfigError(
            f"{target}: no such file or folder; name a run folder, the --out of a `tellegen train`, or a "
            "configuration, for example examples/digits.toml"
        )
