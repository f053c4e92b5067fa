"""Average precision, precision, recall and hit rate at k, exact under ties; and rankings by cosine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

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
    hypergeometric,
    pair_blocks,
    rankings,
)
from sdclib.metrics.distances import Distances, check_code_pair, cosine_distances, hamming_distances
from sdclib.metrics.relevance import Relevance, Relevant, check_relevance

__all__ = [
    "DENOMINATORS",
    "EMPTY",
    "TIES",
    "average_precisions",
    "cosine_mean_average_precision",
    "cosine_pair_histograms",
    "cosine_pairs",
    "hit_rate_at_k",
    "mean_average_precision",
    "precision_at_k",
    "recall_at_k",
    "score_mean_average_precision",
]

TIES = ("expected", "optimistic", "pessimistic", "index")
DENOMINATORS = ("retrieved", "relevant", "R", "min")
EMPTY = ("zero", "skip", "error")
_Values: TypeAlias = tuple[NDArray[np.float64], NDArray[np.bool_]]  # of queries, and which of these are empty


def _check_cut(top_k: int | None, n_database: int, name: str = "top_k") -> int:
    """Return the cut R: `top_k`, or the whole database where that is None."""
    if top_k is None and name == "top_k":
        return n_database
    return check_int(top_k, name, minimum=1, maximum=n_database, of="items of the database")


def _summarise(parts: Iterable[_Values], empty: str, per_query: bool) -> float | NDArray[np.float64]:
    """Mean over queries, or the queries' values, under the policy for empty queries."""
    values, is_empty = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
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


def _counts(
    query_codes: ArrayLike | PairCounts,
    database_codes: Any,
    relevant: Any,
    n_bits: int | None,
    junk: Sequence[ArrayLike] | None,
    ties: str,
    top_k: int | None,
    name: str = "top_k",
) -> tuple[Iterable[PairCounts], int]:
    """Count all queries together; or, for ties by index, one query at a time. Also the checked cut."""
    if check_name(ties, "ties", TIES) != "index":
        counts = as_counts(query_codes, database_codes, relevant, n_bits, junk)
        return [counts], _check_cut(top_k, counts.n_database, name)
    if isinstance(query_codes, PairCounts):
        raise ValueError("ties: expected codes and ground truth for 'index', got counts, which hold no order")
    query, database, _ = check_code_pair(query_codes, database_codes, n_bits)
    relevance = check_relevance(relevant, n_query=len(query), n_database=len(database), junk=junk)
    top_k = _check_cut(top_k, len(database), name)
    ranked = rankings(hamming_distances(query, database), relevance, top_k)
    return (ranking.counts(by_index=True) for ranking in ranked), top_k


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
        Codes as `count_pairs` takes them, packed ones with `n_bits`; or its result, alone, so that several metrics
        share one pass.
    database_codes, relevant, n_bits, junk : optional
        As in `count_pairs`. Where junk leaves fewer than `top_k` items, all of them are ranked.
    top_k : int, optional
        R, at most the size of the database; None ranks the whole database (mAP@all).
    ties : {"expected", "optimistic", "pessimistic", "index"}
        "expected": the exact mean over all orders of tied items, all equally likely.
        "optimistic", "pessimistic": the exact maximum and minimum over these orders.
        "index": the one order in which tied items come by database index (a stable sort); needs codes.
    denominator : {"relevant", "retrieved", "R", "min"}
        "relevant": the number of all relevant items in the database, junk left out, also where it is larger than
        R. "min": that number or R, whichever is less. "R": `top_k`, or the size of the database where it is None.
        "retrieved" (the authors of SDC, and many hashing codes): the number of relevant items among the first R,
        which depends on the order of ties; the mean, maximum or minimum is taken over the whole ratio.
    empty : {"zero", "skip", "error"}
        What a query counts that has no relevant item at all or, with "retrieved", none that any order of ties
        brings among the first R (for "index": none in its one order). "zero": 0. "skip": left out of the mean,
        NaN in the vector. "error": ValueError. An order without a hit counts 0 where another order has one.
    per_query : bool
        Return the queries' values, shape (n_query,), rather than their mean.

    Returns
    -------
    float, or ndarray of float64
        From 0 to 1.

    Raises
    ------
    ValueError
        If an argument is not as described, or queries are empty where `empty` does not allow it.

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
    check_name(denominator, "denominator", DENOMINATORS)
    check_name(empty, "empty", EMPTY)
    counts, top_k = _counts(query_codes, database_codes, relevant, n_bits, junk, ties, top_k)
    parts = (_average_precision(part, top_k, ties, denominator) for part in counts)
    return _summarise(parts, empty, per_query)


