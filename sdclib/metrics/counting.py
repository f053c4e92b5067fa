"""One pass over all query-database pairs: how many items, and how many relevant, lie at each distance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sdclib.metrics.distances import check_code_pair, hamming_block
from sdclib.metrics.relevance import Relevance, Relevant, blocks, check_relevance
from sdclib.progress import tqdm

__all__ = ["PairCounts", "as_counts", "count_pairs"]

LONG_WORK = 2_000_000_000  # pairs; about ten seconds and more: show a progress bar


@dataclass(frozen=True, eq=False)
class PairCounts:
    """Per query, a histogram of the Hamming distances to all items and to the relevant items.

    All that any tie-aware ranking metric of integer distances needs.

    Attributes
    ----------
    all, relevant : ndarray, shape (n_query, n_bits + 1), int64
        Entry (i, d): items (relevant items) at distance d from query i; junk left out.
    n_database : int
        Items in the database, junk included.
    """

    all: NDArray[np.int64]
    relevant: NDArray[np.int64]
    n_database: int

    def __post_init__(self) -> None:
        if self.all.ndim != 2 or self.all.shape != self.relevant.shape:
            raise ValueError(
                "all, relevant: expected one shape (n_query, n_bits + 1), "
                f"got {self.all.shape} and {self.relevant.shape}"
            )

    @property
    def n_bits(self) -> int:
        """Code length."""
        return self.all.shape[1] - 1

    @property
    def n_query(self) -> int:
        """Number of queries."""
        return self.all.shape[0]


def count_pairs(
    query_codes: ArrayLike,
    database_codes: ArrayLike,
    relevant: Relevant,
    *,
    n_bits: int | None = None,
    junk: Sequence[ArrayLike] | None = None,
) -> PairCounts:
    """Count items and relevant items by Hamming distance, for each query.

    Works block by block with faiss's Hamming distances (all OpenMP threads); memory beyond codes and result
    stays at a few MB. Long work shows a progress bar.

    Parameters
    ----------
    query_codes, database_codes : array-like
        Codes of 0 and 1, shape (n, n_bits); or, with `n_bits` given, packed codes, uint8 of shape
        (n, ceil(n_bits / 8)), see `sdclib.codes.pack_codes`. Queries must not be in the database.
    relevant : tuple of two label arrays, or list of index arrays
        A tuple (query labels, database labels): both 1-D ids, or both 2-D 0/1 (relevant = shares a label).
        A list with one array a query: the indices of its relevant database items.
    n_bits : int, optional
        Code length; says that codes are packed.
    junk : list of index arrays, optional
        One array a query: database items that are removed from its ranking.

    Returns
    -------
    PairCounts

    Raises
    ------
    ValueError
        If shapes, values, code lengths or numbers of labels do not fit.
    """
    query, database, n_bits = check_code_pair(query_codes, database_codes, n_bits)
    relevance = check_relevance(relevant, n_query=len(query), n_database=len(database), junk=junk)
    return count_blocks(query, database, n_bits, relevance)


def count_blocks(
    query: NDArray[np.uint8], database: NDArray[np.uint8], n_bits: int, relevance: Relevance
) -> PairCounts:
    """`count_pairs` on checked input (padded packed codes)."""
    n_bins = n_bits + 1
    # Bins: distance if not relevant, n_bins + distance if relevant, 2 * n_bins if junk.
    kind = np.min_scalar_type(2 * n_bins)
    counts = np.zeros((len(query), 2 * n_bins + 1), dtype=np.int64)
    work = len(query) * len(database)
    with tqdm(
        total=work, unit="pair", unit_scale=True, leave=False, mininterval=1, disable=work < LONG_WORK
    ) as bar:
        for rows, columns in blocks(len(query), len(database)):
            bins = hamming_block(query[rows], database[columns]).astype(kind)
            mask, junk = relevance.block(rows, columns)
            bins += mask.view(np.uint8) * kind.type(n_bins)
            if junk is not None:
                bins[junk] = 2 * n_bins
            for row, values in zip(range(rows.start, rows.stop), bins, strict=True):
                counts[row] += np.bincount(values, minlength=2 * n_bins + 1)
            bar.update(bins.size)
    relevant = counts[:, n_bins : 2 * n_bins].copy()
    return PairCounts(counts[:, :n_bins] + relevant, relevant, len(database))


def as_counts(
    query_codes: ArrayLike | PairCounts,
    database_codes: ArrayLike | None,
    relevant: Relevant | None,
    n_bits: int | None,
    junk: Sequence[ArrayLike] | None,
) -> PairCounts:
    """Return `query_codes` if it is a `PairCounts`, else count now.

    Raises
    ------
    ValueError
        If counts come together with other input, or codes without database or ground truth.
    """
    if isinstance(query_codes, PairCounts):
        if any(value is not None for value in (database_codes, relevant, n_bits, junk)):
            raise ValueError(
                "query_codes: expected nothing else (database_codes, relevant, n_bits, junk) beside PairCounts"
            )
        return query_codes
    if database_codes is None or relevant is None:
        missing = "database_codes" if database_codes is None else "relevant"
        raise ValueError(f"{missing}: expected an array beside query_codes, got None")
    return count_pairs(query_codes, database_codes, relevant, n_bits=n_bits, junk=junk)
