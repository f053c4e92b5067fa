"""Counts of items and of relevant items by distance or rank, and how a cut divides a group of ties."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sdclib.checks import check_int
from sdclib.files import write_bytes
from sdclib.metrics.distances import Distances, check_code_pair, signs_on
from sdclib.metrics.relevance import Relevance, Relevant, check_relevance
from sdclib.progress import tqdm

__all__ = [
    "PRECISION_SUMS",
    "PairCounter",
    "PairCounts",
    "Ranking",
    "TieGroups",
    "as_counts",
    "count_pairs",
    "cut_groups",
    "divided_hits",
    "harmonic_numbers",
    "hypergeometric",
    "pair_blocks",
    "rankings",
]

LONG_WORK = 2_000_000_000  # pairs; a second and more: show a progress bar
QUERY_BLOCK = 32  # queries at a time of one thread
ROW_BLOCK = 1 << 23  # entries of a block of whole rows: 32 MB of float32
DEVICE_BLOCK = 1 << 24  # pairs at a time on a device of torch
CHUNK = 1 << 14  # numbers of hits at a time: what the cache holds


@dataclass(frozen=True, eq=False)
class PairCounts:
    """Per query, how many items and relevant items there are at each distance: all that a tie-aware metric needs.

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
    distances: Distances, relevance: Relevance
) -> Iterator[tuple[slice, NDArray[Any], NDArray[np.bool_], NDArray[np.bool_] | None]]:
    """Yield rows of queries, their distances, and masks as `Relevance.block` has them; long work shows a bar."""
    n_query, n_database = relevance.n_query, relevance.n_database
    with _bar(n_query * n_database) as bar:
        for rows in _slices(n_query, max(1, ROW_BLOCK // n_database)):
            yield rows, distances(rows), *relevance.block(rows)
            bar.update((rows.stop - rows.start) * n_database)


def _slices(n: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def _bar(work: int) -> Any:
    return tqdm(
        total=work, unit="pair", unit_scale=True, leave=False, mininterval=1, disable=work < LONG_WORK
    )


def count_pairs(
    query_codes: ArrayLike,
    database_codes: ArrayLike,
    relevant: Relevant,
    *,
    n_bits: int | None = None,
    junk: Sequence[ArrayLike] | None = None,
    device: str | None = None,
) -> PairCounts:
    """Count items and relevant items by Hamming distance, for each query.

    Memory beyond codes and result stays at a few MB. Long work shows a progress bar. ValueError names what does not
    fit of shapes, values, code lengths or numbers of labels.

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
    device : str, optional
        A device of torch that counts, such as "cuda"; the counts are the same. By default the processor does.
    """
    query, database, n_bits = check_code_pair(query_codes, database_codes, n_bits)
    relevance = check_relevance(relevant, n_query=len(query), n_database=len(database), junk=junk)
    counts = _count(query.view(np.uint64), database.view(np.uint64), n_bits, relevance, device)
    return PairCounts(counts.sum(axis=1), counts[:, 1].copy(), len(database))


def _count(
    query: NDArray[np.uint64],
    database: NDArray[np.uint64],
    n_bits: int,
    relevance: Relevance,
    device: str | None,
) -> NDArray[np.int64]:
    """Of each query, items that are not relevant and items that are, by distance: shape (n_query, 2, n_bits + 1)."""
    import faiss  # whose number of threads is that of all searches

    add: Callable[..., None]
    if device is None:
        from sdclib.metrics.histograms import add_histograms as add
    else:
        add = partial(_add_on_device, device=device)

    def histograms(rows: slice, items: Any = slice(None)) -> NDArray[np.int64]:
        found = np.zeros((rows.stop - rows.start, 2, n_bits + 1), dtype=np.int64)
        labels = relevance.query_labels[rows], relevance.database_labels[items]
        add(found.reshape(len(found), -1), query[rows], database[items], *labels, relevance.shared)
        return found

    def count(rows: slice) -> NDArray[np.int64]:
        found = histograms(rows)
        for i, row in enumerate(found, start=rows.start):
            one = slice(i, i + 1)
            if relevance.listed is not None:
                hits = histograms(one, relevance.listed[i])[0]
                row += hits[::-1] - hits  # labels say of none that it is relevant
            if relevance.junk is not None:
                row -= histograms(one, relevance.junk[i])[0]
        return found

    parts = []
    with (
        _bar(len(query) * len(database)) as bar,
        ThreadPoolExecutor(faiss.omp_get_max_threads() if device is None else 1) as pool,
    ):
        for part in pool.map(count, _slices(len(query), QUERY_BLOCK)):
            parts.append(part)
            bar.update(len(part) * len(database))
    return np.concatenate(parts)


def _add_on_device(
    counts: NDArray[np.int64],
    query: NDArray[np.uint64],
    database: NDArray[np.uint64],
    query_labels: NDArray[np.uint64],
    database_labels: NDArray[np.uint64],
    shared: bool,
    *,
    device: str,
) -> None:
    """Do what `add_histograms` does, by a product of matrices and one histogram."""
    import torch

    n_bins = counts.shape[1] // 2
    own = signs_on(query.view(np.uint8), n_bins - 1, device)
    first = torch.arange(len(query), device=device)[:, None] * 2 * n_bins
    n_columns = max(1, DEVICE_BLOCK // len(query))
    for start in range(0, len(database), n_columns):
        part = slice(start, start + n_columns)
        product = own @ signs_on(database[part].view(np.uint8), n_bins - 1, device).T
        bins = (n_bins - 1 - product.long()) // 2 + first
        relevant = torch.full(bins.shape, not shared, device=device)
        words = zip(query_labels.view(np.int64).T, database_labels[part].view(np.int64).T, strict=True)
        for pair in words:
            one, other = (torch.tensor(word, device=device) for word in pair)
            relevant = (
                relevant | (one[:, None] & other != 0) if shared else relevant & (one[:, None] == other)
            )
        bins += relevant * n_bins
        counts += torch.bincount(bins.flatten(), minlength=counts.size).cpu().numpy().reshape(counts.shape)


class PairCounter:
    """Counts of pairs, added up over blocks of queries and of a database that is never in one place.

    Counts are whole numbers, so all metrics of `compute` are those of one `count_pairs`, bit for bit, in whatever
    order and on however many machines the blocks were counted.

    Parameters
    ----------
    n_query, n_bits : int
        All queries, and the code length.
    """

    def __init__(self, n_query: int, n_bits: int):
        shape = check_int(n_query, "n_query", minimum=1), check_int(n_bits, "n_bits", minimum=1) + 1
        # the last: how many items each query has met, junk included
        shapes = {"all": shape, "relevant": shape, "n_database": shape[:1]}
        self._arrays = {name: np.zeros(shape, dtype=np.int64) for name, shape in shapes.items()}

    @property
    def n_bits(self) -> int:
        """Code length."""
        return self._arrays["all"].shape[1] - 1

    def update(
        self,
        query_codes: ArrayLike,
        database_codes: ArrayLike,
        relevant: Relevant,
        *,
        first_query: int = 0,
        packed: bool = False,
        junk: Sequence[ArrayLike] | None = None,
        device: str | None = None,
    ) -> None:
        """Count the pairs of some queries, from `first_query` on, and some of the database.

        Others are as in `count_pairs`, of these queries and items alone; codes of any other length, and queries
        beyond the last, are errors.
        """
        n_bits = self.n_bits if packed else None
        counts = count_pairs(query_codes, database_codes, relevant, n_bits=n_bits, junk=junk, device=device)
        if counts.n_bits != self.n_bits:
            raise ValueError(
                f"query_codes: expected {self.n_bits} bits as counted so far, got {counts.n_bits}"
            )
        most = len(self._arrays["all"]) - counts.n_query
        check_int(first_query, "first_query", minimum=0, maximum=most)
        rows = slice(first_query, first_query + counts.n_query)
        for name, array in self._arrays.items():
            array[rows] += getattr(counts, name)

    def merge(self, other: PairCounter) -> None:
        """Add what another counter of the same queries has counted; ValueError where its shape is another."""
        mine, theirs = self._arrays["all"].shape, other._arrays["all"].shape
        if mine != theirs:
            raise ValueError(f"other: expected counts of shape (n_query, n_bits + 1) = {mine}, got {theirs}")
        for name, array in self._arrays.items():
            array += other._arrays[name]

    def compute(self, n_database: int | None = None) -> PairCounts:
        """Add the blocks up: counts that every metric takes in place of codes.

        ValueError where not all queries have met as many items, or not `n_database`, which finds blocks that are
        missing or were counted twice.
        """
        met = self._arrays["n_database"]
        expected = int(met.max()) if n_database is None else check_int(n_database, "n_database", minimum=1)
        if expected == 0 or (met != expected).any():
            query = int(np.argmax(met != expected))
            raise ValueError(
                f"n_database: expected every query to have met {expected or 'some'} items, query {query} has met "
                f"{met[query]}"
            )
        return PairCounts(self._arrays["all"].copy(), self._arrays["relevant"].copy(), expected)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the counts so far as an .npz of int64: all, relevant (n_query, n_bits + 1), n_database (n_query,)."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **self._arrays)
        return write_bytes(path, buffer.getvalue())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> PairCounter:
        """Read what `save` wrote; ValueError that names the file where it is missing, damaged or something else."""
        try:
            with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in ("all", "relevant", "n_database")}
            every, relevant, met = arrays.values()
            counter = cls(len(every), every.shape[1] - 1)
            for array, empty in zip(arrays.values(), counter._arrays.values(), strict=True):
                if array.shape != empty.shape or array.dtype != empty.dtype:
                    raise ValueError(f"{array.dtype} of shape {array.shape}")
            if (relevant < 0).any() or (relevant > every).any() or (every.sum(axis=1) > met).any():
                raise ValueError("counts that no pairs have")
        except Exception as error:  # NumPy and zipfile raise many kinds
            raise ValueError(f"{path}: expected counts that PairCounter.save wrote ({error})") from error
        counter._arrays = arrays
        return counter


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


class Ranking(NamedTuple):
    """The nearest items of one query: `depth` above the cut, and those tied with the last of them.

    Nearest first, ties by database index, without junk; beside them how many of the database are ranked, relevant
    among these, and there at all.
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
    for _, block, relevant, junk in pair_blocks(distances, relevance):
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
    """Groups of tied items, arrays of shapes that broadcast: their size, relevant items, places among the first R.

    Beside them items and relevant items in nearer groups.
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

    Returns groups before the cut, arrays of shape (n_query, n_bits + 1), empty beyond it; and the one that the cut
    divides, arrays of shape (n_query,), empty where it falls between groups, but always with what comes before.
    """
    before = np.cumsum(counts.all, axis=1) - counts.all
    hits_before = np.cumsum(counts.relevant, axis=1) - counts.relevant
    taken = np.clip(top_k - before, 0, counts.all)
    is_whole = taken == counts.all
    whole = TieGroups(
        counts.all * is_whole,
        counts.relevant * is_whole,
        taken * is_whole,
        np.minimum(before, top_k),
        hits_before,
    )
    is_divided = ~is_whole & (taken > 0)
    divided = TieGroups(
        counts.all.sum(axis=1, where=is_divided),
        counts.relevant.sum(axis=1, where=is_divided),
        taken.sum(axis=1, where=is_divided),
        whole.items.sum(axis=1),
        whole.relevant.sum(axis=1),
    )
    return whole, divided


@lru_cache(maxsize=1)
def harmonic_numbers(n: int) -> NDArray[np.longdouble]:
    """H(0), ..., H(n), H(m) = 1 + ... + 1/m; in extended precision, as their differences are multiplied by ranks."""
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


def divided_hits(divided: TieGroups) -> Iterator[tuple[NDArray[np.int64], TieGroups, NDArray[np.int64]]]:
    """Say how many relevant items of the divided group can come above the cut, some queries at a time.

    Yields queries, their groups as columns, and rows of all possible numbers of hits; rows with fewer of them go on
    beyond `most()`. Queries with few come first.
    """
    queries = np.flatnonzero(divided.taken)
    widths = (divided.most() - divided.fewest() + 1)[queries]
    order = np.argsort(widths, kind="stable")
    n_rows = max(1, CHUNK // int(widths.max(initial=1)))
    for start in range(0, queries.size, n_rows):
        part = order[start : start + n_rows]
        group = divided.columns(queries[part])
        yield queries[part], group, group.fewest() + np.arange(widths[part[-1]])


def hypergeometric(group: TieGroups, hits: NDArray[np.int64]) -> NDArray[np.float64]:
    """Probability of `hits` relevant items among the `taken`, for uniform tie orders; rows sum to 1.

    Rows of `hits` ascend by 1 from `fewest()`. By the recurrence between neighbours, outwards from the mode: no large
    factorials.
    """
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
