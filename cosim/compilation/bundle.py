"""A bundle on the disk: its files, and what may not be wrong with them when it is read.

```
BUNDLE/manifest.json           what stands for what; SHA-256 of every file but verify.json
BUNDLE/manifest.schema.json    the manifest's JSON schema
BUNDLE/README.md               for the designer
BUNDLE/network.svg             the chain of stages and blocks
BUNDLE/digital.safetensors     weights of the digital side
BUNDLE/blocks/NAME/top.cir     the deck of a block, which includes the .inc files beside it
BUNDLE/blocks/NAME/circuit.svg, w1.png, ...    pictures
BUNDLE/blocks/NAME/samples/    decks of real inputs, and the voltages expected there
BUNDLE/verify.json             of the last verification
```
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from pydantic import ValidationError
from rich.table import Table

from .block_entry import BlockEntry
from .errors import BundleError
from .manifest import FORMAT, VERSION, Manifest

MANIFEST: Final = "manifest.json"
VERIFICATION: Final = "verify.json"
ANEW: Final = "restore it, or compile the network anew"


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Bundle:
    """A compiled network on the disk."""

    path: Path
    manifest: Manifest

    def read(self, file: str) -> bytes:
        """Return the content of one of the bundle's files.

        Raises:
            BundleError: if it is missing or cannot be read.
        """
        try:
            return (self.path / file).read_bytes()
        except FileNotFoundError:
            raise BundleError(f"{self.path / file}: missing from the bundle; {ANEW}") from None
        except OSError as error:
            raise BundleError(f"{self.path / file}: cannot be read ({error.strerror or error}); {ANEW}") from error

    def table(self) -> Table:
        """Return a row a block, for a terminal."""
        table = Table(title=f"{self.path}: tiles of {_tile(self.manifest)}", title_justify="left")
        table.add_column("block", overflow="fold")
        table.add_column("units", overflow="fold")
        for name in ("devices", "tiles", "utilisation", "files"):
            table.add_column(name, justify="right", no_wrap=True)
        for block in self.manifest.blocks:
            cells = (f"{count_devices(block):,}", f"{len(block.tiles):,}", f"{utilisation(block):.0%}")
            table.add_row(block.name, format_sizes(block), *cells, f"{self._count_files(block):,}")
        return table

    def to_json(self) -> dict[str, Any]:
        """Return what `tellegen compile --json` writes."""
        accuracy = None if self.manifest.run is None else self.manifest.run.accuracy
        return {
            "bundle": str(self.path),
            "tile": _tile(self.manifest),
            "blocks": [
                {
                    "name": block.name,
                    "units": format_sizes(block),
                    "devices": count_devices(block),
                    "tiles": len(block.tiles),
                    "utilisation": utilisation(block),
                    "files": self._count_files(block),
                    "samples": len(block.samples),
                    "top": block.top,
                }
                for block in self.manifest.blocks
            ],
            "programming": [
                block.programming.model_dump(mode="json")
                for block in self.manifest.blocks
                if block.programming is not None
            ],
            "accuracy": None if accuracy is None else accuracy.model_dump(mode="json"),
        }

    def _count_files(self, block: BlockEntry) -> int:
        return sum(name.startswith(f"{block.folder}/") for name in self.manifest.files)


def _tile(manifest: Manifest) -> str:
    return f"{manifest.tile_rows}x{manifest.tile_columns}"


def format_sizes(block: BlockEntry) -> str:
    """Return the sizes of a block, input first where it has rows of its own: "64-48-32"."""
    sizes = [layer.size for layer in block.layers]
    if block.drive == "voltage":
        sizes.insert(0, len(block.inputs.p))
    return "-".join(map(str, sizes))


def count_devices(block: BlockEntry) -> int:
    """Return the number of resistors and diodes."""
    return block.counts["resistors"] + block.counts["diodes"]


def utilisation(block: BlockEntry) -> float:
    """Return the mean utilisation of the tiles, 0 without one."""
    return sum(tile.utilisation for tile in block.tiles) / max(1, len(block.tiles))


def digest(content: bytes) -> str:
    """Return the SHA-256 that the manifest has of a file."""
    return hashlib.sha256(content).hexdigest()


def is_bundle(path: Path) -> bool:
    """Whether a folder has a manifest."""
    return (path / MANIFEST).is_file()


def read_tables(folder: Path) -> dict[str, Any]:
    """Return the manifest of a bundle of any version, unchecked.

    Raises:
        BundleError: if there is none, or it is none of ours.
    """
    path = folder / MANIFEST
    try:
        tables = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise BundleError(
            f"{folder}: no bundle (there is no {MANIFEST} in it); name the --out of a `tellegen compile`"
        ) from None
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror or error}); {ANEW}") from error
    except ValueError as error:  # what json and a wrong encoding raise
        raise BundleError(f"{path}: no JSON ({error}); {ANEW}") from error
    if not isinstance(tables, dict) or tables.get("format") != FORMAT:
        raise BundleError(f"{path}: no manifest of a bundle (its format is not '{FORMAT}'); name another folder")
    return tables


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a bundle.

    Raises:
        BundleError: if the folder is no bundle, or one of a newer version, or the manifest is damaged.
    """
    tables = read_tables(folder)
    version = tables.get("version")
    if isinstance(version, int) and version > VERSION:
        raise BundleError(
            f"{folder / MANIFEST}: version {version}, written by a newer tellegen ({tables.get('tellegen')}); this one "
            f"reads version {VERSION}: update it"
        )
    try:
        return Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(key) for key in first["loc"]) or "the whole"
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise BundleError(f"{folder / MANIFEST}: {where}: {first['msg']}{more}; {ANEW}") from None


def open_bundle(folder: Path) -> Bundle:
    """Return a bundle whose every file is what was written.

    Raises:
        BundleError: as `read_manifest`, and for a file that is missing or was changed, by its name.
    """
    bundle = Bundle(path=folder, manifest=read_manifest(folder))
    changed = [name for name, written in bundle.manifest.files.items() if digest(bundle.read(name)) != written]
    if changed:
        more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
        raise BundleError(f"{folder / changed[0]}: changed since it was compiled (SHA-256 differs){more}; {ANEW}")
    return bundle


def digests(files: Mapping[str, bytes]) -> dict[str, str]:
    """Return the SHA-256 of each file by name, in the order of the names."""
    return {name: digest(files[name]) for name in sorted(files)}
