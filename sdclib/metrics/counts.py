"""Counts of items and of relevant items by distance or rank, and how a cut divides a group of ties."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sdclib.metrics.distances import Distances, blocks, check_code_pair, hamming_distances
from sdclib.metrics.relevance import Relevance, Relevant, check_relevance
from sdclib.progress import tqdm

__all__ = [
    "PRECISION_SUMS",
    "PairCounts",
    "Ranking",
    "TieGroups",
    "as_counts",
    "count_pairs",
    "cut_groups",
    "divided_hits",
    "harmonic_numbers",
    "pair_blocks",
    "rankings",
]

LONG_WORK = 2_000_000_000  # pairs; about ten seconds and more: show a progress bar
ROW_BLOCK = 1 << 23  # entries of a block of whole rows: 32 MB of float32
CHUNK = 1 << 18


@dataclass(frozen=True, eq=False)
class PairCounts:
    """Per query, how many items and relevant items there are at each distance.

    All that any tie-aware ranking metric needs.

    Attributes
    ----------
    all, relevant : ndarray, shape (n_query, n_bits + 1), int64
        Entry (i, d): items (relevant items) at Hamming distance d from query i; junk left out.
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


def pair_blocks(
    distances: Distances, relevance: Relevance, *, whole_rows: bool
) -> Iterator[tuple[slice, NDArray[Any], NDArray[np.bool_], NDArray[np.bool_] | None]]:
    """Go through all query-database pairs, with a progress bar where that takes long.

    Yields
    ------
    rows : slice
    distances, relevant, junk : ndarray, shape (n_rows, n_columns)
        See `Relevance.block`. All columns with `whole_rows`, else some of them at a time.
    """
    n_query, n_database = relevance.n_query, relevance.n_database
    work = n_query * n_database
    limits = {"max_columns": n_database, "size": ROW_BLOCK} if whole_rows else {}
    with tqdm(
        total=work, unit="pair", unit_scale=True, leave=False, mininterval=1, disable=work < LONG_WORK
    ) as bar:
        for rows, columns in blocks(n_query, n_database, **limits):
            block = distances(rows, columns)
            yield rows, block, *relevance.block(rows, columns)
            bar.update(block.size)


