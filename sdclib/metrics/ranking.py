"""Precision, recall and hit rate at k, and precision by Hamming radius; exact under ties, from counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sdclib.checks import check_int, check_name
from sdclib.metrics.counting import PairCounts, as_counts
from sdclib.metrics.order import index_rankings
from sdclib.metrics.policies import EMPTY, TIES, check_top_k, summarise
from sdclib.metrics.relevance import Relevant
from sdclib.metrics.ties import cut_groups, divided_hits

__all__ = [
    "PrecisionRecallCurve",
    "hit_rate_at_k",
    "precision_at_k",
    "precision_by_radius",
    "precision_recall_curve",
    "precision_within_radius",
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


@dataclass(frozen=True, eq=False)
class PrecisionRecallCurve:
    """Precision and recall of hash lookup, by Hamming radius; no tie is ever divided.

    Attributes
    ----------
    radius : ndarray, shape (n_bits + 1,), int64
        0, ..., n_bits.
    precision, recall : ndarray, shape (n_bits + 1,), float64
        Means over queries.
    """

    radius: NDArray[np.int64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]


def precision_recall_curve(
    query_codes: ArrayLike | PairCounts,
    database_codes: ArrayLike | None = None,
    relevant: Relevant | None = None,
    *,
    empty: str = "zero",
    n_bits: int | None = None,
    junk: Sequence[ArrayLike] | None = None,
) -> PrecisionRecallCurve:
    """Precision and recall within every Hamming radius, mean over queries.

    Parameters
    ----------
    query_codes, database_codes, relevant, n_bits, junk
        As in `mean_average_precision`; `query_codes` may be the result of `count_pairs`, alone.
    empty : {"zero", "skip", "error"}
        Recall: what a query without any relevant item counts. Precision: see `precision_by_radius`, but "error"
        only looks for queries without any relevant item, and counts 0 where nothing lies within the radius.

    Returns
    -------
    PrecisionRecallCurve

    Raises
    ------
    ValueError
        If an argument is not as described.
    """
    check_name(empty, "empty", EMPTY)
    counts = as_counts(query_codes, database_codes, relevant, n_bits, junk)
    n_relevant = counts.relevant.sum(axis=1)
    recall = np.cumsum(counts.relevant, axis=1) / np.maximum(n_relevant, 1)[:, None]
    without = np.broadcast_to((n_relevant == 0)[:, None], recall.shape)
    mean_recall = _summarise_columns(recall, without, empty)
    precision, is_empty = _precision_by_radius(counts)
    return PrecisionRecallCurve(
        np.arange(counts.n_bits + 1),
        precision=_summarise_columns(precision, is_empty, "zero" if empty == "error" else empty),
        recall=mean_recall,
    )


def precision_by_radius(
    query_codes: ArrayLike | PairCounts,
    database_codes: ArrayLike | None = None,
    relevant: Relevant | None = None,
    *,
    empty: str = "zero",
    n_bits: int | None = None,
    junk: Sequence[ArrayLike] | None = None,
    per_query: bool = False,
) -> NDArray[np.float64]:
    """Precision within every Hamming radius 0, ..., n_bits, mean over queries.

    Parameters
    ----------
    query_codes, database_codes, relevant, n_bits, junk, per_query
        As in `mean_average_precision`; `query_codes` may be the result of `count_pairs`, alone.
    empty : {"zero", "skip", "error"}
        What a query counts at a radius within which nothing lies (or without any relevant item at all): 0; left
        out of that radius's mean (NaN in the matrix, and for a radius where every query is left out); ValueError.

    Returns
    -------
    ndarray, shape (n_bits + 1,), or (n_query, n_bits + 1) with `per_query`, float64

    Raises
    ------
    ValueError
        If an argument is not as described.
    """
    check_name(empty, "empty", EMPTY)
    precision, is_empty = _precision_by_radius(as_counts(query_codes, database_codes, relevant, n_bits, junk))
    if not per_query:
        return _summarise_columns(precision, is_empty, empty)
    _refuse_empty(is_empty, empty)
    return np.where(is_empty, np.nan, precision) if empty == "skip" else precision


def precision_within_radius(
    query_codes: ArrayLike | PairCounts,
    database_codes: ArrayLike | None = None,
    relevant: Relevant | None = None,
    *,
    radius: int = 2,
    empty: str = "zero",
    n_bits: int | None = None,
    junk: Sequence[ArrayLike] | None = None,
    per_query: bool = False,
) -> float | NDArray[np.float64]:
    """Share of relevant items among those within a Hamming radius ("precision of hash lookup"), mean over queries.

    Parameters
    ----------
    query_codes, database_codes, relevant, n_bits, junk, per_query
        As in `mean_average_precision`; `query_codes` may be the result of `count_pairs`, alone.
    radius : int
        From 0 to n_bits, itself included.
    empty : {"zero", "skip", "error"}
        What a query counts within whose radius nothing lies (or that has no relevant item at all): 0, the usual
        convention; left out (NaN in the vector); ValueError.

    Returns
    -------
    float, or ndarray of shape (n_query,), float64

    Raises
    ------
    ValueError
        If an argument is not as described.
    """
    check_name(empty, "empty", EMPTY)
    radius = check_int(radius, "radius", minimum=0)
    counts = as_counts(query_codes, database_codes, relevant, n_bits, junk)
    if radius > counts.n_bits:
        raise ValueError(f"radius: expected at most n_bits = {counts.n_bits}, got {radius}")
    precision, is_empty = _precision_by_radius(counts)
    return summarise(precision[:, radius], is_empty[:, radius], empty, per_query)


def _precision_by_radius(counts: PairCounts) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Precision (0 where empty) and emptiness, both of shape (n_query, n_bits + 1)."""
    within = np.cumsum(counts.all, axis=1)
    precision = np.cumsum(counts.relevant, axis=1) / np.maximum(within, 1)
    return precision, (within == 0) | (counts.relevant.sum(axis=1) == 0)[:, None]


def _refuse_empty(is_empty: NDArray[np.bool_], empty: str) -> None:
    if empty == "error" and is_empty.any():
        query, radius = np.argwhere(is_empty)[0]
        raise ValueError(
            "relevant: expected an answer for every query and radius (empty='error'), "
            f"got {is_empty.sum()} empty, first is query {query} at radius {radius}"
        )


def _summarise_columns(
    values: NDArray[np.float64], is_empty: NDArray[np.bool_], empty: str
) -> NDArray[np.float64]:
    """Mean over queries for each radius."""
    _refuse_empty(is_empty, empty)
    if empty != "skip":
        return np.where(is_empty, 0.0, values).mean(axis=0)
    kept = np.count_nonzero(~is_empty, axis=0)
    sums = np.where(is_empty, 0.0, values).sum(axis=0)
    return np.divide(sums, kept, out=np.full(kept.shape, np.nan), where=kept > 0)
