"""What counts as relevant: equal ids, a shared label, or explicit lists; junk items leave the ranking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sdclib.checks import check_labels
from sdclib.codes import pack_codes
from sdclib.metrics.distances import pad_bytes

__all__ = ["Relevance", "Relevant", "check_relevance"]

Relevant: TypeAlias = tuple[ArrayLike, ArrayLike] | Sequence[ArrayLike]


@dataclass(frozen=True, eq=False)
class Relevance:
    """Which database items are relevant to which query, by labels or by lists, and which are junk.

    Attributes
    ----------
    query_labels, database_labels : ndarray, shapes (n_query, n_words), (n_database, n_words), uint64
        Of no words where lists say what is relevant.
    shared : bool
        Labels are sets of bits, of which one in common makes relevant; else equal labels do.
    listed, junk : list of ndarray, int64, or None
        Of each query, sorted indices of items that lists say are relevant, and of those that never count.
    """

    query_labels: NDArray[np.uint64]
    database_labels: NDArray[np.uint64]
    shared: bool
    listed: list[NDArray[np.int64]] | None
    junk: list[NDArray[np.int64]] | None

    @property
    def n_query(self) -> int:
        """Number of queries."""
        return len(self.query_labels)

    @property
    def n_database(self) -> int:
        """Number of items, junk included."""
        return len(self.database_labels)

    def block(self, rows: slice) -> tuple[NDArray[np.bool_], NDArray[np.bool_] | None]:
        """Masks (relevant, junk) of shape (n_rows, n_database); no item is both, None means no junk at all."""
        relevant = np.full((rows.stop - rows.start, self.n_database), not self.shared)
        for query, database in zip(self.query_labels[rows].T, self.database_labels.T, strict=True):
            if self.shared:
                relevant |= (query[:, None] & database) != 0
            else:
                relevant &= query[:, None] == database
        relevant |= self._members(self.listed, rows)
        if self.junk is None:
            return relevant, None
        junk = self._members(self.junk, rows)
        return relevant & ~junk, junk

    def _members(self, lists: list[NDArray[np.int64]] | None, rows: slice) -> NDArray[np.bool_]:
        found = np.zeros((rows.stop - rows.start, self.n_database), dtype=np.bool_)
        for row, indices in zip(found, lists[rows] if lists else (), strict=False):
            row[indices] = True
        return found


def check_relevance(
    relevant: Relevant, *, n_query: int, n_database: int, junk: Sequence[ArrayLike] | None = None
) -> Relevance:
    """Check the ground truth, as `sdclib.metrics.count_pairs` describes it, and bring it to one form.

    Junk that labels say is relevant is not; an item in both lists is an error.
    """
    unwanted = None if junk is None else _check_lists(junk, "junk", n_query, n_database)
    if isinstance(relevant, tuple) and len(relevant) == 2:
        query = check_labels(relevant[0], "relevant[0] (query labels)", n=n_query)
        database = check_labels(relevant[1], "relevant[1] (database labels)", n=n_database)
        if query.shape[1:] != database.shape[1:]:
            raise ValueError(
                "relevant: expected query and database labels of one kind (both 1-D ids, or both 2-D with as many "
                f"columns), got shapes {query.shape} and {database.shape}"
            )
        if query.ndim == 1:
            ids = [labels[:, None].view(np.uint64) for labels in (query, database)]
            return Relevance(ids[0], ids[1], False, None, unwanted)
        if query.shape[1] == 0:
            raise ValueError(f"relevant: expected at least one label column, got shape {query.shape}")
        words = [pad_bytes(pack_codes(labels)).view(np.uint64) for labels in (query, database)]
        return Relevance(words[0], words[1], True, None, unwanted)
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
    none = np.zeros((max(n_query, n_database), 0), dtype=np.uint64)
    return Relevance(none[:n_query], none[:n_database], True, wanted, unwanted)


def _check_lists(
    lists: Sequence[ArrayLike], name: str, n_query: int, n_database: int
) -> list[NDArray[np.int64]]:
    """Sort and check one list of indices a query."""
    if not isinstance(lists, list | tuple) or len(lists) != n_query:
        n = f"{len(lists)} in " if hasattr(lists, "__len__") else ""
        raise ValueError(
            f"{name}: expected a list of {n_query} index arrays, one a query, got {n}{type(lists).__name__} "
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
