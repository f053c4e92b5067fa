"""How well the teacher of SDC by neighbours ranks training rows: what its two numbers were chosen by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from sdclib.data.features import FeatureSet
from sdclib.methods.neighbours import smooth_over_neighbours
from sdclib.metrics.ranking import cosine_mean_average_precision

__all__ = ["teacher_quality"]


def teacher_quality(
    features: FeatureSet,
    n_neighbors: Sequence[int] = (5, 10, 20, 40),
    n_steps: Sequence[int] = (0, 1, 2, 4, 8),
    *,
    n_asked: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Rank training rows by the teacher's cosine to other training rows; no query and no other database row is seen.

    Parameters
    ----------
    features : FeatureSet
        With labels of its training rows.
    n_neighbors, n_steps : sequence of int
        See `sdclib.methods.neighbours.smooth_over_neighbours`.
    n_asked : int
        Training rows that are ranked against the others, at most half of them.
    seed : int
        Draws them.

    Returns
    -------
    DataFrame
        n_neighbors, n_steps, map (in [0, 1], at the set's R in proportion to the training rows), top_k.

    Raises
    ------
    ValueError
        If the training rows have no labels.
    """
    labels = features.database_labels[features.train_index]
    if not len(labels) or labels.shape[1:] == (0,):
        raise ValueError(f"features: expected labels of the training rows of {features.name}, found none")
    order = np.random.default_rng(seed).permutation(len(labels))
    asked, others = np.split(order, [min(n_asked, len(order) // 2)])
    top_k = max(1, round(features.top_k * len(others) / len(features.database)))
    centred = features.train - features.train.mean(axis=0)
    rows = []
    for n in n_neighbors:
        for steps in n_steps:
            teacher = smooth_over_neighbours(centred, n, steps)
            value = cosine_mean_average_precision(
                teacher[asked],
                teacher[others],
                (labels[asked], labels[others]),
                top_k=top_k,
                denominator=features.denominator,
            )
            rows.append({"n_neighbors": n, "n_steps": steps, "map": value, "top_k": top_k})
    return pd.DataFrame(rows)
