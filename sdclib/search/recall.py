"""How many of the nearest items a search finds, without labels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sdclib.checks import check_int

__all__ = ["hamming_recall", "neighbour_recall"]


def neighbour_recall(found: ArrayLike, neighbours: ArrayLike) -> float:
    """Recall@k: the share of the k nearest neighbours that are among the first k items found, mean over queries.

    Parameters
    ----------
    found : array-like, shape (n_query, at least k), whole numbers
        Items that a search found, best first; -1 for none.
    neighbours : array-like, shape (n_query, k), whole numbers
        The true neighbours, in any order, such as `sdclib.data.embeddings.nearest_neighbours` gives them.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    wanted, first = _pair(neighbours, found, "neighbours", "found")
    hits = [np.isin(w, f).sum() for w, f in zip(wanted, first, strict=True)]
    return float(np.sum(hits) / wanted.size)


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
    best = np.asarray(exact)
    if best.ndim != 2 or best.shape[1] < k:
        raise ValueError(f"exact: expected shape (n_query, at least {k}), got {best.shape}")
    best, first = _pair(best[:, :k], found, "exact", "found")
    return float((first <= best[:, -1:]).mean())


def _pair(
    wanted: ArrayLike, found: ArrayLike, wanted_name: str, found_name: str
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Check two arrays with one row a query; the second is cut to the columns of the first."""
    wanted, found = np.asarray(wanted), np.asarray(found)
    if wanted.ndim != 2 or 0 in wanted.shape:
        raise ValueError(f"{wanted_name}: expected shape (n_query, k), neither 0, got {wanted.shape}")
    if found.ndim != 2 or len(found) != len(wanted) or found.shape[1] < wanted.shape[1]:
        raise ValueError(
            f"{found_name}: expected shape ({len(wanted)}, at least {wanted.shape[1]}), got {found.shape}"
        )
    return wanted, found[:, : wanted.shape[1]]
