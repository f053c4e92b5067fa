"""What counts as relevant: equal ids, a shared label, or explicit lists; junk items leave the ranking."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sdclib.checks import check_labels
from sdclib.codes import pack_codes
from sdclib.metrics.distances import hamming_block, pad_bytes

__all__ = ["IndexLists", "Relevance", "Relevant", "blocks", "check_relevance"]

Relevant: TypeAlias = tuple[ArrayLike, ArrayLike] | Sequence[ArrayLike]


def blocks(n_rows: int, n_columns: int, *, max_columns: int = 1 << 17, size: int = 1 << 19) -> Iterator[Any]:
    """Cut an n_rows x n_columns matrix into blocks of at most `size` entries.

    Yields
    ------
    rows, columns : slice
        Rows vary slowest; blocks hold at least one row and at most `max_columns` columns.
    """
    width = min(n_columns, max_columns)
    height = max(1, size // width)
    for top in range(0, n_rows, height):
        for left in range(0, n_columns, width):
            yield slice(top, min(top + height, n_rows)), slice(left, min(left + width, n_columns))


@dataclass(frozen=True, eq=False)
class IndexLists:
    """One sorted list of database indices a query, stored end to end.

    Attributes
    ----------
    values : ndarray, shape (total,), int64
    offsets : ndarray, shape (n_query + 1,), int64
        List i is `values[offsets[i] : offsets[i + 1]]`.
    """

    values: NDArray[np.int64]
    offsets: NDArray[np.int64]

    def of(self, query: int) -> NDArray[np.int64]:
        """Return the list of one query."""
        return self.values[self.offsets[query] : self.offsets[query + 1]]

    def block(self, rows: slice, columns: slice) -> NDArray[np.bool_]:
        """Membership of the items `columns` in the lists `rows`, shape (n_rows, n_columns)."""
        mask = np.zeros((rows.stop - rows.start, columns.stop - columns.start), dtype=np.bool_)
        for row in range(rows.start, rows.stop):
            indices = self.of(row)
            low, high = np.searchsorted(indices, (columns.start, columns.stop))
            mask[row - rows.start, indices[low:high] - columns.start] = True
        return mask


class Relevance(ABC):
    """Which database items are relevant to which query, asked block by block.

    Attributes
    ----------
    n_query, n_database : int
    junk : IndexLists or None
        Items that are removed from a query's ranking and never count as relevant.
    """

    n_query: int
    n_database: int
    junk: IndexLists | None

    @abstractmethod
    def _block(self, rows: slice, columns: slice) -> NDArray[np.bool_]:
        """Relevance of a block, junk not yet removed."""

    @abstractmethod
    def of(self, query: int, items: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Relevance of the database `items` (indices, none of them junk) to one query."""

    def block(self, rows: slice, columns: slice) -> tuple[NDArray[np.bool_], NDArray[np.bool_] | None]:
        """Masks (relevant, junk) of shape (n_rows, n_columns); no item is both, None means no junk at all."""
        relevant = self._block(rows, columns)
        if self.junk is None:
            return relevant, None
        junk = self.junk.block(rows, columns)
        return relevant & ~junk, junk

    def n_relevant(self) -> NDArray[np.int64]:
        """Relevant items of each query, junk left out, shape (n_query,)."""
        counts = np.zeros(self.n_query, dtype=np.int64)
        for rows, columns in blocks(self.n_query, self.n_database):
            counts[rows] += np.count_nonzero(self.block(rows, columns)[0], axis=1)
        return counts

    def n_ranked(self) -> NDArray[np.int64]:
        """Database items less junk of each query, shape (n_query,)."""
        counts = np.full(self.n_query, self.n_database, dtype=np.int64)
        return counts if self.junk is None else counts - np.diff(self.junk.offsets)


class _SameId(Relevance):
    """Single label: relevant where ids are equal."""

    def __init__(self, query: NDArray[np.integer], database: NDArray[np.integer], junk: IndexLists | None):
        self.n_query, self.n_database, self.junk = len(query), len(database), junk
        known, ids = np.unique(np.concatenate([query, database]), return_inverse=True)
        ids = ids.astype(
            np.min_scalar_type(len(known))
        )  # one byte an id for most label sets: comparing is faster
        self.query, self.database = ids[: len(query)], ids[len(query) :]

    def _block(self, rows: slice, columns: slice) -> NDArray[np.bool_]:
        return self.query[rows, None] == self.database[None, columns]

    def of(self, query: int, items: NDArray[np.integer]) -> NDArray[np.bool_]:
        return self.database[items] == self.query[query]


