"""ImageNet32: 1,281,167 training and 50,000 validation images of ImageNet, scaled down to 32x32 pixels, 1,000 classes.

```
train_data_batch_1 ... train_data_batch_10, val_data      pickles, from Imagenet32_train.zip and Imagenet32_val.zip
train_data_batch_1.npz ... , val_data.npz                 from Imagenet32_train_npz.zip and Imagenet32_val_npz.zip
```

Takes: the folder that the official files are in. Gives: `ImageDataset`. The bytes are read once, straight to where they
stay: 3.8 GB for all, and 0.4 GB more while a batch is read. Labels are 1 to 1,000 in the files, 0 to 999 here.
"""

import zipfile
from pathlib import Path
from typing import Final

import numpy as np
import torch

from .errors import DataError
from .image_batches import PIXEL_BYTES, SIDE, Batch, BatchFormat, checked_batch, parse_batch
from .image_npz import DAMAGED_NPZ, check_bytes, check_whole, load_arrays
from .images import ImageDataset, ImageSet

IMAGENET32_VARIABLE: Final = "TELLEGEN_IMAGENET32"
IMAGENET32_PAGE: Final = "https://image-net.org/download-images"
IMAGENET32_WAY_OUT: Final = (
    f"ask for access at {IMAGENET32_PAGE}, download the downsampled images of 32x32 pixels, for training and for "
    "validation (as pickles or as .npz), unpack both into one folder, and give it with --data FOLDER or in "
    f"${IMAGENET32_VARIABLE}"
)
IMAGENET32: Final = BatchFormat(
    title="ImageNet32",
    folder="",
    train=tuple(f"train_data_batch_{number}" for number in range(1, 11)),
    test="val_data",
    labels="labels",
    n_classes=1000,
    first_label=1,
    again=f"unpack the official archive again (from {IMAGENET32_PAGE})",
)
IMAGENET32_MEAN: Final = (0.485 * 255, 0.456 * 255, 0.406 * 255)
IMAGENET32_STD: Final = (0.229 * 255, 0.224 * 255, 0.225 * 255)


def load_imagenet32(source: Path) -> ImageDataset:
    """Load ImageNet32 from its official files.

    Args:
        source: the folder that they are in, or one whose folders they are in.

    Returns:
        the images with their positions in the official training set; the validation images are those held out.

    Raises:
        DataError: if a file is missing or damaged, or its arrays are not as they should be.

    Source: P. Chrabaszcz, I. Loshchilov, F. Hutter, A downsampled variant of ImageNet as an alternative to the CIFAR
    datasets, 2017, arXiv 1707.08819.
    """
    if not source.is_dir():
        what = "is a file; the official archives are to be unpacked" if source.exists() else "no such folder"
        raise DataError(f"{source}: {what}. ImageNet32 has no free download: {IMAGENET32_WAY_OUT}")
    paths = {name: _find(source, name) for name in IMAGENET32.names}
    missing = [name for name, path in paths.items() if path is None]
    if missing:
        all_of = "no ImageNet32 files" if len(missing) == len(paths) else f"{', '.join(missing)} missing"
        raise DataError(f"{source}: {all_of}; give the folder of the official files: {IMAGENET32_WAY_OUT}")
    found = {name: path for name, path in paths.items() if path is not None}
    train = _read([found[name] for name in IMAGENET32.train])
    test = _read([found[IMAGENET32.test]])
    return ImageDataset(
        name="imagenet32",
        n_classes=IMAGENET32.n_classes,
        train=ImageSet(pixels=train.pixels, labels=train.labels, index=torch.arange(len(train))),
        test=test,
        mean=IMAGENET32_MEAN,
        std=IMAGENET32_STD,
    )


def _find(source: Path, name: str) -> Path | None:
    """Return an official file, in the folder or in one of its folders; a pickle before an .npz."""
    for folder in (source, *sorted(entry for entry in source.iterdir() if entry.is_dir())):
        for path in (folder / name, folder / f"{name}.npz"):
            if path.is_file():
                return path
    return None


def _read(paths: list[Path]) -> ImageSet:
    """Read files one after the other into one array; joined afterwards, they would need memory twice."""
    capacity = sum(_most_images(path) for path in paths)
    pixels = np.empty((capacity, 3, SIDE, SIDE), dtype=np.uint8)  # what is not written takes no memory
    labels, size = [], 0
    for path in paths:
        batch = _read_npz(path) if path.suffix == ".npz" else _read_pickle(path)
        pixels[size : size + len(batch.labels)] = batch.pixels
        labels.append(batch.labels)
        size += len(batch.labels)
    return ImageSet(pixels=torch.from_numpy(pixels[:size]), labels=torch.from_numpy(np.concatenate(labels)))


def _most_images(path: Path) -> int:
    """Return more images than a file can hold, or as many."""
    try:
        if path.suffix != ".npz":
            return path.stat().st_size // PIXEL_BYTES
        with zipfile.ZipFile(path) as archive:
            return sum(entry.file_size for entry in archive.infolist()) // PIXEL_BYTES
    except DAMAGED_NPZ as error:
        raise DataError(f"{path}: cannot be read ({error}); {IMAGENET32.again}") from error


def _read_pickle(path: Path) -> Batch:
    try:
        with path.open("rb") as file:
            return parse_batch(file, IMAGENET32, where=str(path))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error}); {IMAGENET32.again}") from error


def _read_npz(path: Path) -> Batch:
    arrays = load_arrays(path, ("data", "labels"))
    pixels = check_bytes(arrays["data"], where=f"{path}: data")
    labels = check_whole(arrays["labels"], size=len(pixels), where=f"{path}: labels")
    return checked_batch(pixels, labels.astype(np.int64), IMAGENET32, where=str(path))
