"""CIFAR-100: 50,000 training and 10,000 test images of 32x32 pixels, a hundred classes, from a file on this machine.

The official archive holds two batches, `train` and `test`, with labels of two kinds: the hundred fine ones are read,
the twenty coarse ones are not.
"""

from pathlib import Path
from typing import Final

from .cifar import CifarFormat, load_cifar
from .image_batches import BatchFormat
from .images import ImageDataset

CIFAR100: Final = CifarFormat(
    name="cifar100",
    batches=BatchFormat(
        title="CIFAR-100",
        folder="cifar-100-python",
        train=("train",),
        test="test",
        labels="fine_labels",
        n_classes=100,
        again="download or extract cifar-100-python.tar.gz again",
    ),
    archive="cifar-100-python.tar.gz",
    sha256="85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
    url="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
    variable="TELLEGEN_CIFAR100",
    sizes=(50_000, 10_000),
    mean=(0.5071 * 255, 0.4865 * 255, 0.4409 * 255),
    std=(0.2673 * 255, 0.2564 * 255, 0.2762 * 255),
)
CIFAR100_SHA256: Final = CIFAR100.sha256


def load_cifar100(source: Path, *, sha256: str | None = CIFAR100_SHA256) -> ImageDataset:
    """Load CIFAR-100 with its fine labels; see `load_cifar`.

    Args:
        source: cifar-100-python.tar.gz; or the folder cifar-100-python, or the one it is in; or an .npz.
        sha256: checksum of the archive, in hexadecimal; None to do without.

    Raises:
        DataError: if there is no such file, it is damaged or another one, or its arrays are not as they should be.
    """
    return load_cifar(source, CIFAR100, sha256=sha256)
