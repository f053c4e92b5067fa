"""CIFAR-10, train and test pooled: the images as published, from class folders or torchvision's files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sdclib.data.image_sets.committed import CommittedSet, register
from sdclib.data.image_sets.sources import (
    Found,
    array_ids,
    array_reader,
    by_torchvision,
    file_ids,
    list_images,
)
from sdclib.data.images import file_reader
from sdclib.data.splits import Split, class_split

__all__ = ["CIFAR10", "CLASSES", "find", "protocol"]

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def find(root: Path, download: bool) -> Found:
    """Find the images ``root/{train,test}/CLASS/*``, or torchvision's ``root/cifar-10-batches-py``.

    torchvision unpickles its files, but only those that have the published hash. ValueError that says what to do if
    neither is there (and cannot be downloaded), or a file is broken.
    """
    if (root / "train").is_dir():
        files = [list_images(root / part / name) for part in ("train", "test") for name in CLASSES]
        paths = [path for folder in files for path in folder]
        labels = np.repeat(np.tile(np.arange(len(CLASSES)), 2), list(map(len, files)))
        return Found(file_ids(paths, (32, 32)), labels, CLASSES, file_reader(paths))
    from torchvision.datasets import CIFAR10  # type: ignore[import-untyped]

    parts = by_torchvision(
        lambda: [CIFAR10(root, train=train, download=download) for train in (True, False)],
        root,
        "CIFAR-10 as train/CLASS/* and test/CLASS/*, or torchvision's cifar-10-batches-py",
    )
    images = np.concatenate([part.data for part in parts])
    labels = np.concatenate([part.targets for part in parts])
    return Found(array_ids(images), labels, CLASSES, array_reader(images))


def protocol(found: Found) -> Split:
    """Split as the paper does: 100 queries a class, the rest database, of which 500 a class for training."""
    return class_split(found.ids, found.labels, seed=42, n_query=100, n_train=500)


CIFAR10 = register(
    CommittedSet(
        name="cifar10",
        find=find,
        rule=protocol,
        rule_text="class_split by SHA-256 of the RGB pixels, seed 42; a class: 100 queries, the rest database, "
        "500 of it for training",
        by_pixels=True,
        top_k=1000,
        licence="CIFAR-10 names no licence; its authors ask users to cite the technical report",
        citation="A. Krizhevsky: Learning Multiple Layers of Features from Tiny Images, technical report, University "
        "of Toronto, 2009",
    )
)