def count_pairs(
    query_codes: ArrayLike,
    database_codes: ArrayLike,
    relevant: Relevant,
    *,
    n_bits: int | None = None,
    junk: Sequence[ArrayLike] | None = None,
) -> PairCounts:
    """Count items and relevant items by Hamming distance, for each query.

    Memory beyond codes and result stays at a few MB. Long work shows a progress bar.

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
    n_bins = n_bits + 1
    # Bins: distance if not relevant, n_bins + distance if relevant, 2 * n_bins if junk.
    kind = np.min_scalar_type(2 * n_bins)
    counts = np.zeros((len(query), 2 * n_bins + 1), dtype=np.int64)
    pairs = pair_blocks(hamming_distances(query, database), relevance, whole_rows=False)
    for rows, distances, mask, junk_mask in pairs:
        bins = distances.astype(kind)
        bins += mask.view(np.uint8) * kind.type(n_bins)
        if junk_mask is not None:
            bins[junk_mask] = 2 * n_bins
        for row, values in enumerate(bins, start=rows.start):
            counts[row] += np.bincount(values, minlength=2 * n_bins + 1)
    hits = counts[:, n_bins : 2 * n_bins].copy()
    return PairCounts(counts[:, :n_bins] + hits, hits, len(database))


def as_counts(
    query_codes: ArrayLike | PairCounts,
    database_codes: Any,
    relevant: Any,
    n_bits: int | None,
    junk: Sequence[ArrayLike] | None,
) -> PairCounts:
    """Return `query_codes` if it is a `PairCounts`, with nothing else beside it; else count now."""
    if not isinstance(query_codes, PairCounts):
        return count_pairs(query_codes, database_codes, relevant, n_bits=n_bits, junk=junk)
    if any(value is not None for value in (database_codes, relevant, n_bits, junk)):
        raise ValueError(
            "query_codes: expected nothing else (database_codes, relevant, n_bits, junk) beside PairCounts"
        )
    return query_codes


@dataclass(frozen=True, eq=False)
class Ranking:
    """The nearest items of one query: those above the cut, and those tied with the last of them.

    Attributes
    ----------
    distances, relevant : ndarray, shape (n_items,)
        Of the items, nearest first, ties by database index; junk left out.
    depth : int
        Items above the cut.
    n_ranked, n_relevant, n_database : int
        Items of the database less junk, relevant ones among them, and all.
    """

    distances: NDArray[Any]
    relevant: NDArray[np.bool_]
    depth: int
    n_ranked: int
    n_relevant: int
    n_database: int

    def counts(self, *, by_index: bool) -> PairCounts:
        """Make a column of each distance; or of each hit and each run of misses. The last has all items beyond."""
        n = self.depth if by_index else len(self.distances)
        differs = self.distances[1:n] != self.distances[: n - 1]
        if by_index:  # the order of misses does not matter
            differs = self.relevant[1:n] | self.relevant[: n - 1]
        ends = np.append(np.flatnonzero(differs) + 1, [n, self.n_ranked])
        hits = np.append(0, np.cumsum(self.relevant))[np.minimum(ends, n)]
        hits[-1] = self.n_relevant
        return PairCounts(np.diff(ends, prepend=0)[None], np.diff(hits, prepend=0)[None], self.n_database)


def rankings(distances: Distances, relevance: Relevance, top_k: int) -> Iterator[Ranking]:
    """Rank the database for each query in turn, as deep as the cut after `top_k` items needs."""
    for _, block, relevant, junk in pair_blocks(distances, relevance, whole_rows=True):
        n_ranked = np.full(len(block), relevance.n_database)
        if junk is not None:
            block[junk] = np.inf if block.dtype.kind == "f" else np.iinfo(block.dtype).max
            n_ranked -= junk.sum(axis=1)
        for row, is_relevant, n in zip(block, relevant, n_ranked.tolist(), strict=True):
            depth = min(top_k, n)
            last = np.partition(row, depth - 1)[depth - 1] if depth else -np.inf
            items = np.flatnonzero(row <= last)
            items = items[np.argsort(row[items], kind="stable")]
            n_relevant = int(np.count_nonzero(is_relevant))
            yield Ranking(row[items], is_relevant[items], depth, n, n_relevant, relevance.n_database)


class TieGroups(NamedTuple):
    """Groups of tied items; arrays of one shape (or shapes that broadcast), int64.

    Attributes
    ----------
    items, relevant : ndarray
        Size of the group and its relevant items.
    taken : ndarray
        How many of its places lie among the first R.
    items_before, hits_before : ndarray
        Items and relevant items in nearer groups.
    """

    items: NDArray[np.int64]
    relevant: NDArray[np.int64]
    taken: NDArray[np.int64]
    items_before: NDArray[np.int64]
    hits_before: NDArray[np.int64]

    def fewest(self) -> NDArray[np.int64]:
        """Fewest relevant items that can be among those taken."""
        return np.maximum(0, self.taken - (self.items - self.relevant))

    def most(self) -> NDArray[np.int64]:
        """Most relevant items that can be among those taken."""
        return np.minimum(self.relevant, self.taken)

    def columns(self, rows: NDArray[np.int64]) -> TieGroups:
        """Take some entries of one-dimensional groups, as arrays of shape (n_rows, 1)."""
        return TieGroups(*(array[rows, None] for array in self))

    def known(self, hits: NDArray[np.int64]) -> TieGroups:
        """Make the part above the cut a group of its own, given that `hits` of its items are relevant."""
        return self._replace(items=self.taken, relevant=hits)


def cut_groups(counts: PairCounts, top_k: int) -> tuple[TieGroups, TieGroups]:
    """Cut the ranking of every query after `top_k` items.

    Returns
    -------
    whole : TieGroups, arrays of shape (n_query, n_bits + 1)
        Groups before the cut; groups beyond it or divided by it are empty.
    divided : TieGroups, arrays of shape (n_query,)
        The group that the cut divides; empty (`taken` = 0) where it falls between groups.
        `items_before` and `hits_before` are always those before the cut, outside this group.
    """
    before = np.cumsum(counts.all, axis=1) - counts.all
    hits_before = np.cumsum(counts.relevant, axis=1) - counts.relevant
    taken = np.clip(top_k - before, 0, counts.all)
    is_whole = taken == counts.all
    whole = TieGroups(
        np.where(is_whole, counts.all, 0),
        np.where(is_whole, counts.relevant, 0),
        np.where(is_whole, taken, 0),
        np.minimum(before, top_k),
        hits_before,
    )
    is_divided = ~is_whole & (taken > 0)
    divided = TieGroups(
        np.sum(counts.all, axis=1, where=is_divided),
        np.sum(counts.relevant, axis=1, where=is_divided),
        np.sum(taken, axis=1, where=is_divided),
        whole.items.sum(axis=1),
        whole.relevant.sum(axis=1),
    )
    return whole, divided


@lru_cache(maxsize=1)
def harmonic_numbers(n: int) -> NDArray[np.longdouble]:
    """H(0), ..., H(n) with H(m) = 1 + 1/2 + ... + 1/m, shape (n + 1,).

    Extended precision (where the platform has it), because differences of neighbours are multiplied by ranks.
    """
    terms = np.zeros(n + 1, dtype=np.longdouble)
    terms[1:] = 1 / np.arange(1, n + 1, dtype=np.longdouble)
    return np.cumsum(terms)


# Each of the following: the sum, over the places of a group above the cut, of (is relevant) * (precision there),
# for groups of any shape. `harmonic` reaches to the last place.


def _expected_sum(groups: TieGroups, harmonic: NDArray[np.longdouble]) -> NDArray[np.longdouble]:
    """Mean over all orders: place t holds a relevant item with probability r/n; before it, then, (t-1)(r-1)/(n-1)."""
    start, taken = groups.items_before, groups.taken
    step = (groups.relevant - 1) / np.maximum(groups.items - 1, 1)
    span = harmonic[start + taken] - harmonic[start]
    per_hit = (groups.hits_before + 1) * span + step * (taken - (start + 1) * span)
    return per_hit * (groups.relevant / np.maximum(groups.items, 1))


def _largest_sum(groups: TieGroups, harmonic: NDArray[np.longdouble]) -> NDArray[np.longdouble]:
    """Relevant items first."""
    start, hits = groups.items_before, groups.most()
    return hits + (groups.hits_before - start) * (harmonic[start + hits] - harmonic[start])


def _smallest_sum(groups: TieGroups, harmonic: NDArray[np.longdouble]) -> NDArray[np.longdouble]:
    """Relevant items last, and as few as possible above the cut."""
    end, hits = groups.items_before + groups.taken, groups.fewest()
    return hits + (groups.hits_before - (end - hits)) * (harmonic[end] - harmonic[end - hits])


PRECISION_SUMS = {
    "expected": _expected_sum,
    "optimistic": _largest_sum,
    "pessimistic": _smallest_sum,
    "index": _expected_sum,  # of groups of one item each
}


def divided_hits(
    divided: TieGroups,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]]:
    """How many relevant items of the divided group come above the cut: hypergeometric, for uniform tie orders.

    Yields
    ------
    rows : ndarray, shape (n_rows,), int64
        Queries with a divided group, a chunk at a time.
    hits : ndarray, shape (n_rows, n_hits), int64
        Every possible number; rows with fewer go on beyond `most()`, with probability 0.
    probabilities : ndarray, shape (n_rows, n_hits), float64
        Rows sum to 1. By the recurrence between neighbours, outwards from the mode: no large factorials.
    """
    queries = np.flatnonzero(divided.taken)
    widths = (divided.most() - divided.fewest() + 1)[queries]
    n_rows = max(1, CHUNK // int(widths.max(initial=1)))
    for start in range(0, queries.size, n_rows):
        part = slice(start, start + n_rows)
        group = divided.columns(queries[part])
        hits = group.fewest() + np.arange(widths[part].max())
        yield queries[part], hits, _hypergeometric(group, hits)


def _hypergeometric(group: TieGroups, hits: NDArray[np.int64]) -> NDArray[np.float64]:
    """Probability of `hits` relevant items among the `taken`; rows of `hits` ascend by 1 from `fewest()`."""
    relevant, taken = group.relevant, group.taken
    rest = group.items - relevant - taken
    mode = (taken + 1) * (relevant + 1) // (group.items + 2)
    mode = np.clip(mode, group.fewest(), group.most())

    def ratio_to_previous(j: NDArray[np.int64], use: NDArray[np.bool_], invert: bool) -> NDArray[np.float64]:
        numerator = ((relevant - j + 1) * (taken - j + 1)).astype(np.float64)
        denominator = (j * (rest + j)).astype(np.float64)
        if invert:
            numerator, denominator = denominator, numerator
        return np.divide(numerator, denominator, out=np.ones(j.shape), where=use)

    up = ratio_to_previous(hits, hits > mode, invert=False)
    down = ratio_to_previous(hits + 1, hits < mode, invert=True)
    weights = np.cumprod(up, axis=1) * np.cumprod(down[:, ::-1], axis=1)[:, ::-1]
    return weights / weights.sum(axis=1, keepdims=True)
