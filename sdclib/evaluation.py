"""All that is measured of one retrieval: rankings, similarity collapse, use of bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd
from numpy.typing import ArrayLike

from sdclib.codes import bit_balance, unique_code_ratio
from sdclib.metrics import (
    PairHistograms,
    cosine_pair_histograms,
    count_pairs,
    intersection,
    mean_and_std,
    mean_average_precision,
    overlap_auc,
    pair_histograms,
)
from sdclib.metrics.ranking import TIES, average_precisions, cosine_pairs
from sdclib.metrics.relevance import Relevant

__all__ = ["EVALUATION_VERSION", "evaluate_codes", "evaluate_features", "histogram_table"]

# To be raised by hand when a metric is added or gives another value; a sweep then measures the codes of its records
# again, without fitting.
EVALUATION_VERSION = 1


def evaluate_codes(
    query_codes: ArrayLike,
    database_codes: ArrayLike,
    relevant: Relevant,
    top_k: int,
    *,
    junk: Sequence[ArrayLike] | None = None,
    denominator: str = "relevant",
    empty: str = "zero",
) -> tuple[dict[str, float], pd.DataFrame]:
    """Measure codes.

    Parameters
    ----------
    query_codes, database_codes : array-like, shapes (n_query, n_bits), (n_database, n_bits), values 0 and 1
    relevant, top_k, junk, denominator, empty
        As in `sdclib.metrics.mean_average_precision`. A feature set has those of its protocol.

    Returns
    -------
    metrics : dict
        ``map_expected``, ``map_optimistic``, ``map_pessimistic``, ``map_authors``: mAP@R for the mean, best and worst
        order of ties, and that by index, as the authors have it.
        ``intersection``, ``overlap_auc``, ``{positive,negative,all}_{mean,std}``: of the pairs' similarities; NaN
        for what needs a kind of pair that there is not, as in data of one class.
        ``bit_balance``, ``unique_code_ratio``: of the database codes.
    histogram : DataFrame
        similarity, positive, negative: pair counts in n_bits + 1 bins.
    """
    counts = count_pairs(query_codes, database_codes, relevant, junk=junk)
    protocol: Any = {"top_k": top_k, "denominator": denominator, "empty": empty}
    values = {ties: mean_average_precision(counts, ties=ties, **protocol) for ties in TIES[:3]}
    values["index"] = mean_average_precision(
        query_codes, database_codes, relevant, ties="index", junk=junk, **protocol
    )
    histograms = pair_histograms(counts)
    use = {"bit_balance": bit_balance(database_codes), "unique_code_ratio": unique_code_ratio(database_codes)}
    return _metrics(values, histograms) | use, histogram_table(histograms)


def evaluate_features(
    query: ArrayLike,
    database: ArrayLike,
    relevant: Relevant,
    top_k: int,
    *,
    junk: Sequence[ArrayLike] | None = None,
    denominator: str = "relevant",
    empty: str = "zero",
) -> tuple[dict[str, float], pd.DataFrame]:
    """Measure float features ranked by cosine similarity, see `evaluate_codes`.

    Ties are those of float32. The histogram has 200 bins on [-1, 1].
    """
    pairs = cosine_pairs(query, database, relevant, junk)
    values = average_precisions(*pairs, TIES, top_k, denominator, empty)
    histograms = cosine_pair_histograms(query, database, relevant, n_bins=200, junk=junk)
    return _metrics(values, histograms), histogram_table(histograms)


def _metrics(values: Mapping[str, Any], histograms: PairHistograms) -> dict[str, float]:
    return {
        **{f"map_{'authors' if ties == 'index' else ties}": float(value) for ties, value in values.items()},
        "intersection": intersection(histograms),
        "overlap_auc": overlap_auc(histograms),
        **asdict(mean_and_std(histograms)),
    }


def histogram_table(histograms: PairHistograms) -> pd.DataFrame:
    """Make a table of histograms: similarity, positive, negative."""
    return pd.DataFrame(
        {
            "similarity": histograms.values,  # noqa: PD011 - not a pandas object
            "positive": histograms.positive,
            "negative": histograms.negative,
        }
    )
