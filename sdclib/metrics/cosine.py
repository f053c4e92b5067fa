"""Rankings of float features by cosine similarity, for baselines without codes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sdclib.checks import check_features, check_int, check_name
from sdclib.metrics.order import average_precision_of_hits
from sdclib.metrics.policies import DENOMINATORS, EMPTY, check_top_k, summarise
from sdclib.metrics.relevance import Relevance, Relevant, blocks, check_relevance
from sdclib.metrics.similarity import PairHistograms
from sdclib.progress import tqdm

__all__ = ["cosine_mean_average_precision", "cosine_pair_histograms"]

ROW_BLOCK = 1 << 23  # entries of a block of similarities: 32 MB
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
        for rows, _ in blocks(len(query), len(database), max_columns=len(database), size=ROW_BLOCK):
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
