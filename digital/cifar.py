"""What CIFAR-10 and CIFAR-100 have in common: the ways in which they lie on a disk.

```
cifar-10-python.tar.gz --> checksum --+
cifar-10-batches-py/ -----------------+--> ImageDataset
x_train, y_train, ... in an .npz -----+
```

Takes: a path and a `CifarFormat`. Gives: `ImageDataset`. Must not know: where the file comes from (`download.py`).
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from .errors import DataError
from .image_batches import BatchFormat, read_archive, read_folder
from .image_npz import read_npz
from .images import ImageDataset

CIFAR_PAGE: Final = "https://www.cs.toronto.edu/~kriz/cifar.html"


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class CifarFormat:
    """One of the two data sets.

    Args:
        name: what results call it.
        batches: how the official files are called.
        archive: name of the official archive.
        sha256: its checksum, in hexadecimal.
        url: where it is downloaded from.
        variable: environment variable that says where it is.
        sizes: training and test images.
        mean, std: of the pixels, 0 to 255, a channel.
    """

    name: str
    batches: BatchFormat
    archive: str
    sha256: str
    url: str
    variable: str
    sizes: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def ways_out(self) -> str:
        """What every message about a file that is not there, or not the right one, ends with."""
        return (
            f"(1) download {self.archive} by hand from {CIFAR_PAGE} and give it with --data FILE or in "
            f"${self.variable}; (2) give a folder extracted from it, or an .npz with x_train, y_train, x_test and "
            "y_test, in the same way"
        )


def load_cifar(source: Path, layout: CifarFormat, *, sha256: str | None) -> ImageDataset:
    """Load one of the data sets from the official archive, a folder extracted from it, or an .npz.

    Args:
        source: the archive; or its folder, or the one that this is in; or an .npz with x_train and x_test
            [n, 32, 32, 3] uint8, y_train and y_test [n] whole numbers, and, if known, idx_train and idx_test [n],
            positions in the official training set.
        layout: which data set.
        sha256: checksum of the archive, in hexadecimal; None to do without. A folder and an .npz have none.

    Returns:
        the images with their official positions, as far as these are known.

    Raises:
        DataError: if there is no such file, it is damaged or another one, or its arrays are not as they should be.

    Source: A. Krizhevsky, Learning multiple layers of features from tiny images, 2009.
    """
    batches = layout.batches
    if source.is_dir():
        train, test = read_folder(source, batches)
    else:
        start = _read_start(source, layout)
        if start.startswith(b"\x1f\x8b"):
            _check_sha256(source, sha256, layout)
            train, test = read_archive(source, batches)
        elif start.startswith(b"PK"):
            train, test = read_npz(source, batches, sizes=layout.sizes)
        else:
            raise DataError(
                f"{source}: neither an archive (.tar.gz), nor a folder extracted from it, nor an .npz: the file of "
                f"{source.stat().st_size:,} bytes begins with {start!r}. Two ways out: {layout.ways_out}"
            )
    return ImageDataset(
        name=layout.name, n_classes=batches.n_classes, train=train, test=test, mean=layout.mean, std=layout.std
    )


def _read_start(source: Path, layout: CifarFormat) -> bytes:
    """Return the first bytes of a file, which tell its kind."""
    try:
        with source.open("rb") as file:
            return file.read(16)
    except FileNotFoundError as error:
        raise DataError(f"{source}: no such file or folder. Two ways out: {layout.ways_out}") from error
    except OSError as error:
        raise DataError(f"{source}: cannot be read ({error}); check the path and its permissions") from error


def _check_sha256(source: Path, wanted: str | None, layout: CifarFormat) -> None:
    """Compare an archive with its checksum."""
    if wanted is None:
        return
    with source.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != wanted.lower():
        raise DataError(
            f"{source}: SHA-256 is {found}, wanted {wanted}; the file of {source.stat().st_size:,} bytes is cut short, "
            "damaged or another one (the binary and MATLAB versions have other names inside). Two ways out: "
            f"{layout.ways_out}"
        )
