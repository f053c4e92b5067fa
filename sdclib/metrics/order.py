"""Rankings in a stable order: ties by database index. Only the part above the cut is ever sorted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sdclib.metrics.counting import PairCounts
from sdclib.metrics.distances import check_code_pair, hamming_block
from sdclib.metrics.policies import check_top_k
from sdclib.metrics.relevance import Relevance, Relevant, blocks, check_relevance

__all__ = ["average_precision_of_hits", "hamming_hits", "index_rankings", "nearest"]

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
