"""Fashion-MNIST, train and test pooled: the original gzipped files, wherever they lie."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sdclib.data.image_sets.cifar10 import protocol
from sdclib.data.image_sets.committed import CommittedSet, register
from sdclib.data.image_sets.sources import ArrayReader, Found, array_ids, try_download

__all__ = ["CLASSES", "DEBIAN", "FASHION_MNIST", "find", "read_idx"]

CLASSES = (
    *("t-shirt/top", "trouser", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
)
DEBIAN = Path("/usr/share/datasets/fashion-mnist")  # of Debian's package dataset-fashion-mnist
PARTS = ("train", "t10k")
SHAPES: dict[str, tuple[int, ...]] = {"images-idx3": (28, 28), "labels-idx1": ()}  # of an image, of a label


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read an IDX file of bytes, gzipped if its name ends in ``.gz``.

    Format: two zero bytes, 8 (the type: unsigned byte), the number of dimensions, each dimension as 4 bytes, highest
    first, then the values (LeCun's MNIST page).

    Raises
    ------
    ValueError
        If it is damaged; the message names it.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: damaged file ({error})") from error
    if len(data) < 4 or data[:3] != b"\0\0\x08":
        raise ValueError(f"{path}: expected an IDX file of bytes, got one that starts with {data[:4].hex()}")
    start = 4 + 4 * data[3]
    shape = tuple(int.from_bytes(data[i : i + 4]) for i in range(4, start, 4))
    if len(data) - start != math.prod(shape):
        raise ValueError(f"{path}: damaged file, expected {shape} bytes, got {len(data) - start}")
    try:
        return np.frombuffer(memoryview(data)[start:], dtype=np.uint8).reshape(shape)
    except ValueError as error:  # more dimensions than NumPy has, or sizes beside a 0 that are too large
        raise ValueError(f"{path}: damaged file, no array has the shape {shape} ({error})") from error


def find(root: Path, download: bool) -> Found:
    """Find ``{train,t10k}-{images-idx3,labels-idx1}-ubyte[.gz]`` in `root`, root/FashionMNIST/raw, or Debian's folder.

    Raises
    ------
    ValueError
        If they are nowhere (and cannot be downloaded) or damaged.
    """
    folders = [root, root / "FashionMNIST" / "raw", DEBIAN]
    folder = next((f for f in folders if _file(f, "train-images-idx3-ubyte")), None)
    if folder is None:
        if not download:
            raise ValueError(
                f"{root}: expected train-images-idx3-ubyte.gz and its three companions there, in FashionMNIST/raw or "
                f"in {DEBIAN} (Debian's dataset-fashion-mnist), found none"
            )
        from torchvision.datasets import FashionMNIST  # type: ignore[import-untyped]

        folder = folders[1]
        try_download(lambda: FashionMNIST(root, download=True), root, "train-images-idx3-ubyte.gz and others")
    arrays: dict[str, list[NDArray[np.uint8]]] = {kind: [] for kind in SHAPES}
    for kind, parts in arrays.items():
        for part in PARTS:
            path = _file(folder, f"{part}-{kind}-ubyte")
            if path is None:
                raise ValueError(f"{folder}: expected a file {part}-{kind}-ubyte.gz, found none")
            array = read_idx(path)
            if array.ndim == 0 or array.shape[1:] != SHAPES[kind]:
                raise ValueError(
                    f"{path}: expected images of 28 x 28 or labels of them, got shape {array.shape}"
                )
            parts.append(array)
    images, labels = (np.concatenate(parts) for parts in arrays.values())
    if len(images) != len(labels):
        raise ValueError(
            f"{folder}: expected images of 28 x 28 and as many labels, got {images.shape}, {labels.shape}"
        )
    return Found(array_ids(images), labels.astype(np.int64), CLASSES, ArrayReader(images))


def _file(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


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
