"""Shared conventions: the cut at R, ties, denominators, and what a query without an answer counts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sdclib.checks import check_int

__all__ = ["DENOMINATORS", "EMPTY", "TIES", "check_top_k", "summarise"]

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
