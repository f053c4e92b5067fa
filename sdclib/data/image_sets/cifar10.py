"""CIFAR-10, train and test pooled: the images as published, from class folders or torchvision's files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sdclib.data.image_sets.committed import CommittedSet, register
from sdclib.data.image_sets.sources import ArrayReader, Found, array_ids, file_ids, list_images, try_download
from sdclib.data.images import file_reader
from sdclib.data.plain_pickle import read_plain_pickle
from sdclib.data.splits import Split, class_split

__all__ = ["CIFAR10", "CLASSES", "find", "protocol"]

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
BATCHES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")


def find(root: Path, download: bool) -> Found:
    """Find the images ``root/{train,test}/CLASS/*``, or torchvision's ``root/cifar-10-batches-py``.

    Raises
    ------
    ValueError
        If neither is there (and cannot be downloaded), or a file is broken; the message names it and what to do.
    """
    expected = "CIFAR-10 as train/CLASS/* and test/CLASS/*, or torchvision's cifar-10-batches-py"
    batches = root / "cifar-10-batches-py"
    if not (root / "train").is_dir():
        if download and not batches.is_dir():
            from torchvision.datasets import CIFAR10  # type: ignore[import-untyped]

            try_download(lambda: CIFAR10(root, download=True), root, expected)
        if batches.is_dir():
            return _read_batches(batches)
        raise ValueError(f"{root}: expected {expected}, found neither; download=True fetches the latter")
    paths, labels = [], []
    for part in ("train", "test"):
        for label, name in enumerate(CLASSES):
            files = list_images(root / part / name)
            paths += files
            labels += [label] * len(files)
    return Found(file_ids(paths, (32, 32)), np.array(labels, dtype=np.int64), CLASSES, file_reader(paths))


def _read_batches(folder: Path) -> Found:
    images, labels = [], []
    for name in BATCHES:
        try:
            batch = read_plain_pickle(folder / name)
            pixels = np.asarray(batch["data"], dtype=np.uint8).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
            classes = np.asarray(batch["labels"], dtype=np.int64)
            if classes.shape != pixels.shape[:1]:
                raise ValueError(f"{len(pixels)} images with labels of shape {classes.shape}")
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{folder / name}: missing or damaged file of CIFAR-10; delete {folder} and load the set with "
                f"download=True, or unpack cifar-10-python.tar.gz again ({error})"
            ) from error
        images.append(pixels)
        labels.append(classes)
    pooled = np.concatenate(images)
    return Found(array_ids(pooled), np.concatenate(labels), CLASSES, ArrayReader(pooled))


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
