"""Retrieval metrics that are exact under ties, and similarity statistics; all by counting distances.

Order of the data: `relevance` says what counts, `distances` and `histograms` how far away it is, `counts` adds up,
`ranking` and `collapse` turn counts into figures.
"""

from sdclib.metrics.collapse import (
    MeanAndStd,
    PairHistograms,
    intersection,
    mean_and_std,
    overlap_auc,
    pair_histograms,
)
from sdclib.metrics.counts import PairCounter, PairCounts, count_pairs
from sdclib.metrics.ranking import (
    cosine_mean_average_precision,
    cosine_pair_histograms,
    hit_rate_at_k,
    mean_average_precision,
    precision_at_k,
    recall_at_k,
    score_mean_average_precision,
)

__all__ = [
    "MeanAndStd",
    "PairCounter",
    "PairCounts",
    "PairHistograms",
    "cosine_mean_average_precision",
    "cosine_pair_histograms",
    "count_pairs",
    "hit_rate_at_k",
    "intersection",
    "mean_and_std",
    "mean_average_precision",
    "overlap_auc",
    "pair_histograms",
    "precision_at_k",
    "recall_at_k",
    "score_mean_average_precision",
]
