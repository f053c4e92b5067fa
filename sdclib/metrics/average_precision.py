"""Mean average precision of integer distances, exact under ties, from counts alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sdclib.checks import check_name
from sdclib.metrics.counting import PairCounts, as_counts
from sdclib.metrics.order import average_precision_of_hits, index_rankings
from sdclib.metrics.policies import DENOMINATORS, EMPTY, TIES, check_top_k, summarise
from sdclib.metrics.relevance import Relevant
from sdclib.metrics.ties import PRECISION_SUMS, cut_groups, divided_hits, harmonic_numbers

__all__ = ["mean_average_precision"]


def mean_average_precision(
    query_codes: ArrayLike | PairCounts,
    database_codes: ArrayLike | None = None,
    relevant: Relevant | None = None,
    *,
    top_k: int | None = None,
    ties: str = "expected",
    denominator: str = "relevant",
    empty: str = "zero",
    n_bits: int | None = None,
    junk: Sequence[ArrayLike] | None = None,
    per_query: bool = False,
) -> float | NDArray[np.float64]:
    """Mean average precision (mAP@R, mAP@all) of a ranking by Hamming distance.

    Average precision of a query = sum over the relevant items among the first R of the precision at their rank,
    divided by `denominator`. Items at one distance are tied; `ties` says which of their orders counts.

    Parameters
    ----------
    query_codes : array-like or PairCounts
        Codes of 0 and 1, shape (n_query, n_bits); or, with `n_bits` given, packed codes, uint8 of shape
        (n_query, ceil(n_bits / 8)). Or the result of `count_pairs` (then give no database, ground truth or
        junk), so that several metrics share one pass.
    database_codes : array-like
        Likewise, for the database. Queries must not be in it.
    relevant : tuple of two label arrays, or list of index arrays
        A tuple (query labels, database labels): both 1-D ids, or both 2-D 0/1 (relevant = shares a label).
        A list with one array a query: the indices of its relevant database items.
    top_k : int, optional
        R, at most the size of the database; None ranks the whole database (mAP@all).
    ties : {"expected", "optimistic", "pessimistic", "index"}
        "expected": the exact mean over all orders of tied items, all equally likely.
        "optimistic", "pessimistic": the exact maximum and minimum over these orders.
        "index": the one order in which tied items come by database index (a stable sort); needs codes.
    denominator : {"relevant", "retrieved", "R"}
        "relevant": the number of all relevant items in the database, junk left out, also where it is larger than
        R (not min(R, relevant items)). "retrieved": the number of relevant items among the first R, which
        depends on the order of ties; the mean, maximum or minimum is taken over the whole ratio. "R": `top_k`,
        or the size of the database where it is None.
    empty : {"zero", "skip", "error"}
        What a query counts that has no relevant item at all or, with "retrieved", none that any order of ties
        brings among the first R (for "index": none in its one order). "zero": 0. "skip": left out of the mean,
        NaN in the vector. "error": ValueError. An order without a hit counts 0 where another order has one.
    n_bits : int, optional
        Code length; says that codes are packed.
    junk : list of index arrays, optional
        One array a query: database items that are removed from its ranking before the cut. Where fewer than
        `top_k` items are left, all of them are ranked.
    per_query : bool
        Return the queries' values rather than their mean.

    Returns
    -------
    float, or ndarray of shape (n_query,), float64
        From 0 to 1.

    Raises
    ------
    ValueError
        If an argument is not as described (the message names it); if `top_k` is larger than the database; with
        `empty="error"` and an empty query; with `empty="skip"` and no other query.

    Notes
    -----
    For fixed codes, pessimistic <= expected <= optimistic holds for every query and denominator. With "retrieved"
    more hits can lower the ratio, so the bounds are searched over every possible number of hits in the tie group
    that the cut divides, and "expected" sums over its hypergeometric distribution.

    References
    ----------
    McSherry and Najork, "Computing information retrieval performance measures efficiently in the presence of
    tied scores", ECIR 2008; He, Cakir, Bargal, Sclaroff, "Hashing as tie-aware learning to rank", CVPR 2018.
    The "retrieved" denominator and the bounds are worked out here.
    """
    check_name(ties, "ties", TIES)
    check_name(denominator, "denominator", DENOMINATORS)
    check_name(empty, "empty", EMPTY)
    if ties != "index":
        counts = as_counts(query_codes, database_codes, relevant, n_bits, junk)
        top_k = check_top_k(top_k, counts.n_database)
        values, is_empty = average_precision_from_counts(counts, top_k, ties, denominator)
        return summarise(values, is_empty, empty, per_query)
    rankings, n_relevant, top_k = index_rankings(
        query_codes, database_codes, relevant, top_k=top_k, n_bits=n_bits, junk=junk
    )
    results = [
        average_precision_of_hits(hits, n_relevant=int(n), top_k=top_k, denominator=denominator)
        for hits, n in zip(rankings, n_relevant, strict=True)
    ]
    return summarise(np.array([v for v, _ in results]), np.array([e for _, e in results]), empty, per_query)


def average_precision_from_counts(
    counts: PairCounts, top_k: int, ties: str, denominator: str
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Average precision of every query, and which queries are empty; arguments as `mean_average_precision`.

    Returns
    -------
    values : ndarray, shape (n_query,), float64
    is_empty : ndarray, shape (n_query,), bool
    """
    whole, divided = cut_groups(counts, top_k)
    harmonic = harmonic_numbers(min(top_k, counts.n_database))
    n_relevant = counts.relevant.sum(axis=1)
    precision_sum = PRECISION_SUMS[ties]
    total = precision_sum(whole, harmonic).sum(axis=1)
    if denominator != "retrieved":
        total += precision_sum(divided, harmonic)
        divisor = n_relevant if denominator == "relevant" else np.full(counts.n_query, top_k)
        return (total / np.maximum(divisor, 1)).astype(np.float64), n_relevant == 0
    values = (total / np.maximum(divided.hits_before, 1)).astype(np.float64)  # where the cut divides no group
    for rows, hits, probabilities in divided_hits(divided):
        group = divided.columns(rows)
        sums = total[rows, None] + precision_sum(group.known(hits), harmonic)
        ratios = (sums / np.maximum(group.hits_before + hits, 1)).astype(np.float64)
        if ties == "expected":
            values[rows] = (ratios * probabilities).sum(axis=1)
        elif ties == "optimistic":
            values[rows] = np.max(ratios, axis=1, where=hits <= group.most(), initial=0)
        else:
            values[rows] = np.min(ratios, axis=1, where=hits <= group.most(), initial=1)
    return values, divided.hits_before + divided.most() == 0
