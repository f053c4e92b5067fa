"""Pairs of a batch, and their similarities.

A batch of fewer than two rows, or an unknown name of pairs, is a ValueError that says so.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from sdclib.checks import check_name

__all__ = ["PAIRS", "check_rows", "count_pairs_of", "half_pairs", "pair_similarities", "pairs_of"]

PAIRS = ("half", "all")
"""Ways to pair the rows of a batch: first half against second half, or every row with every other."""


def check_rows(codes: Tensor, features: Tensor) -> None:
    """Check that a batch has as many features as codes."""
    if len(codes) != len(features):
        raise ValueError(f"features: expected as many rows as codes ({len(codes)}), got {len(features)}")


def half_pairs(batch: Tensor) -> tuple[Tensor, Tensor]:
    """Pair row i of a batch's first half with row i of its second; of an odd batch the last row is left out."""
    return pairs_of(batch)


def pairs_of(batch: Tensor, pairs: str = "half") -> tuple[Tensor, Tensor]:
    """First and second row of each pair of a batch of shape (n, ...), n >= 2, each of shape (n_pairs, ...).

    `pairs` is one of `PAIRS`; the order of all is (0, 1), (0, 2), ..., (n - 2, n - 1).
    """
    rows, columns = _places(batch, pairs)
    return batch[rows], batch[columns]


def _places(batch: Tensor, pairs: str) -> Any:
    """Find the indices of the first and second row of each pair."""
    n = len(batch)
    n_pairs = count_pairs_of(n, pairs)
    if n_pairs < 1:
        raise ValueError(f"batch: expected at least two rows to make a pair, got {n}")
    if pairs == "half":
        return slice(n_pairs), slice(n_pairs, 2 * n_pairs)
    return torch.triu_indices(n, n, offset=1, device=batch.device)


def count_pairs_of(n: int, pairs: str = "half") -> int:
    """How many pairs a batch of `n` rows has: n // 2, or n (n - 1) / 2."""
    return n // 2 if check_name(pairs, "pairs", PAIRS) == "half" else n * (n - 1) // 2


def pair_similarities(batch: Tensor, pairs: str = "half") -> Tensor:
    """Cosine similarity of each pair of a batch, of shape (n_pairs,); see `pairs_of`."""
    rows, columns = _places(batch, pairs)
    if pairs == "half":
        return cosine_similarity(batch[rows], batch[columns])
    unit = normalize(batch, dim=1)  # one product of matrices is faster than many pairs
    return (unit @ unit.T)[rows, columns]
