"""Similarity collapse: histograms of the similarities of positive and negative pairs, and their overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sdclib.metrics.counts import PairCounts, as_counts
from sdclib.metrics.relevance import Relevant

__all__ = ["MeanAndStd", "PairHistograms", "intersection", "mean_and_std", "overlap_auc", "pair_histograms"]


@dataclass(frozen=True, eq=False)
class PairHistograms:
    """Histograms of the similarity of positive (relevant) and negative (other) query-database pairs.

    Attributes
    ----------
    values : ndarray, shape (n_bins,), float64
        Similarity of each bin, ascending, from -1 to 1.
    positive, negative : ndarray, shape (n_bins,), int64
        Pairs in each bin.
    """

    values: NDArray[np.float64]
    positive: NDArray[np.int64]
    negative: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.values.ndim != 1 or not self.values.shape == self.positive.shape == self.negative.shape:
            raise ValueError(
                "values, positive, negative: expected one shape (n_bins,), "
                f"got {self.values.shape}, {self.positive.shape}, {self.negative.shape}"
            )


@dataclass(frozen=True)
class MeanAndStd:
    """Mean and standard deviation (population, not sample) of the similarity, by kind of pair."""

    positive_mean: float
    positive_std: float
    negative_mean: float
    negative_std: float
    all_mean: float
    all_std: float


def pair_histograms(
    query_codes: ArrayLike | PairCounts,
    database_codes: ArrayLike | None = None,
    relevant: Relevant | None = None,
    *,
    n_bits: int | None = None,
    junk: Sequence[ArrayLike] | None = None,
) -> PairHistograms:
    """Histograms of code similarity over all query-database pairs, exact; junk is in neither.

    The similarity of two codes at Hamming distance d is 1 - 2 d / n_bits, the cosine of their +-1 forms; the
    n_bits + 1 possible values are the bins. Arguments and errors are those of `count_pairs`; or its result, alone.
    """
    counts = as_counts(query_codes, database_codes, relevant, n_bits, junk)
    positive = counts.relevant.sum(axis=0)[::-1]
    every = counts.all.sum(axis=0)[::-1]
    values = 1 - 2 * np.arange(counts.n_bits, -1, -1) / counts.n_bits
    return PairHistograms(values, positive=positive.copy(), negative=every - positive)


def intersection(histograms: PairHistograms) -> float:
    """Sum over bins of min(p_positive, p_negative), both histograms normalised to sum 1.

    0: no bin holds both kinds of pair; 1: the same distribution; NaN: there is only one kind. It depends on the bins,
    so compare it only at one code length (or number of bins).

    References
    ----------
    Ng et al., "Unsupervised hashing with similarity distribution calibration", BMVC 2023 (as a measure of
    similarity collapse); Swain and Ballard, "Color indexing", IJCV 1991.
    """
    return float(np.minimum(_shares(histograms.positive), _shares(histograms.negative)).sum())


def overlap_auc(histograms: PairHistograms) -> float:
    """P(a random positive pair is more similar than a random negative pair) + P(they are in one bin) / 2.

    1: every positive pair above every negative one; 0.5: chance; NaN: there is only one kind. For codes exact over all
    pairs, of all queries together.
    """
    positive, negative = _shares(histograms.positive), _shares(histograms.negative)
    below = np.cumsum(negative) - negative
    return float(np.sum(positive * (below + negative / 2)))


def mean_and_std(histograms: PairHistograms) -> MeanAndStd:
    """Mean and spread of the similarity of positive, negative and all pairs; NaN where there are none."""
    figures: list[float] = []
    for counts in (histograms.positive, histograms.negative, histograms.positive + histograms.negative):
        p = _shares(counts)
        mean = float(np.sum(p * histograms.values))
        figures += [mean, float(np.sqrt(np.sum(p * (histograms.values - mean) ** 2)))]
    return MeanAndStd(*figures)


def _shares(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Divide counts by their sum; NaN where it is 0."""
    with np.errstate(invalid="ignore"):
        return np.asarray(counts / counts.sum(), dtype=np.float64)