def _average_precision(counts: PairCounts, top_k: int, ties: str, denominator: str) -> _Values:
    """Average precision of every query, and which queries are empty."""
    whole, divided = cut_groups(counts, top_k)
    harmonic = harmonic_numbers(top_k)
    n_relevant = counts.relevant.sum(axis=1)
    precision_sum = PRECISION_SUMS[ties]
    total = precision_sum(whole, harmonic).sum(axis=1)
    if denominator != "retrieved":
        total += precision_sum(divided, harmonic)
        divisors = {"relevant": n_relevant, "R": top_k, "min": np.minimum(n_relevant, top_k)}
        return (total / np.maximum(divisors[denominator], 1)).astype(np.float64), n_relevant == 0
    values = (total / np.maximum(divided.hits_before, 1)).astype(np.float64)  # where the cut divides no group
    for rows, group, hits in divided_hits(divided):
        sums = total[rows, None] + precision_sum(group.known(hits), harmonic)
        ratios = (sums / np.maximum(group.hits_before + hits, 1)).astype(np.float64)
        if ties == "expected":
            values[rows] = (ratios * hypergeometric(group, hits)).sum(axis=1)
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
    """Share of relevant items among the first k, at most the whole database; mean over queries.

    Others, returned value, errors and source are as in `mean_average_precision`. A query is empty that has no relevant
    item. The divisor is k, also where junk leaves fewer than k items.
    """
    codes = query_codes, database_codes, relevant, n_bits, junk
    return _at_k(lambda part: _hits(part, k, ties) / k, codes, k, ties, empty, per_query)


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

    All else as `precision_at_k`. Some papers call `hit_rate_at_k` recall@k.
    """
    codes = query_codes, database_codes, relevant, n_bits, junk

    def recall(part: PairCounts) -> NDArray[np.float64]:
        return _hits(part, k, ties) / np.maximum(part.relevant.sum(axis=1), 1)

    return _at_k(recall, codes, k, ties, empty, per_query)


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
    """Share of queries with at least one relevant item among the first k; all else as `precision_at_k`.

    With `ties="expected"`, the exact probability of it over tie orders.
    """
    codes = query_codes, database_codes, relevant, n_bits, junk
    return _at_k(lambda part: _any_hit(part, k, ties), codes, k, ties, empty, per_query)


def _at_k(
    figure: Callable[[PairCounts], NDArray[np.float64]],
    codes: tuple[Any, Any, Any, Any, Any],
    k: int,
    ties: str,
    empty: str,
    per_query: bool,
) -> float | NDArray[np.float64]:
    check_name(empty, "empty", EMPTY)
    counts, _ = _counts(*codes, ties, k, "k")
    return _summarise(((figure(part), part.relevant.sum(axis=1) == 0) for part in counts), empty, per_query)


def _hits(counts: PairCounts, k: int, ties: str) -> NDArray[np.float64]:
    """Relevant items among the first k of each query, or their mean number over orders of ties."""
    _, divided = cut_groups(counts, k)
    if ties == "optimistic":
        return (divided.hits_before + divided.most()).astype(np.float64)
    if ties == "pessimistic":
        return (divided.hits_before + divided.fewest()).astype(np.float64)
    return divided.hits_before + divided.relevant * divided.taken / np.maximum(divided.items, 1)


def _any_hit(counts: PairCounts, k: int, ties: str) -> NDArray[np.float64]:
    """Probability that a relevant item is among the first k of each query."""
    if ties != "expected":
        return (_hits(counts, k, ties) > 0).astype(np.float64)
    _, divided = cut_groups(counts, k)
    probability = (divided.hits_before > 0).astype(np.float64)
    for rows, group, hits in divided_hits(divided):
        none = (hypergeometric(group, hits) * (hits == 0)).sum(axis=1)
        probability[rows] = np.where(divided.hits_before[rows] > 0, 1.0, 1 - none)
    return probability


def cosine_mean_average_precision(
    query: ArrayLike,
    database: ArrayLike,
    relevant: Relevant,
    *,
    top_k: int | None = None,
    ties: str = "expected",
    denominator: str = "relevant",
    empty: str = "zero",
    junk: Sequence[ArrayLike] | None = None,
    per_query: bool = False,
) -> float | NDArray[np.float64]:
    """Mean average precision of a ranking by cosine similarity of float features.

    They have shapes (n_query, n_features) and (n_database, n_features), are finite, have no row of zeros, and are
    computed with as float32. All else is as in `mean_average_precision`; tied are items whose float32 similarities are
    equal, and those of equal rows are.
    """
    pairs = cosine_pairs(query, database, relevant, junk)
    return average_precisions(*pairs, (ties,), top_k, denominator, empty, per_query)[ties]


def score_mean_average_precision(
    scores: ArrayLike,
    relevant: Relevant,
    *,
    top_k: int | None = None,
    ties: str = "expected",
    denominator: str = "relevant",
    empty: str = "zero",
    junk: Sequence[ArrayLike] | None = None,
    per_query: bool = False,
) -> float | NDArray[np.float64]:
    """Mean average precision of a ranking by any scores, such as those of a float query or of a quantizer.

    Scores have shape (n_query, n_database) and are finite; the item of the highest score ranks first, and equal scores
    are ties. All else is as in `mean_average_precision`.
    """
    array = np.asarray(scores)
    if array.ndim != 2 or 0 in array.shape or array.dtype.kind not in "biuf" or not np.isfinite(array).all():
        raise ValueError(
            "scores: expected finite numbers of shape (n_query, n_database), "
            f"got {array.dtype} of shape {array.shape} or not all finite"
        )
    array = array if array.dtype.kind == "f" else array.astype(np.float64)
    n_query, n_database = array.shape
    relevance = check_relevance(relevant, n_query=n_query, n_database=n_database, junk=junk)
    pairs = (lambda rows: -array[rows]), relevance
    return average_precisions(*pairs, (ties,), top_k, denominator, empty, per_query)[ties]


def average_precisions(
    distances: Distances,
    relevance: Relevance,
    ties: Sequence[str],
    top_k: int | None,
    denominator: str,
    empty: str,
    per_query: bool = False,
) -> dict[str, float | NDArray[np.float64]]:
    """Mean average precision of the ranking by these distances, for several `ties` in one pass over the pairs."""
    for kind in ties:
        check_name(kind, "ties", TIES)
    check_name(denominator, "denominator", DENOMINATORS)
    check_name(empty, "empty", EMPTY)
    top_k = _check_cut(top_k, relevance.n_database)
    parts: dict[str, list[_Values]] = {kind: [] for kind in ties}
    for ranking in rankings(distances, relevance, top_k):
        for kind, found in parts.items():
            counts = ranking.counts(by_index=kind == "index")
            found.append(_average_precision(counts, top_k, kind, denominator))
    return {kind: _summarise(found, empty, per_query) for kind, found in parts.items()}


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
    query, database, relevant, junk
        As in `cosine_mean_average_precision`.
    n_bins : int
        Bins of equal width on [-1, 1]; each holds its lower edge, the last also 1. The `values` are their centres, so
        statistics of the histograms are exact up to half a bin.
    """
    n_bins = check_int(n_bins, "n_bins", minimum=1)
    counts = np.zeros(2 * n_bins + 1, dtype=np.int64)
    for _, similarities, mask, junk_mask in pair_blocks(*cosine_pairs(query, database, relevant, junk)):
        np.subtract(1, similarities, out=similarities)
        similarities *= n_bins / 2
        bins = np.clip(similarities, 0, n_bins - 1, out=similarities).astype(np.int32)
        bins += mask * np.int32(n_bins)
        if junk_mask is not None:
            bins[junk_mask] = 2 * n_bins
        counts += np.bincount(bins.ravel(), minlength=2 * n_bins + 1)
    centres = (np.arange(n_bins) + 0.5) * (2 / n_bins) - 1
    return PairHistograms(
        centres.astype(np.float64), positive=counts[n_bins : 2 * n_bins], negative=counts[:n_bins]
    )


def cosine_pairs(
    query: ArrayLike, database: ArrayLike, relevant: Relevant, junk: Sequence[ArrayLike] | None
) -> tuple[Distances, Relevance]:
    """Check float features and what is relevant: negative cosines, and masks."""
    query = check_features(query, "query")
    database = check_features(database, "database", n_features=query.shape[1])
    relevance = check_relevance(relevant, n_query=len(query), n_database=len(database), junk=junk)
    return cosine_distances(query, database), relevance
