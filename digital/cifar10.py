"""CIFAR-10: 50,000 training and 10,000 test images of 32x32 pixels, ten classes, from a file on this machine."""

from pathlib import Path
from typing import Final

from .cifar import CifarFormat, load_cifar
from .image_batches import BatchFormat
from .images import ImageDataset

CIFAR10: Final = CifarFormat(
    name="cifar10",
    batches=BatchFormat(
        title="CIFAR-10",
        folder="cifar-10-batches-py",
        train=tuple(f"data_batch_{number}" for number in range(1, 6)),
        test="test_batch",
        labels="labels",
        n_classes=10,
        again="download or extract cifar-10-python.tar.gz again",
    ),
    archive="cifar-10-python.tar.gz",
    sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    variable="TELLEGEN_CIFAR10",
    sizes=(50_000, 10_000),
    mean=(0.4914 * 255, 0.4822 * 255, 0.4465 * 255),
    std=(0.247 * 255, 0.243 * 255, 0.261 * 255),
)
CIFAR10_SHA256: Final = CIFAR10.sha256


def load_cifar10(source: Path, *, sha256: str | None = CIFAR10_SHA256) -> ImageDataset:
    """Load CIFAR-10; see `load_cifar`.

    Args:
        source: cifar-10-python.tar.gz; or the folder cifar-10-batches-py, or the one it is in; or an .npz.
        sha256: checksum of the archive, in hexadecimal; None to do without.

    Raises:
        DataError: if there is no such file, it is damaged or another one, or its arrays are not as they should be.
    """
    return load_cifar(source, CIFAR10, sha256=sha256)
