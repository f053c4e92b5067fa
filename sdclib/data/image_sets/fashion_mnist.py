"""Fashion-MNIST, train and test pooled: the original gzipped files, wherever they lie."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sdclib.data.image_sets.cifar10 import protocol
from sdclib.data.image_sets.committed import CommittedSet, register
from sdclib.data.image_sets.sources import Found, array_ids, array_reader, by_torchvision

__all__ = ["CLASSES", "DEBIAN", "FASHION_MNIST", "find", "read_idx"]

CLASSES = (
    *("t-shirt/top", "trouser", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
)
DEBIAN = Path("/usr/share/datasets/fashion-mnist")  # of Debian's package dataset-fashion-mnist
IMAGES = ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte")
LABELS = ("train-labels-idx1-ubyte", "t10k-labels-idx1-ubyte")


def read_idx(path: Path, start: int, *shape: int) -> NDArray[np.uint8]:
    """Read items of a shape from an IDX file of bytes, gzipped or not, behind a header of `start` bytes.

    ValueError that names the file if it is damaged. Format: LeCun's MNIST page.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        return np.frombuffer(data, np.uint8, offset=start).reshape(-1, *shape)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise ValueError(f"{path}: damaged file ({error})") from error


def find(root: Path, download: bool) -> Found:
    """Find ``{train,t10k}-{images-idx3,labels-idx1}-ubyte[.gz]`` in `root`, root/FashionMNIST/raw, or Debian's folder.

    ValueError if they are nowhere (and cannot be downloaded) or damaged.
    """
    folders = [root, root / "FashionMNIST" / "raw", DEBIAN]
    expected = f"{', '.join((*IMAGES, *LABELS))} (or .gz) in {', '.join(map(str, folders))}"
    if download and not any(map(_files, folders)):
        from torchvision.datasets import FashionMNIST  # type: ignore[import-untyped]

        by_torchvision(lambda: FashionMNIST(root, download=True), root, expected)
    files = next(filter(None, map(_files, folders)), None)
    if files is None:
        raise ValueError(f"{root}: expected {expected}, found none")
    images = np.concatenate([read_idx(files[name], 16, 28, 28) for name in IMAGES])
    labels = np.concatenate([read_idx(files[name], 8) for name in LABELS])
    if len(images) != len(labels):
        raise ValueError(
            f"{root}: expected as many labels as images, got {len(labels)} of {len(images)} images"
        )
    return Found(array_ids(images), labels.astype(np.int64), CLASSES, array_reader(images))


def _files(folder: Path) -> dict[str, Path]:
    """Paths of the four files, gzipped or not; none if one is missing."""
    paths = {path.name.removesuffix(".gz"): path for path in folder.glob("*-ubyte*")}
    return paths if paths.keys() >= {*IMAGES, *LABELS} else {}


FASHION_MNIST = register(
    CommittedSet(
        name="fashion_mnist",
        find=find,
        rule=protocol,
        rule_text="class_split by SHA-256 of the grey pixels, seed 42; a class: 100 queries, the rest database, "
        "500 of it for training (as CIFAR-10)",
        by_pixels=True,
        top_k=1000,
        licence="MIT (Zalando SE)",
        citation="H. Xiao, K. Rasul, R. Vollgraf: Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine "
        "Learning Algorithms, arXiv:1708.07747, 2017",
    )
)
