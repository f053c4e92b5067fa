"""All that is measured of one retrieval: rankings, similarity collapse, use of bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd
from numpy.typing import ArrayLike

from sdclib.codes import bit_balance, unique_code_ratio
from sdclib.metrics import (
    PairHistograms,
    cosine_mean_average_precision,
    cosine_pair_histograms,
    count_pairs,
    intersection,
    mean_and_std,
    mean_average_precision,
    overlap_auc,
    pair_histograms,
)
from sdclib.metrics.relevance import Relevant

__all__ = ["EVALUATION_VERSION", "evaluate_codes", "evaluate_features"]

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
    denominator: str = "retrieved",
    empty: str = "zero",
) -> tuple[dict[str, float], pd.DataFrame]:
    """Measure codes.

    Parameters
    ----------
    query_codes, database_codes : array-like, shapes (n_query, n_bits), (n_database, n_bits), values 0 and 1
    relevant : tuple of two arrays, or list of index arrays
        Query and database labels; or the relevant items of each query.
    top_k : int
        The R of mAP@R.
    junk : sequence of index arrays, optional
        Items that are taken out of each query's ranking.
    denominator, empty : str
        The set's protocol, see `sdclib.metrics.mean_average_precision`; the defaults are the authors' for sets with
        one label an image.

    Returns
    -------
    metrics : dict
        All in [0, 1] but the similarities' means and spreads. ``map_authors``: AP over the first R, ties by index,
        divided by the hits among them, 0 for a query without hit (the authors' definition), or as the set's
        protocol has it. ``map_expected``,
        ``map_optimistic``, ``map_pessimistic``: the same AP, as mean, maximum and minimum over all orders of ties.
        ``intersection``, ``overlap_auc``, ``{positive,negative,all}_{mean,std}``: of the pairs' similarities.
        ``bit_balance``, ``unique_code_ratio``: of the database codes.
    histogram : DataFrame
        similarity, positive, negative: pair counts in n_bits + 1 bins.
    """
    counts = count_pairs(query_codes, database_codes, relevant, junk=junk)
    authors: Any = {"top_k": top_k, "denominator": denominator, "empty": empty}
    metrics = {
        f"map_{ties}": float(mean_average_precision(counts, ties=ties, **authors))
        for ties in ("expected", "optimistic", "pessimistic")
    }
    metrics["map_authors"] = float(
        mean_average_precision(query_codes, database_codes, relevant, ties="index", junk=junk, **authors)
    )
    histograms = pair_histograms(counts)
    metrics |= _similarity_metrics(histograms)
    metrics["bit_balance"] = bit_balance(database_codes)
    metrics["unique_code_ratio"] = unique_code_ratio(database_codes)
    return metrics, _table(histograms)


def evaluate_features(
    query: ArrayLike,
    database: ArrayLike,
    relevant: Relevant,
    top_k: int,
    *,
    junk: Sequence[ArrayLike] | None = None,
    denominator: str = "retrieved",
    empty: str = "zero",
) -> tuple[dict[str, float], pd.DataFrame]:
    """Measure float features ranked by cosine similarity, see `evaluate_codes`.

    Float similarities hardly tie, so all four kinds of mAP are one figure. The histogram has 200 bins on [-1, 1].
    """
    value = float(
        cosine_mean_average_precision(
            query, database, relevant, top_k=top_k, denominator=denominator, empty=empty, junk=junk
        )
    )
    metrics = {f"map_{ties}": value for ties in ("expected", "optimistic", "pessimistic", "authors")}
    histograms = cosine_pair_histograms(query, database, relevant, n_bins=200, junk=junk)
    return metrics | _similarity_metrics(histograms), _table(histograms)


def _similarity_metrics(histograms: PairHistograms) -> dict[str, float]:
    return {
        "intersection": intersection(histograms),
        "overlap_auc": overlap_auc(histograms),
        **asdict(mean_and_std(histograms)),
    }


def _table(histograms: PairHistograms) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "similarity": histograms.values,  # noqa: PD011 - not a pandas object
            "positive": histograms.positive,
            "negative": histograms.negative,
        }
    )