class _SharedLabel(Relevance):
    """Multi-label: relevant where at least one label is shared."""

    def __init__(self, query: NDArray[np.integer], database: NDArray[np.integer], junk: IndexLists | None):
        self.n_query, self.n_database, self.junk = len(query), len(database), junk
        self.query, self.database = pad_bytes(pack_codes(query)), pad_bytes(pack_codes(database))
        self.query_sizes = query.sum(axis=1, dtype=np.int32)
        self.database_sizes = database.sum(axis=1, dtype=np.int32)

    def _block(self, rows: slice, columns: slice) -> NDArray[np.bool_]:
        # |a| + |b| - hamming(a, b) = twice the number of shared labels.
        different = hamming_block(self.query[rows], self.database[columns])
        different -= self.query_sizes[rows, None]
        return different < self.database_sizes[None, columns]

    def of(self, query: int, items: NDArray[np.integer]) -> NDArray[np.bool_]:
        return (self.database[items] & self.query[query]).any(axis=1)


class _Listed(Relevance):
    """Explicit ground truth."""

    def __init__(self, lists: IndexLists, n_database: int, junk: IndexLists | None):
        self.n_query, self.n_database, self.junk = len(lists.offsets) - 1, n_database, junk
        self.lists = lists

    def _block(self, rows: slice, columns: slice) -> NDArray[np.bool_]:
        return self.lists.block(rows, columns)

    def of(self, query: int, items: NDArray[np.integer]) -> NDArray[np.bool_]:
        return np.isin(items, self.lists.of(query), assume_unique=True)


def check_relevance(
    relevant: Relevant, *, n_query: int, n_database: int, junk: Sequence[ArrayLike] | None = None
) -> Relevance:
    """Check the ground truth and bring it to one form.

    Parameters
    ----------
    relevant : tuple of two label arrays, or list of index arrays
        A tuple (query labels, database labels): both 1-D whole-number ids (relevant = equal), or both 2-D 0/1
        arrays with as many columns (relevant = at least one shared label).
        A list with one array a query: indices of its relevant database items, each at most once.
    n_query, n_database : int
    junk : list of index arrays, optional
        One array a query: items that are removed from its ranking (and from its relevant items where labels
        say so; an item in both explicit lists is an error).

    Returns
    -------
    Relevance

    Raises
    ------
    ValueError
        If anything is not as described.
    """
    junk_lists = None if junk is None else _check_lists(junk, "junk", n_query, n_database)
    if isinstance(relevant, tuple) and len(relevant) == 2:
        query = check_labels(relevant[0], "relevant[0] (query labels)", n=n_query)
        database = check_labels(relevant[1], "relevant[1] (database labels)", n=n_database)
        if query.shape[1:] != database.shape[1:]:
            raise ValueError(
                "relevant: expected query and database labels of one kind (both 1-D ids, or both 2-D with as many "
                f"columns), got shapes {query.shape} and {database.shape}"
            )
        if query.ndim == 1:
            return _SameId(query, database, junk_lists)
        if query.shape[1] == 0:
            raise ValueError(f"relevant: expected at least one label column, got shape {query.shape}")
        return _SharedLabel(query, database, junk_lists)
    if not isinstance(relevant, list):
        raise ValueError(
            "relevant: expected a tuple (query labels, database labels) or a list of index arrays, "
            f"got {type(relevant).__name__}"
        )
    lists = _check_lists(relevant, "relevant", n_query, n_database)
    if junk_lists is not None:
        for i in range(n_query):
            both = np.intersect1d(lists.of(i), junk_lists.of(i), assume_unique=True)
            if both.size:
                raise ValueError(
                    f"junk: expected no item that is also relevant, got {both.size} for query {i}, first is {both[0]}"
                )
    return _Listed(lists, n_database, junk_lists)


def _check_lists(lists: Sequence[ArrayLike], name: str, n_query: int, n_database: int) -> IndexLists:
    if not isinstance(lists, list | tuple) or len(lists) != n_query:
        got = (
            f"{len(lists)} in a {type(lists).__name__}" if hasattr(lists, "__len__") else type(lists).__name__
        )
        raise ValueError(
            f"{name}: expected a list of {n_query} index arrays, one a query, got {got} "
            "(a pair of label arrays must be a tuple)"
        )
    arrays = []
    for i, indices in enumerate(lists):
        array = np.asarray(indices)
        if array.size == 0:
            array = np.zeros(0, dtype=np.int64)
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise ValueError(
                f"{name}[{i}]: expected a 1-D array of whole-number indices, got {array.dtype} of shape {array.shape}"
            )
        array = np.sort(array.astype(np.int64))
        if array.size and (array[0] < 0 or array[-1] >= n_database):
            raise ValueError(
                f"{name}[{i}]: expected indices from 0 to {n_database - 1}, got {array[0]} to {array[-1]}"
            )
        if (np.diff(array) == 0).any():
            raise ValueError(f"{name}[{i}]: expected every index at most once, got some twice")
        arrays.append(array)
    offsets = np.concatenate([[0], np.cumsum([array.size for array in arrays])]).astype(np.int64)
    return IndexLists(np.concatenate(arrays), offsets)
