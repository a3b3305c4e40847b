"""The manifest of a bundle: which node, device and file stands for what in the network.

Takes and gives: JSON. Must not know: torch, circuits in memory. Its schema is published in `manifest.schema.json`; a
change that older readers cannot take raises VERSION.
"""

import json
from typing import Annotated, Any, Final, Literal, final

from pydantic import Field, JsonValue

from .block_entry import BlockEntry
from .entry import Count, Entry, FilePath

FORMAT: Final = "tellegen bundle"
VERSION: Final = 2  # 1 had no amplifiers, piecewise-linear diodes and clamps of one side or of a part of a layer
SCHEMA_FILE: Final = "manifest.schema.json"

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


@final
class LayerText(Entry):
    """One torch module of a digital stage."""

    module: str
    text: str


@final
class DigitalStep(Entry):
    """A digital stage: torch modules in the order in which they are registered."""

    kind: Literal["digital"]
    module: str
    layers: tuple[LayerText, ...]


@final
class AnalogStep(Entry):
    """An energy block in the chain."""

    kind: Literal["analog"]
    module: str
    block: str


Step = Annotated[DigitalStep | AnalogStep, Field(discriminator="kind")]


@final
class TensorEntry(Entry):
    """A tensor of the digital side."""

    shape: tuple[int, ...]
    dtype: str


@final
class DigitalEntry(Entry):
    """Weights and buffers of the digital side, by their names in the network's state_dict."""

    file: FilePath
    tensors: dict[str, TensorEntry]


@final
class AccuracyEntry(Entry):
    """What it cost that no leak is active, weights being smaller: accuracies on the images held out, in newton."""

    trained: Annotated[float, Field(description="hopfield blocks computed digitally")]
    active: Annotated[
        float | None, Field(description="on circuits with active leaks; null: they may have several equilibria")
    ]
    passive: Annotated[float, Field(description="of the circuits compiled")]
    images: Count


@final
class RunEntry(Entry):
    """The run that the network comes from, enough to build its digital side again and find its images."""

    config: Annotated[
        dict[str, JsonValue],
        Field(description="as the run's config.json; of a network that was programmed, with analog stages"),
    ]
    checkpoint: Literal["last", "previous", "best"]
    epoch: Count
    batch: Count
    best_epoch: Count | None
    best_accuracy: float | None
    images: Annotated[str, Field(description="fingerprint of the images that it was trained on")]
    shape: Annotated[tuple[int, ...], Field(description="of an image")]
    n_classes: Count
    accuracy: Annotated[AccuracyEntry | None, Field(description="null: no weight was clipped to be passive")]


@final
class Manifest(Entry):
    """What is in a bundle of tellegen: a hybrid network whose energy blocks are SPICE decks."""

    format: Literal["tellegen bundle"]
    version: Literal[1, 2]
    tellegen: Annotated[str, Field(description="version of the program")]
    tile_rows: Count
    tile_columns: Count
    chain: tuple[Step, ...]
    blocks: tuple[BlockEntry, ...]
    digital: DigitalEntry
    run: Annotated[RunEntry | None, Field(description="null: compiled from a torch module of someone's own")]
    files: Annotated[dict[FilePath, Digest], Field(description="SHA-256 of every other file")]

    def block(self, name: str) -> BlockEntry:
        """Return a block by its name."""
        return next(block for block in self.blocks if block.name == name)


def manifest_schema() -> dict[str, Any]:
    """Return the JSON schema of a manifest, what `manifest.schema.json` holds."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Manifest.model_json_schema()}


def format_schema() -> str:
    """Return the schema as text."""
    return json.dumps(manifest_schema(), indent=2) + "\n"


def format_manifest(manifest: Manifest) -> str:
    """Return a manifest as JSON for people and programs: a list of numbers or names is one line."""
    return _format(manifest.model_dump(mode="json"), "") + "\n"


def _format(value: Any, indent: str) -> str:
    inner = indent + "  "
    if isinstance(value, dict) and value:
        rows = [f"{inner}{json.dumps(key)}: {_format(item, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(rows) + f"\n{indent}}}"
    if isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        return "[\n" + ",\n".join(f"{inner}{_format(item, inner)}" for item in value) + f"\n{indent}]"
    return json.dumps(value, allow_nan=False)
