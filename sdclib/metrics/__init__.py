"""Retrieval metrics that are exact under ties, and similarity statistics; all by counting distances.

Order of the data: `relevance` and `distances` make blocks, `counting` counts them, `ties` and
`average_precision` or `ranking` turn counts into figures; `order` and `cosine` rank without ties.
"""

from sdclib.metrics.average_precision import mean_average_precision
from sdclib.metrics.cosine import cosine_mean_average_precision, cosine_pair_histograms
from sdclib.metrics.counting import PairCounts, count_pairs
from sdclib.metrics.ranking import (
    hit_rate_at_k,
    precision_at_k,
    recall_at_k,
)
from sdclib.metrics.similarity import (
    MeanAndStd,
    PairHistograms,
    intersection,
    mean_and_std,
    overlap_auc,
    pair_histograms,
)

__all__ = [
    "MeanAndStd",
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
]
