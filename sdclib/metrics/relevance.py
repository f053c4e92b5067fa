"""What counts as relevant: equal ids, a shared label, or explicit lists; junk items leave the ranking."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sdclib.checks import check_labels
from sdclib.codes import pack_codes
from sdclib.metrics.distances import hamming_block, pad_bytes

__all__ = ["Relevance", "Relevant", "check_relevance"]

Relevant: TypeAlias = tuple[ArrayLike, ArrayLike] | Sequence[ArrayLike]
Mask: TypeAlias = Callable[[slice, slice], NDArray[np.bool_]]


@dataclass(frozen=True, eq=False)
class Relevance:
    """Which database items are relevant to which query, asked block by block.

    Attributes
    ----------
    n_query, n_database : int
    relevant : callable
        From rows (queries) and columns (database items) to a mask; junk not yet removed.
    junk : callable or None
        Likewise for items that are removed from a query's ranking and never count as relevant.
    """

    n_query: int
    n_database: int
    relevant: Mask
    junk: Mask | None

    def block(self, rows: slice, columns: slice) -> tuple[NDArray[np.bool_], NDArray[np.bool_] | None]:
        """Masks (relevant, junk) of shape (n_rows, n_columns); no item is both, None means no junk at all."""
        relevant = self.relevant(rows, columns)
        if self.junk is None:
            return relevant, None
        junk = self.junk(rows, columns)
        return relevant & ~junk, junk


def _same_id(query: NDArray[np.integer], database: NDArray[np.integer]) -> Mask:
    known, ids = np.unique(np.concatenate([query, database]), return_inverse=True)
    ids = ids.astype(np.min_scalar_type(len(known)))  # mostly one byte an id: comparing is faster
    query, database = ids[: len(query)], ids[len(query) :]
    return lambda rows, columns: query[rows, None] == database[None, columns]


def _shared_label(query: NDArray[np.integer], database: NDArray[np.integer]) -> Mask:
    packed = [pad_bytes(pack_codes(labels)) for labels in (query, database)]
    sizes = [labels.sum(axis=1, dtype=np.int32) for labels in (query, database)]

    def mask(rows: slice, columns: slice) -> NDArray[np.bool_]:
        # |a| + |b| - hamming(a, b) = twice the number of shared labels.
        different = hamming_block(packed[0][rows], packed[1][columns])
        different -= sizes[0][rows, None]
        return different < sizes[1][None, columns]

    return mask


def _listed(lists: list[NDArray[np.int64]]) -> Mask:
    """Membership in sorted lists of indices, one a query."""

    def mask(rows: slice, columns: slice) -> NDArray[np.bool_]:
        found = np.zeros((rows.stop - rows.start, columns.stop - columns.start), dtype=np.bool_)
        for row, indices in zip(found, lists[rows], strict=True):
            low, high = np.searchsorted(indices, (columns.start, columns.stop))
            row[indices[low:high] - columns.start] = True
        return found

    return mask


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
    unwanted = None if junk is None else _check_lists(junk, "junk", n_query, n_database)
    junk_mask = None if unwanted is None else _listed(unwanted)
    if isinstance(relevant, tuple) and len(relevant) == 2:
        query = check_labels(relevant[0], "relevant[0] (query labels)", n=n_query)
        database = check_labels(relevant[1], "relevant[1] (database labels)", n=n_database)
        if query.shape[1:] != database.shape[1:]:
            raise ValueError(
                "relevant: expected query and database labels of one kind (both 1-D ids, or both 2-D with as many "
                f"columns), got shapes {query.shape} and {database.shape}"
            )
        if query.ndim == 1:
            return Relevance(n_query, n_database, _same_id(query, database), junk_mask)
        if query.shape[1] == 0:
            raise ValueError(f"relevant: expected at least one label column, got shape {query.shape}")
        return Relevance(n_query, n_database, _shared_label(query, database), junk_mask)
    if not isinstance(relevant, list):
        raise ValueError(
            "relevant: expected a tuple (query labels, database labels) or a list of index arrays, "
            f"got {type(relevant).__name__}"
        )
    wanted = _check_lists(relevant, "relevant", n_query, n_database)
    for i, junk_items in enumerate(unwanted or []):
        both = np.intersect1d(wanted[i], junk_items)
        if both.size:
            raise ValueError(
                f"junk: expected no item that is also relevant, got {both.size} for query {i}, first is {both[0]}"
            )
    return Relevance(n_query, n_database, _listed(wanted), junk_mask)


def _check_lists(
    lists: Sequence[ArrayLike], name: str, n_query: int, n_database: int
) -> list[NDArray[np.int64]]:
    """Sort and check one list of indices a query."""
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
    return arrays
