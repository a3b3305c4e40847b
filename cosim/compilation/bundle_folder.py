"""Write a bundle whole or not at all: staged beside its place, then moved into it in one step.

Nothing but an empty folder or, with force, a bundle is ever replaced.
"""

import os
import secrets
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..files import PART, explained, make_folder
from .bundle import MANIFEST, VERIFICATION, read_tables
from .errors import BundleError


def check_place(path: Path, *, force: bool) -> None:
    """Refuse a place where no bundle may be written; nothing is changed.

    Args:
        path: where.
        force: True to allow a bundle that is there, all of whose files are known; an empty folder is always allowed.

    Raises:
        BundleError: if the place is taken.
        RunError: if it cannot be looked at.
    """
    kept = "so --force does not replace it; choose another --out" if force else "so choose another --out"
    with explained(path):
        if path.is_symlink():
            raise BundleError(f"{path}: is a link, no folder, {kept}")
        if not path.exists():
            return
        if not path.is_dir():
            raise BundleError(f"{path}: is no folder, {kept}")
        entries = _list_files(path)
    here = Path.cwd().resolve()
    if path.resolve() in (here, *here.parents):
        raise BundleError(f"{path}: is the working directory or lies above it, {kept}")
    if not any(True for _ in path.iterdir()):
        return
    try:
        named = read_tables(path).get("files")
    except BundleError as error:
        raise BundleError(f"{path}: holds files but no bundle, {kept}") from error
    own = {MANIFEST, VERIFICATION, *(named if isinstance(named, dict) else ())}
    foreign = [name for name in entries if name not in own and not _is_part(name)]
    if foreign:
        more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
        raise BundleError(
            f"{path}: a bundle that holds what is none of its own ({', '.join(foreign[:3])}{more}), {kept}, or move "
            "them away"
        )
    if not force:
        raise BundleError(f"{path}: holds a bundle already; replace it by --force, or choose another --out")


def _list_files(path: Path) -> list[str]:
    """Return every entry that is no plain folder, and empty folders, by their names from the folder on."""
    found = []
    for folder, folders, files in os.walk(path):
        place = Path(folder)
        found += [place / name for name in files]
        found += [place / name for name in folders if (place / name).is_symlink()]
        if not files and not folders and place != path:
            found.append(place)
    return sorted(entry.relative_to(path).as_posix() for entry in found)


def _is_part(name: str) -> bool:
    """Whether a killed verification did not finish writing this."""
    return name.startswith(f".{VERIFICATION}.") and name.endswith(PART)


def write_bundle(path: Path, files: Mapping[str, bytes], *, force: bool) -> None:
    """Write all files of a bundle, the manifest among them.

    Args:
        path: the folder; its parents are made where missing.
        files: content by name.
        force: as `check_place`.

    Raises:
        BundleError: if the place is taken.
        RunError: if it cannot be written, with the reason; what was there before is then still there.
    """
    path = path.absolute()
    check_place(path, force=force)
    make_folder(path.parent)
    stage = _beside(path)
    try:
        with explained(path):
            for folder in _folders(files):
                (stage / folder).mkdir(parents=True, exist_ok=True)
            for name, content in files.items():
                with (stage / name).open("xb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
            _move_into_place(stage, path)
    except BaseException:  # an interrupt, too: nothing half-written stays
        shutil.rmtree(stage, ignore_errors=True)
        raise


def _folders(names: Iterable[str]) -> list[Path]:
    return sorted({Path(name).parent for name in names})


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}{PART}")


def _move_into_place(stage: Path, path: Path) -> None:
    """Rename the finished folder; a bundle in its place steps aside first, and back if that fails."""
    if not path.is_dir() or not any(True for _ in path.iterdir()):
        stage.replace(path)  # over an empty folder, too
        return
    aside = _beside(path)
    path.rename(aside)
    try:
        stage.rename(path)
    except BaseException:  # an interrupt, too: the bundle that was there comes back
        aside.rename(path)
        raise
    shutil.rmtree(aside, ignore_errors=True)
