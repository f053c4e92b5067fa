"""A database without the rows that were trained on, for methods that learn from labels."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np

from sdclib.features import FeatureSet

__all__ = ["UNSEEN", "leave_out_training"]

UNSEEN = "+unseen"


def leave_out_training(features: FeatureSet) -> FeatureSet:
    """Take the training rows out of every query's ranking, as junk; training itself stays as it is.

    A method that has seen the labels of training rows ranks them better than it would rank new images. What is left
    of the database are rows of which it has seen neither features nor labels.

    Parameters
    ----------
    features : FeatureSet
        With labels, and more database rows than training rows.

    Returns
    -------
    FeatureSet
        Named NAME+unseen, with the same R.

    Raises
    ------
    ValueError
        If relevance is not by labels, no training row lies in the database, or fewer than R other rows do.
    """
    if features.ground_truth is not None or features.database_labels.shape[1:] == (0,):
        raise ValueError(f"features: expected relevance by labels, but {features.name} has none")
    if not len(features.train_index):
        raise ValueError(f"features: expected training rows in the database of {features.name}, found none")
    left = len(features.database) - len(features.train_index)
    if left < features.top_k:
        raise ValueError(
            f"features: expected at least R = {features.top_k} database rows that are not for training in "
            f"{features.name}, found {left}"
        )
    trained = np.sort(features.train_index)
    before = features.junk or (trained[:0],) * len(features.query)
    return dataclasses.replace(
        features,
        name=f"{features.name}{UNSEEN}",
        junk=tuple(np.union1d(trained, junk) if len(junk) else trained for junk in before),
        sha256=hashlib.sha256(f"{features.sha256}{UNSEEN}".encode()).hexdigest(),
    )
