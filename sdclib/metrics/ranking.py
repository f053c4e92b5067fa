"""Precision, recall and hit rate at k, and precision by Hamming radius; exact under ties, from counts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sdclib.checks import check_int, check_name
from sdclib.metrics.counting import PairCounts, as_counts
from sdclib.metrics.order import index_rankings
from sdclib.metrics.policies import EMPTY, TIES, check_top_k, summarise
from sdclib.metrics.relevance import Relevant
from sdclib.metrics.ties import cut_groups, divided_hits

__all__ = [
    "hit_rate_at_k",
    "precision_at_k",
    "recall_at_k",
]


def precision_at_k(
    query_codes: ArrayLike | PairCounts,
    database_codes: ArrayLike | None = None,
    relevant: Relevant | None = None,
    *,
    k: int,
    ties: str = "expected",
    empty: str = "zero",
    n_bits: int | None = None,
    junk: Sequence[ArrayLike] | None = None,
    per_query: bool = False,
) -> float | NDArray[np.float64]:
    """Share of relevant items among the first k, mean over queries.

    Parameters
    ----------
    query_codes, database_codes, relevant, n_bits, junk, per_query
        As in `mean_average_precision`; `query_codes` may be the result of `count_pairs`, alone.
    k : int
        At most the size of the database.
    ties : {"expected", "optimistic", "pessimistic", "index"}
        Exact mean, maximum or minimum over all orders of tied items; or tied items by database index.
    empty : {"zero", "skip", "error"}
        What a query without any relevant item counts: 0; left out (NaN in the vector); ValueError.

    Returns
    -------
    float, or ndarray of shape (n_query,), float64
        From 0 to 1. The divisor is k, also where junk leaves fewer than k items.

    Raises
    ------
    ValueError
        If an argument is not as described, or `k` is larger than the database.

    References
    ----------
    McSherry and Najork, ECIR 2008.
    """
    hits, _, n_relevant = _hits_at_k(query_codes, database_codes, relevant, k, ties, empty, n_bits, junk)
    return summarise(hits / k, n_relevant == 0, empty, per_query)


def recall_at_k(
    query_codes: ArrayLike | PairCounts,
    database_codes: ArrayLike | None = None,
    relevant: Relevant | None = None,
    *,
    k: int,
    ties: str = "expected",
    empty: str = "zero",
    n_bits: int | None = None,
    junk: Sequence[ArrayLike] | None = None,
    per_query: bool = False,
) -> float | NDArray[np.float64]:
    """Relevant items among the first k, divided by all relevant items; mean over queries.

    Parameters, returned value, errors and source as `precision_at_k`. Some papers call `hit_rate_at_k` recall@k.
    """
    hits, _, n_relevant = _hits_at_k(query_codes, database_codes, relevant, k, ties, empty, n_bits, junk)
    return summarise(hits / np.maximum(n_relevant, 1), n_relevant == 0, empty, per_query)


def hit_rate_at_k(
    query_codes: ArrayLike | PairCounts,
    database_codes: ArrayLike | None = None,
    relevant: Relevant | None = None,
    *,
    k: int,
    ties: str = "expected",
    empty: str = "zero",
    n_bits: int | None = None,
    junk: Sequence[ArrayLike] | None = None,
    per_query: bool = False,
) -> float | NDArray[np.float64]:
    """Share of queries with at least one relevant item among the first k.

    With `ties="expected"`, the exact probability of it over tie orders. Parameters, returned value, errors and
    source as `precision_at_k`.
    """
    _, any_hit, n_relevant = _hits_at_k(query_codes, database_codes, relevant, k, ties, empty, n_bits, junk)
    return summarise(any_hit, n_relevant == 0, empty, per_query)


def _hits_at_k(
    query_codes: ArrayLike | PairCounts,
    database_codes: ArrayLike | None,
    relevant: Relevant | None,
    k: int,
    ties: str,
    empty: str,
    n_bits: int | None,
    junk: Sequence[ArrayLike] | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Count hits: their (mean) number, the probability of any, and all relevant items, each of shape (n_query,)."""
    check_name(ties, "ties", TIES)
    check_name(empty, "empty", EMPTY)
    k = check_int(k, "k", minimum=1)
    if ties == "index":
        rankings, n_relevant, _ = index_rankings(
            query_codes, database_codes, relevant, top_k=k, n_bits=n_bits, junk=junk, name="k"
        )
        found = np.array([np.count_nonzero(hits) for hits in rankings], dtype=np.float64)
        return found, (found > 0).astype(np.float64), n_relevant
    counts = as_counts(query_codes, database_codes, relevant, n_bits, junk)
    _, divided = cut_groups(counts, check_top_k(k, counts.n_database, "k"))
    n_relevant = counts.relevant.sum(axis=1)
    if ties == "expected":
        found = divided.hits_before + divided.relevant * divided.taken / np.maximum(divided.items, 1)
        any_hit = (divided.hits_before > 0).astype(np.float64)
        for rows, hits, probabilities in divided_hits(divided):
            none = (probabilities * (hits == 0)).sum(axis=1)
            any_hit[rows] = np.where(divided.hits_before[rows] > 0, 1.0, 1 - none)
        return found, any_hit, n_relevant
    most_or_fewest = divided.most() if ties == "optimistic" else divided.fewest()
    found = (divided.hits_before + most_or_fewest).astype(np.float64)
    return found, (found > 0).astype(np.float64), n_relevant
