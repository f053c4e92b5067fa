"""How many of the nearest items a search finds, without labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sdclib.checks import as_array, check_features, check_int
from sdclib.data.embeddings import row_cosines

__all__ = ["hamming_recall", "neighbour_cosines", "neighbour_recall", "recalls"]

SAME_COSINE = 1e-7  # cosines of float32 vectors, computed in double precision, that count as equal


def neighbour_recall(
    found: ArrayLike,
    neighbours: ArrayLike,
    query: ArrayLike | None = None,
    database: ArrayLike | None = None,
) -> float:
    """Recall@k: how many of the first k items found are among the k nearest neighbours, mean over queries.

    With vectors given, an item counts if its cosine reaches that of the k-th neighbour: where vectors are there several
    times, which of them are the neighbours is a matter of the order of ties.

    Parameters
    ----------
    found : array-like, shape (n_query, at least k), whole numbers
        Items that a search found, best first; -1 for none.
    neighbours : array-like, shape (n_query, k), whole numbers
        The true neighbours, in any order, such as `sdclib.data.embeddings.nearest_neighbours` gives them.
    query, database : array-like, shapes (n_query, d), (n_database, d), optional
        Float vectors.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    wanted = _rows(neighbours, "neighbours")
    first = _rows(found, "found", like=wanted)
    if query is None or database is None:
        hits = [np.isin(w, f).sum() for w, f in zip(wanted, first, strict=True)]
        return float(np.sum(hits) / wanted.size)
    queries = check_features(query, "query")
    items = as_array(database, "database")
    if len(queries) != len(wanted):
        raise ValueError(f"query: expected {len(wanted)} rows as in neighbours, got {len(queries)}")
    truth, k = neighbour_cosines(queries, items, wanted), wanted.shape[1]
    return float(recalls(first, truth, queries, items, ks=[k])[k, 0].mean())


def neighbour_cosines(
    query: NDArray[Any], database: NDArray[Any], neighbours: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Cosines of each query and its neighbours, rows of shape (n_query, k), in descending order."""
    return np.stack(
        [np.sort(row_cosines(q, database, rows))[::-1] for q, rows in zip(query, neighbours, strict=True)]
    )


def recalls(
    found: NDArray[np.int64],
    truth: NDArray[np.float64],
    query: NDArray[Any],
    database: NDArray[Any],
    *,
    ks: Sequence[int],
    depths: Sequence[int] = (),
) -> dict[tuple[int, int], NDArray[np.float64]]:
    """Recall@k of each query, alone and with the first `depth` items found re-scored by float vectors.

    An item counts if its cosine reaches that of the k-th neighbour, whichever of equal vectors that is.

    Parameters
    ----------
    found : ndarray, shape (n_query, n), int64
        Items, best first, -1 for none; n at least all of `ks` and `depths`.
    truth : ndarray, shape (n_query, at least k), float64
        See `neighbour_cosines`.
    query, database : ndarray
        Float vectors.
    ks, depths : sequence of int

    Returns
    -------
    dict of (k, depth) to ndarray, shape (n_query,), float64
        In [0, 1]; depth 0 is the order as found. A depth below k is left out.
    """
    cosines = np.full(found.shape, -np.inf)
    for i, row in enumerate(found):
        cosines[i, row >= 0] = row_cosines(query[i], database, row[row >= 0])
    shares = {}
    for k in ks:
        near = cosines >= truth[:, k - 1 : k] - SAME_COSINE
        for depth in (0, *(depth for depth in depths if depth >= k)):
            shares[k, depth] = np.minimum(near[:, : depth or k].sum(axis=1), k) / k
    return shares


def hamming_recall(found: ArrayLike, exact: ArrayLike, k: int) -> float:
    """Recall@k of an approximate search against the exact one, by distances.

    Many items of a database lie at one Hamming distance from a query, so which of them are the k nearest is a matter
    of the order of ties. An item found counts, therefore, if it is no farther than the k-th item of the exact search.

    Parameters
    ----------
    found, exact : array-like, shapes (n_query, at least k)
        Distances of the items that the two searches found, ascending.
    k : int

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    k = check_int(k, "k", minimum=1)
    best = _rows(exact, "exact")
    if best.shape[1] < k:
        raise ValueError(f"exact: expected shape (n_query, at least {k}), got {best.shape}")
    first = _rows(found, "found", like=best[:, :k])
    return float((first <= best[:, k - 1 : k]).mean())


def _rows(array: ArrayLike, name: str, like: NDArray | None = None) -> NDArray:
    """Check an array of one row a query; cut it to the columns of another that is like it."""
    rows = np.asarray(array)
    if like is None:
        if rows.ndim != 2 or 0 in rows.shape:
            raise ValueError(f"{name}: expected shape (n_query, k), neither 0, got {rows.shape}")
        return rows
    n, k = like.shape
    if rows.ndim != 2 or len(rows) != n or rows.shape[1] < k:
        raise ValueError(f"{name}: expected shape ({n}, at least {k}), got {rows.shape}")
    return rows[:, :k]
