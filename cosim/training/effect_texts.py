"""What of a run's circuits is not ideal, in words."""

from .config import Config
from .section import Section


def describe_effects(config: Config) -> list[str]:
    """Return a sentence for each table of non-idealities, with what was written in it; none for ideal circuits."""
    return [f"{name}: {_spelt(getattr(config, name))}" for name in config.effects]


def _spelt(value: object) -> str:
    """Return what was written of a table, key by key."""
    if not isinstance(value, Section):
        return f"{value:g}" if isinstance(value, float) else str(getattr(value, "value", value))
    written = {key: getattr(value, key) for key in type(value).model_fields if key in value.model_fields_set}
    texts = (f"{key} {'off' if entry is None else _spelt(entry)}" for key, entry in written.items())
    return ", ".join(texts) or "as they are by default"
