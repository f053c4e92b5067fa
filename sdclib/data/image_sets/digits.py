"""Handwritten digits that come with scikit-learn: a small set of real images that is there on every machine."""

from __future__ import annotations

import numpy as np

from sdclib.data.image_sets.committed import in_split_order
from sdclib.data.image_sets.sources import ArrayReader, array_ids
from sdclib.data.images import ImageSet
from sdclib.data.splits import class_split

__all__ = ["load_digits"]


def load_digits() -> ImageSet:
    """Make an image set of 600 of the 1,797 digits: a class 10 queries and a database of 50, 20 of it for training.

    The images have 8 x 8 pixels. They are split by `sdclib.data.splits.class_split`, seed 42, so the split is the same
    everywhere. The set shows how features are made and looked at; nobody should compare methods on it.

    Returns
    -------
    ImageSet
    """
    from sklearn import datasets

    digits = datasets.load_digits()
    pixels = np.round(digits.images * 255 / 16).astype(np.uint8)
    labels = digits.target.astype(np.int64)
    ids = array_ids(pixels)
    _, first = np.unique(ids, return_index=True)  # no image twice
    kept = np.sort(first)
    ids, labels, pixels = [ids[i] for i in kept], labels[kept], pixels[kept]
    split = class_split(ids, labels, seed=42, n_query=10, n_train=20, n_database=50)
    order, split = in_split_order(split)
    return ImageSet(
        name="digits",
        ids=tuple(ids[i] for i in order),
        read=ArrayReader(pixels[order]),
        labels=labels[order],
        query=split.query,
        database=split.database,
        train_index=split.train_index,
        top_k=50,
        licence="CC BY 4.0 (UCI Machine Learning Repository)",
        citation="E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, "
        "1998",
        class_names=tuple("0123456789"),
    )
