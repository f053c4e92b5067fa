"""Precision, recall and hit rate by the number of results, and precision by recall over Hamming radii."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sdclib.catalogue import load_features
from sdclib.data.features import FeatureSet
from sdclib.metrics.counts import count_pairs
from sdclib.metrics.ranking import hit_rate_at_k, precision_at_k, recall_at_k
from study.records import collect_measures
from study.runs import COSINE, RunSpec

__all__ = ["DEPTHS", "at_k", "collect_curves", "pooled_precision_recall"]

DEPTHS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


def at_k(
    query_codes: NDArray[np.uint8],
    database_codes: NDArray[np.uint8],
    features: FeatureSet,
    depths: Sequence[int] = DEPTHS,
) -> pd.DataFrame:
    """Measure precision@k, recall@k and hit rate@k, expected over all orders of ties.

    Parameters
    ----------
    query_codes, database_codes : ndarray, shapes (n_query, n_bits), (n_database, n_bits), uint8 in {0, 1}
    features : FeatureSet
        Whose queries and database the codes are of.
    depths : sequence of int
        Values of k; those above the size of the database are left out.

    Returns
    -------
    DataFrame
        k, precision, recall, hit_rate; from 0 to 1, means over queries.

    Raises
    ------
    ValueError
        If codes and features do not fit.
    """
    counts = count_pairs(query_codes, database_codes, features.relevant, junk=features.junk)
    rows = [
        {
            "k": k,
            "precision": precision_at_k(counts, k=k),
            "recall": recall_at_k(counts, k=k),
            "hit_rate": hit_rate_at_k(counts, k=k),
        }
        for k in depths
        if k <= len(database_codes)
    ]
    return pd.DataFrame(rows)


def collect_curves(specs: Iterable[RunSpec], runs: str | os.PathLike[str] | None = None) -> pd.DataFrame:
    """Collect `at_k` of all runs that made codes, from the codes of their records.

    Parameters
    ----------
    specs : iterable of RunSpec
        Those of float features are left out.
    runs : path-like, optional
        Folder of the records, `study.records.runs_folder` by default.

    Returns
    -------
    DataFrame
        One row a run and k: id, data, method, n_bits, seed, parameters, the columns of `at_k`, and commit,
        results_version, data_sha256, machine as in `study.records.collect_records`.

    Raises
    ------
    FileNotFoundError
        If the record of a run is missing.
    ValueError
        If no run made codes.
    """
    kept = [spec for spec in specs if spec.method != COSINE]
    if not kept:
        raise ValueError("specs: expected runs that made codes, got none")
    load = functools.lru_cache(maxsize=1)(load_features)  # one at a time: runs come set by set
    table = collect_measures(kept, lambda spec, query, database: at_k(query, database, load(spec.data)), runs)
    return table.drop(columns="top_k")  # it has no part in these figures


def pooled_precision_recall(histogram: pd.DataFrame) -> pd.DataFrame:
    """Precision and recall of all pairs within each Hamming radius, pooled over queries.

    Parameters
    ----------
    histogram : DataFrame
        similarity, positive, negative: counts of query-database pairs, as in the histograms beside a table of runs.

    Returns
    -------
    DataFrame
        similarity (the least within the radius), precision, recall; from the smallest radius that holds a pair on.

    Raises
    ------
    ValueError
        If there is no positive pair.
    """
    ordered = histogram.sort_values("similarity", ascending=False)
    positive, negative = ordered["positive"].cumsum(), ordered["negative"].cumsum()
    if not positive.iloc[-1] > 0:
        raise ValueError("histogram: expected positive pairs, got none")
    table = pd.DataFrame(
        {
            "similarity": ordered["similarity"],
            "precision": positive / (positive + negative),
            "recall": positive / positive.iloc[-1],
        }
    )
    return table[positive + negative > 0].reset_index(drop=True)
