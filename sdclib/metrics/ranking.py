"""Average precision, precision, recall and hit rate at k, exact under ties; and rankings by cosine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sdclib.checks import check_features, check_int, check_name
from sdclib.metrics.collapse import PairHistograms
from sdclib.metrics.counts import (
    PRECISION_SUMS,
    PairCounts,
    as_counts,
    cut_groups,
    divided_hits,
    harmonic_numbers,
)
from sdclib.metrics.distances import check_code_pair, hamming_block
from sdclib.metrics.relevance import Relevance, Relevant, blocks, check_relevance
from sdclib.progress import tqdm

__all__ = [
    "DENOMINATORS",
    "EMPTY",
    "TIES",
    "average_precision_of_hits",
    "check_top_k",
    "cosine_mean_average_precision",
    "cosine_pair_histograms",
    "hamming_hits",
    "hit_rate_at_k",
    "index_rankings",
    "mean_average_precision",
    "nearest",
    "precision_at_k",
    "recall_at_k",
    "summarise",
]

TIES = ("expected", "optimistic", "pessimistic", "index")
DENOMINATORS = ("retrieved", "relevant", "R")
EMPTY = ("zero", "skip", "error")


def check_top_k(top_k: int | None, n_database: int, name: str = "top_k") -> int:
    """Return the cut R: `top_k`, or the whole database where it is None.

    Raises
    ------
    ValueError
        If `top_k` is not a whole number from 1 to `n_database`.
    """
    if top_k is None:
        return n_database
    top_k = check_int(top_k, name, minimum=1)
    if top_k > n_database:
        raise ValueError(f"{name}: expected at most the {n_database} items of the database, got {top_k}")
    return top_k


def summarise(
    values: NDArray[np.float64], is_empty: NDArray[np.bool_], empty: str, per_query: bool
) -> float | NDArray[np.float64]:
    """Mean over queries, or the queries' values, under the policy for empty queries.

    Parameters
    ----------
    values : ndarray, shape (n_query,), float64
        Entries of empty queries do not matter.
    is_empty : ndarray, shape (n_query,), bool
    empty : {"zero", "skip", "error"}
        "zero": an empty query counts as 0. "skip": it is left out of the mean, and NaN in the vector.
        "error": one empty query is a ValueError.
    per_query : bool

    Returns
    -------
    float or ndarray, shape (n_query,), float64

    Raises
    ------
    ValueError
        With "error" and an empty query; with "skip" and no other query to take the mean over.
    """
    if empty == "error" and is_empty.any():
        raise ValueError(
            f"relevant: expected an answer for every query (empty='error'), "
            f"got {is_empty.sum()} empty, first is query {np.flatnonzero(is_empty)[0]}"
        )
    values = np.where(is_empty, 0.0 if empty == "zero" else np.nan, values)
    if per_query:
        return values
    kept = values if empty == "zero" else values[~is_empty]
    if kept.size == 0:
        raise ValueError("relevant: expected an answer for at least one query (empty='skip'), got none")
    return float(kept.mean())


ROW_BLOCK = 1 << 22  # entries of a block of whole rows


def nearest(distances: NDArray[np.integer], depth: int, n_bits: int) -> NDArray[np.int64]:
    """Find the indices of the `depth` nearest items, nearest first, ties by index.

    A counting sort: a histogram gives the distance that holds the cut, items beyond it are dropped, the rest is
    radix sorted (NumPy's stable sort of 16-bit integers). Entries above `n_bits` never come out.

    Parameters
    ----------
    distances : ndarray, shape (n_database,), whole numbers of at least 0
    depth : int
    n_bits : int

    Returns
    -------
    ndarray, shape (depth,) or less where fewer entries are up to `n_bits`, int64
    """
    below = np.cumsum(np.bincount(distances, minlength=n_bits + 1)[: n_bits + 1])
    last = min(int(np.searchsorted(below, depth)), n_bits)
    items = np.flatnonzero(distances <= last)
    return items[np.argsort(distances[items].astype(np.uint16), kind="stable")[:depth]]


def hamming_hits(
    query: NDArray[np.uint8], database: NDArray[np.uint8], n_bits: int, relevance: Relevance, depth: int
) -> Iterator[NDArray[np.bool_]]:
    """For each query in turn: which of its `depth` nearest items are relevant, ties by database index.

    Parameters
    ----------
    query, database : ndarray, uint8
        Padded packed codes.
    n_bits : int
    relevance : Relevance
    depth : int

    Yields
    ------
    ndarray, shape (min(depth, items less junk),), bool
    """
    for rows, _ in blocks(len(query), len(database), max_columns=len(database), size=ROW_BLOCK):
        distances = hamming_block(query[rows], database)
        for i in range(rows.start, rows.stop):
            row = distances[i - rows.start]
            if relevance.junk is not None:
                row[relevance.junk.of(i)] = n_bits + 1
            yield relevance.of(i, nearest(row, depth, n_bits))


def index_rankings(
    query_codes: ArrayLike | PairCounts,
    database_codes: ArrayLike | None,
    relevant: Relevant | None,
    *,
    top_k: int | None,
    n_bits: int | None,
    junk: Sequence[ArrayLike] | None,
    name: str = "top_k",
) -> tuple[Iterator[NDArray[np.bool_]], NDArray[np.int64], int]:
    """Check a metric's arguments for `ties="index"` and start its rankings.

    Returns
    -------
    rankings : iterator
        See `hamming_hits`.
    n_relevant : ndarray, shape (n_query,), int64
    top_k : int

    Raises
    ------
    ValueError
        If an argument does not fit; counts are refused, for they hold no order.
    """
    if isinstance(query_codes, PairCounts):
        raise ValueError("ties: expected codes and ground truth for 'index', got counts, which hold no order")
    if database_codes is None or relevant is None:
        missing = "database_codes" if database_codes is None else "relevant"
        raise ValueError(f"{missing}: expected an array beside query_codes, got None")
    query, database, n_bits = check_code_pair(query_codes, database_codes, n_bits)
    relevance = check_relevance(relevant, n_query=len(query), n_database=len(database), junk=junk)
    top_k = check_top_k(top_k, len(database), name)
    return hamming_hits(query, database, n_bits, relevance, top_k), relevance.n_relevant(), top_k


def average_precision_of_hits(
    hits: NDArray[np.bool_], *, n_relevant: int, top_k: int, denominator: str
) -> tuple[float, bool]:
    """Average precision of one ranking without ties.

    Parameters
    ----------
    hits : ndarray, shape (n,), bool
        Relevance of the retrieved items, best first.
    n_relevant : int
        All relevant items.
    top_k : int
        R.
    denominator : {"retrieved", "relevant", "R"}

    Returns
    -------
    value : float
        0 for an empty query.
    is_empty : bool
        True without any relevant item, or where the denominator is 0.
    """
    positions = np.flatnonzero(hits) + 1
    total = float(np.sum(np.arange(1, positions.size + 1) / positions))
    divisor = {"retrieved": positions.size, "relevant": n_relevant, "R": top_k}[denominator]
    is_empty = divisor == 0 or n_relevant == 0
    return (0.0 if is_empty else total / divisor), is_empty


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


COSINE_BLOCK = 1 << 23  # entries of a block of similarities: 32 MB
LONG_WORK = 2_000_000_000


def cosine_mean_average_precision(
    query: ArrayLike,
    database: ArrayLike,
    relevant: Relevant,
    *,
    top_k: int | None = None,
    denominator: str = "relevant",
    empty: str = "zero",
    junk: Sequence[ArrayLike] | None = None,
    per_query: bool = False,
) -> float | NDArray[np.float64]:
    """Mean average precision of a ranking by cosine similarity of float features.

    Similarities are float32, and come block by block; only the items above the cut are sorted. Equal
    similarities come by database index.

    Parameters
    ----------
    query, database : array-like, shapes (n_query, n_features), (n_database, n_features)
        Finite, no row all zeros; computed with as float32.
    relevant, top_k, denominator, empty, junk, per_query
        As in `mean_average_precision`; "retrieved" counts the hits of this one order.

    Returns
    -------
    float, or ndarray of shape (n_query,), float64

    Raises
    ------
    ValueError
        If an argument is not as described, see `mean_average_precision`.
    """
    check_name(denominator, "denominator", DENOMINATORS)
    check_name(empty, "empty", EMPTY)
    query, database, relevance = _check(query, database, relevant, junk)
    top_k = check_top_k(top_k, len(database))
    n_relevant, n_ranked = relevance.n_relevant(), relevance.n_ranked()
    results = []
    for rows, similarities in _similarities(query, database):
        for i, row in zip(range(rows.start, rows.stop), similarities, strict=True):
            if relevance.junk is not None:
                row[relevance.junk.of(i)] = -np.inf
            hits = relevance.of(i, _most_similar(row, min(top_k, int(n_ranked[i]))))
            results.append(
                average_precision_of_hits(
                    hits, n_relevant=int(n_relevant[i]), top_k=top_k, denominator=denominator
                )
            )
    return summarise(np.array([v for v, _ in results]), np.array([e for _, e in results]), empty, per_query)


def cosine_pair_histograms(
    query: ArrayLike,
    database: ArrayLike,
    relevant: Relevant,
    *,
    n_bins: int = 200,
    junk: Sequence[ArrayLike] | None = None,
) -> PairHistograms:
    """Histograms of the cosine similarities of positive and negative pairs, over all query-database pairs.

    Parameters
    ----------
    query, database : array-like, shapes (n_query, n_features), (n_database, n_features)
        Finite, no row all zeros; computed with as float32.
    relevant, junk
        As in `count_pairs`.
    n_bins : int
        Bins of equal width on [-1, 1]; each holds its lower edge, the last also 1.

    Returns
    -------
    PairHistograms
        `values` are the centres of the bins, so statistics of it are exact up to half a bin.

    Raises
    ------
    ValueError
        If an argument is not as described.
    """
    n_bins = check_int(n_bins, "n_bins", minimum=1)
    query, database, relevance = _check(query, database, relevant, junk)
    counts = np.zeros(2 * n_bins + 1, dtype=np.int64)
    for rows, similarities in _similarities(query, database):
        similarities += 1
        similarities *= n_bins / 2
        bins = np.clip(similarities, 0, n_bins - 1, out=similarities).astype(np.int32)
        mask, junk_mask = relevance.block(rows, slice(0, len(database)))
        bins += mask * np.int32(n_bins)
        if junk_mask is not None:
            bins[junk_mask] = 2 * n_bins
        counts += np.bincount(bins.ravel(), minlength=2 * n_bins + 1)
    centres = np.asarray((np.arange(n_bins) + 0.5) * (2 / n_bins) - 1, dtype=np.float64)
    return PairHistograms(centres, positive=counts[n_bins : 2 * n_bins], negative=counts[:n_bins])


def _check(
    query: ArrayLike, database: ArrayLike, relevant: Relevant, junk: Sequence[ArrayLike] | None
) -> tuple[NDArray[np.float32], NDArray[np.float32], Relevance]:
    query = check_features(query, "query")
    database = check_features(database, "database", n_features=query.shape[1])
    return query, database, check_relevance(relevant, n_query=len(query), n_database=len(database), junk=junk)


def _similarities(
    query: NDArray[np.float32], database: NDArray[np.float32]
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Cosine similarities, a block of queries at a time: (rows, array of shape (n_rows, n_database), float32)."""
    scale = 1 / np.linalg.norm(database, axis=1)
    unit_query = query / np.linalg.norm(query, axis=1, keepdims=True)
    work = len(query) * len(database)
    with tqdm(
        total=work, unit="pair", unit_scale=True, leave=False, mininterval=1, disable=work < LONG_WORK
    ) as bar:
        for rows, _ in blocks(len(query), len(database), max_columns=len(database), size=COSINE_BLOCK):
            similarities = unit_query[rows] @ database.T
            similarities *= scale
            yield rows, similarities
            bar.update(similarities.size)


def _most_similar(similarities: NDArray[np.float32], depth: int) -> NDArray[np.int64]:
    """Find the indices of the `depth` largest entries, largest first, ties by index."""
    if depth == 0:
        return np.zeros(0, dtype=np.int64)
    last = np.partition(similarities, similarities.size - depth)[similarities.size - depth]
    items = np.flatnonzero(similarities >= last)
    return items[np.argsort(-similarities[items], kind="stable")[:depth]]
