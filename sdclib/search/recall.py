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
    times, which of them are the neighbours is a matter of the order of ties. ValueError if the shapes do not fit.

    Parameters
    ----------
    found : array-like, shape (n_query, at least k), whole numbers
        Items that a search found, best first; -1 for none.
    neighbours : array-like, shape (n_query, k), whole numbers
        The true neighbours, in any order, such as `sdclib.data.embeddings.nearest_neighbours` gives them.
    query, database : array-like, shapes (n_query, d), (n_database, d), optional
        Float vectors.
    """
    wanted = _rows(neighbours, "neighbours")
    first = _rows(found, "found", n=len(wanted), k=wanted.shape[1])
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
    """Recall@k of each query for each of `ks`, alone and with the first of `depths` found re-scored by float vectors.

    An item counts if its cosine reaches that of the k-th neighbour, whichever of equal vectors that is.

    Parameters
    ----------
    found : ndarray, shape (n_query, n), int64
        Items, best first, -1 for none; n at least all of `ks` and `depths`.
    truth : ndarray, shape (n_query, at least k), float64
        See `neighbour_cosines`.
    query, database : ndarray
        Float vectors.

    Returns
    -------
    dict of (k, depth) to ndarray, shape (n_query,), float64
        Depth 0 is the order as found. A depth below k is left out.
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
    """Recall@k of an approximate search against the exact one, by the ascending distances of what they found.

    Many items of a database lie at one Hamming distance from a query, so which of them are the k nearest is a matter
    of the order of ties. An item found counts, therefore, if it is no farther than the k-th item of the exact search.
    ValueError if the arrays do not have a row a query, of k distances at least.
    """
    k = check_int(k, "k", minimum=1)
    best = _rows(exact, "exact", k=k)
    return float((_rows(found, "found", n=len(best), k=k) <= best[:, -1:]).mean())


def _rows(array: ArrayLike, name: str, *, n: int | None = None, k: int | None = None) -> NDArray[Any]:
    """Check that there is a row for each of n queries, and take the first k columns; all if they are not given."""
    rows = np.asarray(array)
    if rows.ndim != 2 or 0 in rows.shape or len(rows) != (n or len(rows)) or rows.shape[1] < (k or 1):
        raise ValueError(f"{name}: expected shape ({n or 'n_query'}, at least {k or 1}), got {rows.shape}")
    return rows[:, :k]
