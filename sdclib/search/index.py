"""Search by Hamming distance with faiss binary indexes, and float re-scoring of the best candidates."""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import ArrayLike, NDArray

from sdclib.checks import MIN_LENGTH, as_array, check_features, check_int, check_name
from sdclib.codes import binarize
from sdclib.files import write_bytes
from sdclib.metrics.counts import DEVICE_BLOCK
from sdclib.metrics.distances import packed_codes, signs_on

__all__ = ["HammingIndex"]

_TYPES = {"flat": faiss.IndexBinaryFlat, "ivf": faiss.IndexBinaryIVF, "hnsw": faiss.IndexBinaryHNSW}
# After faiss's own bytes (whose reader stops before it): magic, code length, SHA-256 of what comes before. By GROUPED
# there is, between faiss's bytes and this, the number of each item's code (int64), and how many items there are.
TRAILER = struct.Struct("<8sQ32s")
MAGIC, GROUPED = b"SDCIDX01", b"SDCIDX02"
_ONE_READER = threading.Lock()  # faiss has one limit for all threads
LIMITS = ("deserialization_vector_byte_limit", "deserialization_loop_limit")  # that a new faiss has


class HammingIndex:
    """Search among codes by Hamming distance; ValueError names an argument that is not as described.

    Parameters
    ----------
    database_codes : array-like
        Codes of 0 and 1, shape (n_database, n_bits); or, with `n_bits` given, packed codes, uint8 of shape
        (n_database, ceil(n_bits / 8)), lowest bit first.
    n_bits : int, optional
        Code length; says that codes are packed.
    kind : {"flat", "ivf", "hnsw"}
        "flat": exact, compares with every item. "ivf": items in `n_lists` clusters, of which a search visits
        `n_probe`. "hnsw": a graph with `n_neighbors` links a node, searched `ef_search` wide; its nodes are the
        distinct codes, of which a search hands back all items. The last two are approximate; the graph that several
        threads build is not the same on every run.
    n_lists : int, optional
        For "ivf": clusters, at most n_database; by default about 4 sqrt(n_database), and at least 39 items each.
    n_probe, n_neighbors, ef_search : int
        See `kind`; ignored by the others. The first and the last may be set later; `kind`, `n_bits` and `n_database`
        can be read.
    """

    def __init__(
        self,
        database_codes: ArrayLike,
        *,
        n_bits: int | None = None,
        kind: str = "flat",
        n_lists: int | None = None,
        n_probe: int = 8,
        n_neighbors: int = 32,
        ef_search: int = 64,
    ):
        packed, n_bits = packed_codes(database_codes, "database_codes", n_bits)
        index: Any = faiss.IndexBinaryFlat(8 * packed.shape[1])
        groups = None
        if check_name(kind, "kind", _TYPES) == "hnsw":
            packed, groups = _distinct(packed)
            index = faiss.IndexBinaryHNSW(index.d, check_int(n_neighbors, "n_neighbors", minimum=2))
        elif kind == "ivf":
            n = len(packed)
            if n_lists is None:
                n_lists = max(1, min(int(4 * np.sqrt(n)), n // 39))
            check_int(n_lists, "n_lists", minimum=1, maximum=n, of="items of the database")
            index = faiss.IndexBinaryIVF(index, index.d, n_lists)
            index.train(packed)
        index.add(packed)
        self._set(index, n_bits, groups)
        if kind == "hnsw":
            self.ef_search = ef_search
        elif kind == "ivf":
            self.n_probe = n_probe

    def _set(self, index: Any, n_bits: int, groups: NDArray[np.int64] | None) -> None:
        self._index = index
        self.n_bits = n_bits
        self.kind = next(kind for kind, type_ in _TYPES.items() if isinstance(index, type_))
        self._codes: NDArray[np.uint8] | None = None
        self._continuous: _SignIndex | None = None
        self._groups = None if groups is None else _Groups(groups)  # None: each item has its own code
        self.n_database = int(index.ntotal) if groups is None else len(groups)

    def __repr__(self) -> str:
        return f"HammingIndex(kind={self.kind!r}, n_database={self.n_database}, n_bits={self.n_bits})"

    @property
    def n_probe(self) -> int:
        """Clusters that a search visits, for "ivf" alone."""
        self._only("ivf", "n_probe")
        return int(self._index.nprobe)

    @n_probe.setter
    def n_probe(self, value: int) -> None:
        self._only("ivf", "n_probe")
        self._index.nprobe = min(check_int(value, "n_probe", minimum=1), self._index.nlist)

    @property
    def ef_search(self) -> int:
        """Candidates that a search keeps, for "hnsw" alone; more where it is to find more."""
        self._only("hnsw", "ef_search")
        return int(self._index.hnsw.efSearch)

    @ef_search.setter
    def ef_search(self, value: int) -> None:
        self._only("hnsw", "ef_search")
        self._index.hnsw.efSearch = check_int(value, "ef_search", minimum=1)

    def _only(self, kind: str, name: str) -> None:
        if self.kind != kind:
            raise AttributeError(f"{name}: expected an index of kind {kind!r}, got {self.kind!r}")

    def search(
        self, query_codes: ArrayLike, k: int, *, packed: bool = False
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Find the k nearest items of every query.

        Parameters
        ----------
        query_codes : array-like
            Codes of 0 and 1, shape (n_query, n_bits); or packed codes if `packed`.
        k : int
            At most `n_database`.
        packed : bool

        Returns
        -------
        distances : ndarray, shape (n_query, k), int32
            Hamming distances, ascending.
        indices : ndarray, shape (n_query, k), int64
            Database indices; ties by index. "flat" is exact, also in which tied items it drops at k (the later
            ones). Where "ivf" or "hnsw" find fewer than k items, the rest is index -1 at distance n_bits + 1.
        """
        query, n_bits = packed_codes(query_codes, "query_codes", self.n_bits if packed else None)
        if n_bits != self.n_bits:
            raise ValueError(f"query_codes: expected {self.n_bits} bits as in the index, got {n_bits}")
        k = self._check_k(k)
        distances, indices = self._index.search(query, min(k, self._index.ntotal))
        if self._groups is not None:
            distances, indices = self._groups.items(distances, indices, k)
        distances = np.where(indices < 0, self.n_bits + 1, distances).astype(np.int32)
        return _taken(np.lexsort((indices, distances), axis=1), distances, indices)

    def search_continuous(
        self, query: ArrayLike, k: int, *, n_candidates: int | None = None, device: str | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Find the k items whose codes of -1 and 1 have the largest cosine with continuous codes of the queries.

        The database keeps its bits alone; this is the "asymmetric" distance. It puts items in order that are at one
        Hamming distance, and costs the query nothing but its own signs.

        Parameters
        ----------
        query : array-like, shape (n_query, n_bits)
            Continuous codes, see `BaseHasher.decision_function`.
        k : int
            At most `n_database`.
        n_candidates : int, optional
            Compare only as many items as are nearest by Hamming distance, at least `k`; all by default. Of "ivf" and
            "hnsw" these are as approximate as `search`, all items are exact.
        device : str, optional
            A device of torch that compares all items, such as "cuda"; the scores are equal up to rounding, by which
            items of one code may come in another order.

        Returns
        -------
        scores, indices : ndarray, shape (n_query, k), float32 and int64
            As `rescore` returns them, ties by index.
        """
        query = check_features(query, "query", n_features=self.n_bits)
        k = self._check_k(k)
        if n_candidates is not None:
            if device is not None:
                raise ValueError(f"device: expected none beside n_candidates, got {device!r}")
            n_candidates = check_int(n_candidates, "n_candidates", minimum=k)
            candidates = self.search(binarize(query), min(n_candidates, self.n_database))[1]
            candidates[candidates < 0] = self.n_database  # last
            candidates.sort(axis=1)
            candidates[candidates == self.n_database] = -1
            scores, indices = self.rescore(candidates, query)
            return scores[:, :k], indices[:, :k]
        if device is not None:
            packed = self._packed_codes()
            every = packed if self._groups is None else packed[self._groups.number]
            return _search_on(device, every, query, k)
        if self._continuous is None:
            self._continuous = _SignIndex(self._packed_codes(), self._groups, self.n_bits)
        return self._continuous.search(query, k)

    def _check_k(self, k: int) -> int:
        return check_int(k, "k", minimum=1, maximum=self.n_database, of="items of the database")

    def _packed_codes(self) -> NDArray[np.uint8]:
        """Codes of the index: of all items, or the distinct ones where it has groups."""
        if self._codes is None:
            if self.kind == "ivf":
                self._index.make_direct_map()
            self._codes = self._index.reconstruct_n(0, self._index.ntotal)
        return self._codes

    def rescore(
        self, indices: ArrayLike, query: ArrayLike, database: ArrayLike | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Order candidates of a search anew, by a cosine with float vectors.

        Parameters
        ----------
        indices : array-like, shape (n_query, k), whole numbers
            Candidates, as `search` returns them; -1 for none.
        query : array-like, shape (n_query, d)
            Float vectors of the queries: features, or continuous codes (d = n_bits) if `database` is None.
        database : array-like, shape (n_database, d), optional
            Float features of the database, in its order; only candidates' rows are read, so that it may be a
            memory map. Without it the +-1 codes in the index are compared with, see `search_continuous`.

        Returns
        -------
        scores : ndarray, shape (n_query, k), float32
            Cosines, descending; -inf where there is no candidate.
        indices : ndarray, shape (n_query, k), int64
            The same candidates, best first, -1 for none; ties stay in the order that came.
        """
        query = check_features(query, "query", n_features=self.n_bits if database is None else None)
        candidates = np.asarray(indices)
        if candidates.ndim != 2 or candidates.shape[0] != len(query) or candidates.dtype.kind not in "iu":
            raise ValueError(
                f"indices: expected whole numbers of shape ({len(query)}, k), one row a query, "
                f"got {candidates.dtype} of shape {candidates.shape}"
            )
        candidates = candidates.astype(np.int64)
        if candidates.size and (candidates.min() < -1 or candidates.max() >= self.n_database):
            raise ValueError(
                f"indices: expected -1 to {self.n_database - 1}, got {candidates.min()} to {candidates.max()}"
            )
        vectors = None if database is None else as_array(database, "database")
        shape = self.n_database, query.shape[1]
        if vectors is not None and vectors.shape != shape:
            raise ValueError(
                f"database: expected shape {shape}, one row an item of the index and as many columns as query, "
                f"got {vectors.shape}"
            )
        scores = np.empty(candidates.shape, dtype=np.float32)
        for i, row in enumerate(candidates):
            with np.errstate(over="ignore", under="ignore"):
                chosen = self._signs(row) if vectors is None else np.asarray(vectors[row], dtype=np.float32)
                lengths = np.sqrt(np.vecdot(chosen, chosen))
            if not ((lengths >= MIN_LENGTH) & (lengths < np.inf)).all():  # NaN fails too
                check_features(chosen, "database")
            # row by row: a product of matrices rounds by position, so that equal rows would not tie
            scores[i] = np.vecdot(chosen, query[i]) / (lengths * np.linalg.norm(query[i]))
        scores[candidates < 0] = -np.inf
        return _taken(np.argsort(-scores, axis=1, kind="stable"), scores, candidates)

    def _signs(self, items: NDArray[np.int64]) -> NDArray[np.float32]:
        """Codes of some items as -1 and 1, shape (n_items, n_bits), float32."""
        items = items if self._groups is None else self._groups.number[items]
        bits = np.unpackbits(self._packed_codes()[items], axis=1, bitorder="little")[:, : self.n_bits]
        return bits.astype(np.float32) * 2 - 1

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the index to a file, at once; OSError that names it where that fails, an old one is then untouched.

        The file begins as `faiss.write_index_binary` writes it (and `faiss.read_index_binary` reads it; of "hnsw" that
        is the distinct codes), and ends with the code length and a SHA-256.
        """
        return write_bytes(path, self.__getstate__())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> HammingIndex:
        """Read an index that `save` wrote; ValueError that names the file if it is damaged, or not such a file."""
        loaded = cls.__new__(cls)
        try:
            loaded.__setstate__(Path(path).read_bytes())
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        return loaded

    def __getstate__(self) -> bytes:
        data = faiss.serialize_index_binary(self._index).tobytes()
        if self._groups is not None:
            number = self._groups.number
            data += np.append(number, len(number)).astype("<i8").tobytes()
        magic = MAGIC if self._groups is None else GROUPED
        return data + TRAILER.pack(magic, self.n_bits, hashlib.sha256(data).digest())

    def __setstate__(self, content: bytes) -> None:
        data, trailer = content[: -TRAILER.size], content[-TRAILER.size :]
        if len(trailer) < TRAILER.size or not trailer.startswith((MAGIC, GROUPED)):
            raise ValueError(
                f"expected a file of HammingIndex.save, got {len(content)} bytes without its end mark "
                "(cut short, or another kind of file)"
            )
        magic, n_bits, digest = TRAILER.unpack(trailer)
        if hashlib.sha256(data).digest() != digest:
            raise ValueError("damaged, its content does not match its SHA-256")
        groups = None
        if magic == GROUPED:
            n_items = int.from_bytes(data[-8:], "little")
            if not 0 < n_items < len(data) // 8:
                raise ValueError(f"expected the codes of {n_items} items, got {len(data)} bytes")
            groups = np.frombuffer(data[-8 * (n_items + 1) : -8], dtype="<i8").astype(np.int64)
            data = data[: -8 * (n_items + 1)]
        try:
            with _limits(len(data)):
                index = faiss.deserialize_index_binary(np.frombuffer(data, dtype=np.uint8))
        except (RuntimeError, MemoryError) as error:
            raise ValueError(f"expected a binary index of faiss ({error})") from error
        if not isinstance(index, tuple(_TYPES.values())):
            raise ValueError(f"expected an index {', '.join(_TYPES)}, got {type(index).__name__}")
        if index.code_size != -(-n_bits // 8):
            raise ValueError(f"expected codes of {n_bits} bits, got {index.code_size} bytes")
        if groups is not None and not np.array_equal(np.unique(groups), np.arange(index.ntotal)):
            raise ValueError(f"expected items of all {index.ntotal} codes, got others")
        self._set(index, n_bits, groups)


class _Groups:
    """Items that share codes, of each the number of its code: from codes that were found to items."""

    def __init__(self, number: NDArray[np.int64]):
        self.number = number
        self._items = np.argsort(number, kind="stable")
        self._counts = np.bincount(number)
        self._ends = np.cumsum(self._counts)

    def items(
        self, distances: NDArray[Any], numbers: NDArray[np.int64], k: int
    ) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Turn the codes that were found, -1 for none, into the k nearest of their items, ties by index."""
        near = np.zeros((len(numbers), k), dtype=distances.dtype)
        items = np.full((len(numbers), k), -1, dtype=np.int64)
        for i, (row, codes) in enumerate(zip(distances, numbers, strict=True)):
            row, codes = row[codes >= 0], codes[codes >= 0]
            order = np.argsort(row, kind="stable")
            row, codes = row[order], codes[order]
            counts = self._counts[codes]
            last = row[: np.searchsorted(np.cumsum(counts), k) + 1][-1:]  # where there are k items
            chosen = row <= last
            parts = [
                self._items[self._ends[code] - self._counts[code] : self._ends[code]]
                for code in codes[chosen]
            ]
            found, distance = np.concatenate([items[i, :0], *parts]), np.repeat(row[chosen], counts[chosen])
            order = np.lexsort((found, distance))[:k]
            items[i, : len(order)], near[i, : len(order)] = found[order], distance[order]
        return near, items


class _SignIndex:
    """Search by the inner product of float queries with codes of -1 and 1, exactly and on all threads.

    To faiss this is a product quantizer: a byte of a code says which of the 256 patterns of eight signs stands there.
    It looks the products of a query with the patterns up, byte by byte, so that equal codes have equal scores; as it
    drops any of the tied items at k, it holds the distinct codes.
    """

    def __init__(self, packed: NDArray[np.uint8], groups: _Groups | None, n_bits: int):
        self._groups, self._n_bits = groups, n_bits
        if groups is None:
            packed, number = _distinct(packed)
            self._groups = None if number is None else _Groups(number)
        n_bytes = packed.shape[1]
        patterns = 2 * np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little") - 1.0
        index: Any = faiss.IndexPQ(8 * n_bytes, n_bytes, 8, faiss.METRIC_INNER_PRODUCT)
        faiss.copy_array_to_vector(np.tile(patterns.astype(np.float32).ravel(), n_bytes), index.pq.centroids)
        faiss.copy_array_to_vector(packed.ravel(), index.codes)
        index.ntotal, index.is_trained = len(packed), True
        self._index = index

    def search(self, query: NDArray[np.float32], k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        padded = np.pad(query, ((0, 0), (0, self._index.d - self._n_bits)))
        scores, indices = self._index.search(padded, min(k, self._index.ntotal))
        if self._groups is not None:
            distances, indices = self._groups.items(-scores, indices, k)
            scores = -distances
        scores = scores / (np.linalg.norm(query, axis=1, keepdims=True) * np.float32(np.sqrt(self._n_bits)))
        return _taken(np.lexsort((indices, -scores), axis=1), scores, indices)


def _taken(
    order: NDArray[np.int64], values: NDArray[Any], items: NDArray[np.int64]
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    return np.take_along_axis(values, order, axis=1), np.take_along_axis(items, order, axis=1)


def _search_on(
    device: str, packed: NDArray[np.uint8], query: NDArray[np.float32], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Find the k largest cosines with codes of -1 and 1 on a device of torch."""
    import torch

    unit = query / np.linalg.norm(query, axis=1, keepdims=True) / np.float32(np.sqrt(query.shape[1]))
    unit = torch.from_numpy(unit).to(device)
    best, items = unit[:, :0], torch.empty((len(query), 0), dtype=torch.int64, device=device)
    n_columns = max(1, DEVICE_BLOCK // len(query))
    for start in range(0, len(packed), n_columns):
        scores = unit @ signs_on(packed[start : start + n_columns], query.shape[1], device).T
        new = torch.arange(start, start + scores.shape[1], device=device).expand_as(scores)
        best, order = torch.cat([best, scores], dim=1).sort(dim=1, descending=True, stable=True)
        best, items = best[:, :k], torch.cat([items, new], dim=1).gather(1, order[:, :k])
    return best.cpu().numpy(), items.cpu().numpy()


@contextlib.contextmanager
def _limits(n_bytes: int) -> Iterator[None]:
    """Keep faiss from making room for more than the bytes that it reads can hold."""
    names = [name for name in LIMITS if hasattr(faiss, f"set_{name}")]
    with _ONE_READER:
        before = [getattr(faiss, f"get_{name}")() for name in names]
        try:
            for name in names:
                getattr(faiss, f"set_{name}")(n_bytes)
            yield
        finally:
            for name, limit in zip(names, before, strict=True):
                getattr(faiss, f"set_{name}")(limit)


def _distinct(packed: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.int64] | None]:
    """Distinct codes in the order in which they come, and the number of each item's; None where each is its own."""
    _, first, inverse = np.unique(packed, axis=0, return_index=True, return_inverse=True)
    if len(first) == len(packed):
        return packed, None
    order = np.argsort(first)
    numbers = np.empty_like(order)
    numbers[order] = np.arange(len(order))
    return packed[first[order]], numbers[inverse.ravel()]
