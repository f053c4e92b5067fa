"""Pairs of a batch, and their similarities."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from sdclib.checks import check_name

__all__ = ["PAIRS", "count_pairs_of", "half_pairs", "pair_similarities", "pairs_of"]

PAIRS = ("half", "all")
"""Ways to pair the rows of a batch: first half against second half, or every row with every other."""


def half_pairs(batch: Tensor) -> tuple[Tensor, Tensor]:
    """Split a batch into its pairs: row i of the first half with row i of the second half.

    Parameters
    ----------
    batch : Tensor, shape (n, d), n >= 2
        Of an odd batch the last row is left out.

    Returns
    -------
    first, second : Tensor, shape (n // 2, d)

    Raises
    ------
    ValueError
        If the batch has fewer than two rows.
    """
    n_pairs = batch.shape[0] // 2
    if n_pairs < 1:
        raise ValueError(f"batch: expected at least two rows to make a pair, got {batch.shape[0]}")
    return batch[:n_pairs], batch[n_pairs : 2 * n_pairs]


def pairs_of(batch: Tensor, pairs: str = "half") -> tuple[Tensor, Tensor]:
    """First and second row of each pair of a batch.

    Parameters
    ----------
    batch : Tensor, shape (n, ...), n >= 2
    pairs : {"half", "all"}
        See `PAIRS`; for "all" in the order (0, 1), (0, 2), ..., (n - 2, n - 1).

    Returns
    -------
    first, second : Tensor, shape (count_pairs_of(n, pairs), ...)

    Raises
    ------
    ValueError
        If the batch has fewer than two rows or `pairs` is unknown.
    """
    if check_name(pairs, "pairs", PAIRS) == "half":
        return half_pairs(batch)
    rows, columns = torch.triu_indices(len(batch), len(batch), offset=1, device=batch.device)
    return batch[rows], batch[columns]


def count_pairs_of(n: int, pairs: str = "half") -> int:
    """How many pairs a batch of `n` rows has: n // 2, or n (n - 1) / 2."""
    check_name(pairs, "pairs", PAIRS)
    return n // 2 if pairs == "half" else n * (n - 1) // 2


def pair_similarities(batch: Tensor, pairs: str = "half") -> Tensor:
    """Cosine similarity of each pair of a batch.

    Parameters
    ----------
    batch : Tensor, shape (n, d), n >= 2
    pairs : {"half", "all"}
        See `PAIRS`; for "all" in the order (0, 1), (0, 2), ..., (n - 2, n - 1).

    Returns
    -------
    Tensor, shape (count_pairs_of(n, pairs),)

    Raises
    ------
    ValueError
        If the batch has fewer than two rows or `pairs` is unknown.
    """
    if check_name(pairs, "pairs", PAIRS) == "half":
        return cosine_similarity(*half_pairs(batch))
    n = batch.shape[0]
    if n < 2:
        raise ValueError(f"batch: expected at least two rows to make a pair, got {n}")
    unit = normalize(batch, dim=1)
    rows, columns = torch.triu_indices(n, n, offset=1, device=batch.device)
    return (unit @ unit.T)[rows, columns]
