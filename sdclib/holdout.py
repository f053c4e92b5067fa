"""A held-out part of the training rows, for tuning without a look at queries."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
from numpy.typing import NDArray

from sdclib.features import FeatureSet
from sdclib.splits import seeded_order

__all__ = ["hold_out", "holdout_rows"]

SHARE = 0.1  # of the training rows


def holdout_rows(n: int, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Choose which of `n` training rows become queries (a tenth, at least one), and which stay for training.

    Rows are ordered by `sdclib.splits.seeded_order`, the same on every machine.

    Returns
    -------
    query, train : ndarray, int64
        Ascending; together 0 to n - 1.

    Raises
    ------
    ValueError
        If there are fewer than two rows.
    """
    if n < 2:
        raise ValueError(f"n: expected at least 2 training rows to hold one out, got {n}")
    order, n_query = seeded_order(n, seed), max(1, round(SHARE * n))
    return np.sort(order[:n_query]), np.sort(order[n_query:])


def hold_out(features: FeatureSet, seed: int = 0) -> FeatureSet:
    """Make a feature set of the training rows alone: a tenth are queries, the rest database and for training.

    R becomes the same share of the smaller database. No query and no other database row of the set is in it, so
    whatever is chosen on it has seen neither.

    Parameters
    ----------
    features : FeatureSet
        With labels of its training rows, that is, with training rows in the database.
    seed : int
        See `holdout_rows`.

    Returns
    -------
    FeatureSet
        Named NAME+holdout.

    Raises
    ------
    ValueError
        If the training rows have no labels.
    """
    labels = features.database_labels[features.train_index]
    if not len(labels) or labels.shape[1:] == (0,):
        raise ValueError(
            f"features: expected labelled training rows in the database of {features.name}, found none to tune on"
        )
    rows = features.train
    query, train = holdout_rows(len(rows), seed)
    return dataclasses.replace(
        features,
        name=f"{features.name}+holdout",
        query=rows[query],
        database=rows[train],
        query_labels=labels[query],
        database_labels=labels[train],
        train_index=np.arange(len(train)),
        top_k=max(1, round(features.top_k * len(train) / len(features.database))),
        sha256=hashlib.sha256(f"{features.sha256} holdout {SHARE} {seed}".encode()).hexdigest(),
        ground_truth=None,
        junk=None,
    )
