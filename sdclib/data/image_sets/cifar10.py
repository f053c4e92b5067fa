"""CIFAR-10, train and test pooled: the images as published, from a folder or by torchvision."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sdclib.data.image_sets.committed import CommittedSet, Found
from sdclib.data.image_sets.sources import ArrayReader, array_ids, file_ids, list_images, try_download
from sdclib.data.images import file_reader
from sdclib.data.splits import Split, class_split

__all__ = ["CIFAR10", "CLASSES", "find", "protocol"]

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def find(root: Path, download: bool) -> Found:
    """Find the images ``root/{train,test}/CLASS/*``, or torchvision's files in `root`.

    Raises
    ------
    ValueError
        If neither is there (and cannot be downloaded), or an image is broken or not 32 x 32.
    """
    if not (root / "train").is_dir() and (download or (root / "cifar-10-batches-py").is_dir()):
        return _find_batches(root, download)
    paths, labels = [], []
    for part in ("train", "test"):
        for label, name in enumerate(CLASSES):
            files = list_images(root / part / name)
            paths += files
            labels += [label] * len(files)
    return Found(file_ids(paths, (32, 32)), np.array(labels, dtype=np.int64), CLASSES, file_reader(paths))


def protocol(found: Found) -> Split:
    """Split as the paper does: 100 queries a class, the rest database, of which 500 a class for training."""
    return class_split(found.ids, found.labels, seed=42, n_query=100, n_train=500)


def _find_batches(root: Path, download: bool) -> Found:
    from torchvision import datasets  # type: ignore[import-untyped]

    def batches(train: bool) -> Any:
        return datasets.CIFAR10(root, train=train, download=download)

    expected = "CIFAR-10 as train/CLASS/* and test/CLASS/*, or torchvision's cifar-10-batches-py"
    parts = [try_download(partial(batches, train), root, expected) for train in (True, False)]
    for part in parts:
        if tuple(part.classes) != CLASSES:
            raise ValueError(f"{root}: expected the classes {CLASSES}, got {part.classes}")
    images = np.concatenate([part.data for part in parts])
    labels = np.concatenate([part.targets for part in parts]).astype(np.int64)
    return Found(array_ids(images), labels, CLASSES, ArrayReader(images))


CIFAR10 = CommittedSet(
    name="cifar10",
    find=find,
    rule=protocol,
    rule_text="class_split by SHA-256 of the RGB pixels, seed 42; a class: 100 queries, the rest "
    "database, 500 of it for training",
    by_pixels=True,
    top_k=1000,
    licence="CIFAR-10 names no licence; its authors ask users to cite the technical report",
    citation="A. Krizhevsky: Learning Multiple Layers of Features from Tiny Images, technical report, University of "
    "Toronto, 2009",
)
