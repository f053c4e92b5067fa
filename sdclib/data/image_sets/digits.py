"""Handwritten digits that come with scikit-learn: a small set of real images that is there on every machine."""

from __future__ import annotations

import numpy as np

from sdclib.data.image_sets.sources import LOADERS, Found, array_ids, array_reader, split_images
from sdclib.data.images import ImageSet
from sdclib.data.splits import class_split

__all__ = ["load_digits"]


def load_digits() -> ImageSet:
    """Make an image set of 600 of the 1,797 digits: a class 10 queries and a database of 50, 20 of it for training.

    The images have 8 x 8 pixels. They are split by `sdclib.data.splits.class_split`, seed 42, so the split is the same
    everywhere. The set shows how features are made and looked at; nobody should compare methods on it.
    """
    from sklearn import datasets

    digits = datasets.load_digits()
    pixels = np.round(digits.images * 255 / 16).astype(np.uint8)
    kept = np.sort(np.unique(array_ids(pixels), return_index=True)[1])  # no image twice
    pixels, labels = pixels[kept], digits.target[kept].astype(np.int64)
    found = Found(array_ids(pixels), labels, tuple("0123456789"), array_reader(pixels))
    split = class_split(found.ids, labels, seed=42, n_query=10, n_train=20, n_database=50)
    return split_images(
        found,
        split,
        name="digits",
        top_k=50,
        licence="CC BY 4.0 (UCI Machine Learning Repository)",
        citation="E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, "
        "1998",
    )


LOADERS["digits"] = load_digits
