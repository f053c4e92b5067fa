"""Search by Hamming distance with faiss binary indexes, and float re-scoring of the best candidates."""

from __future__ import annotations

import hashlib
import os
import struct
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import ArrayLike, NDArray

from sdclib.checks import MIN_LENGTH, check_features, check_int, check_name
from sdclib.codes import check_codes, pack_codes
from sdclib.files import write_bytes
from sdclib.metrics.distances import check_packed

__all__ = ["HammingIndex"]

KINDS = ("flat", "hnsw", "ivf")
# After faiss's own bytes (whose reader stops before it): magic, code length, SHA-256 of faiss's bytes.
TRAILER = struct.Struct("<8sQ32s")
MAGIC = b"SDCIDX01"


class HammingIndex:
    """Search among codes by Hamming distance.

    Parameters
    ----------
    database_codes : array-like
        Codes of 0 and 1, shape (n_database, n_bits); or, with `n_bits` given, packed codes, uint8 of shape
        (n_database, ceil(n_bits / 8)), lowest bit first.
    n_bits : int, optional
        Code length; says that codes are packed.
    kind : {"flat", "ivf", "hnsw"}
        "flat": exact, compares with every item. "ivf": items in `n_lists` clusters, of which a search visits
        `n_probe`. "hnsw": a graph with `n_neighbors` links a node, searched `ef_search` wide. The last two
        are approximate; the graph that several threads build is not the same on every run.
    n_lists : int, optional
        For "ivf": clusters, at most n_database; by default about 4 sqrt(n_database), and at least 39 items each.
    n_probe, n_neighbors, ef_search : int
        See `kind`; ignored by the others.

    Attributes
    ----------
    n_bits, n_database : int
    kind : str

    Raises
    ------
    ValueError
        If an argument is not as described.
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
        packed, n_bits = _packed(database_codes, "database_codes", n_bits)
        kind = check_name(kind, "kind", KINDS)
        index = _empty_index(
            kind, packed, n_lists=n_lists, n_probe=n_probe, n_neighbors=n_neighbors, ef_search=ef_search
        )
        index.add(packed)
        self._set(index, n_bits)

    def _set(self, index: Any, n_bits: int) -> None:
        self._index = index
        self.n_bits = n_bits
        self.n_database = int(index.ntotal)
        self.kind = next(kind for kind, types in _TYPES.items() if isinstance(index, types))
        self._codes: NDArray[np.uint8] | None = None

    def __repr__(self) -> str:
        return f"HammingIndex(kind={self.kind!r}, n_database={self.n_database}, n_bits={self.n_bits})"

    @property
    def n_probe(self) -> int:
        """Clusters that a search visits, for "ivf" alone; may be set to 1 up to the number of clusters."""
        self._only("ivf", "n_probe")
        return int(self._index.nprobe)

    @n_probe.setter
    def n_probe(self, value: int) -> None:
        self._only("ivf", "n_probe")
        self._index.nprobe = min(check_int(value, "n_probe", minimum=1), self._index.nlist)

    @property
    def ef_search(self) -> int:
        """Candidates that a search keeps, for "hnsw" alone; may be set. A search for more keeps as many as that."""
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

        Raises
        ------
        ValueError
            If codes have another length or form, or `k` is larger than the database.
        """
        query, _ = _packed(query_codes, "query_codes", self.n_bits if packed else None, expected=self.n_bits)
        k = check_int(k, "k", minimum=1)
        if k > self.n_database:
            raise ValueError(f"k: expected at most the {self.n_database} items of the database, got {k}")
        distances, indices = self._index.search(query, k)
        distances = np.where(indices < 0, self.n_bits + 1, distances).astype(np.int32)
        order = np.lexsort((indices, distances), axis=1)
        return np.take_along_axis(distances, order, axis=1), np.take_along_axis(indices, order, axis=1)

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
            memory map. Without it the +-1 codes in the index are compared with:
            "asymmetric" distance, no float vector of the database needs keeping.

        Returns
        -------
        scores : ndarray, shape (n_query, k), float32
            Cosines, descending; -inf where there is no candidate.
        indices : ndarray, shape (n_query, k), int64
            The same candidates, best first; ties stay in the order that came.

        Raises
        ------
        ValueError
            If shapes do not fit or an index is outside the database.
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
        vectors = None
        if database is not None:
            vectors = np.asarray(database)
            if vectors.shape != (self.n_database, query.shape[1]):
                raise ValueError(
                    f"database: expected shape {(self.n_database, query.shape[1])}, one row an item of the index "
                    f"and as many columns as query, got {vectors.shape}"
                )
        scores = np.empty(candidates.shape, dtype=np.float32)
        for i, row in enumerate(candidates):
            with np.errstate(over="ignore", under="ignore"):
                chosen = self._signs(row) if vectors is None else np.asarray(vectors[row], dtype=np.float32)
                lengths = np.sqrt(np.einsum("ij,ij->i", chosen, chosen))
            if not ((lengths >= MIN_LENGTH) & (lengths < np.inf)).all():  # NaN fails too
                check_features(chosen, "database")
            scores[i] = chosen @ query[i] / (lengths * np.linalg.norm(query[i]))
        scores[candidates < 0] = -np.inf
        order = np.argsort(-scores, axis=1, kind="stable")
        return np.take_along_axis(scores, order, axis=1), np.take_along_axis(candidates, order, axis=1)

    def _signs(self, items: NDArray[np.int64]) -> NDArray[np.float32]:
        """Codes of some items as -1 and 1, shape (n_items, n_bits), float32."""
        if self._codes is None:
            if self.kind == "ivf":
                self._index.make_direct_map()
            self._codes = self._index.reconstruct_n(0, self.n_database)
        bits = np.unpackbits(self._codes[items], axis=1, bitorder="little")[:, : self.n_bits]
        return bits.astype(np.float32) * 2 - 1

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the index to a file, at once (temporary name, then rename).

        The file is what `faiss.write_index_binary` writes (and `faiss.read_index_binary` reads), followed by 48
        bytes with the code length and a SHA-256.

        Returns
        -------
        pathlib.Path

        Raises
        ------
        OSError
            If it cannot be written; the message names the file, and an older one is then untouched.
        """
        data = faiss.serialize_index_binary(self._index).tobytes()
        try:
            return write_bytes(path, data + TRAILER.pack(MAGIC, self.n_bits, hashlib.sha256(data).digest()))
        except OSError as error:
            raise OSError(
                error.errno,
                f"the index cannot be written ({error.strerror or error}); an older file is untouched, so make room "
                "or choose another place",
                str(path),
            ) from error

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> HammingIndex:
        """Read an index that `save` wrote.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it is damaged, cut short, or not such a file.
        """
        content = Path(path).read_bytes()
        data, trailer = content[: -TRAILER.size], content[-TRAILER.size :]
        if len(trailer) < TRAILER.size or not trailer.startswith(MAGIC):
            raise ValueError(
                f"{path}: expected a file of HammingIndex.save, got {len(content)} bytes without its end mark "
                "(cut short, or another kind of file)"
            )
        _, n_bits, digest = TRAILER.unpack(trailer)
        if hashlib.sha256(data).digest() != digest:
            raise ValueError(f"{path}: damaged, its content does not match its SHA-256")
        try:
            index = _deserialize(data)
        except (struct.error, RuntimeError, MemoryError) as error:
            raise ValueError(f"{path}: expected a binary index of faiss ({error})") from error
        if not any(isinstance(index, types) for types in _TYPES.values()):
            raise ValueError(f"{path}: expected an index {', '.join(KINDS)}, got {type(index).__name__}")
        if index.code_size != -(-n_bits // 8):
            raise ValueError(
                f"{path}: expected codes of {n_bits} bits in {-(-n_bits // 8)} bytes, got {index.code_size}"
            )
        loaded = cls.__new__(cls)
        loaded._set(index, n_bits)
        return loaded


_TYPES: dict[str, tuple[type, ...]] = {
    "flat": (faiss.IndexBinaryFlat,),
    "ivf": (faiss.IndexBinaryIVF,),
    "hnsw": (faiss.IndexBinaryHNSW,),
}


def _check_lists(data: bytes) -> None:
    """Refuse an "ivf" index with more lists than bytes: faiss makes room for them before it reads on.

    After the index's own head (25 bytes, list and probe counts) faiss writes the centroids (head, length, bytes), the
    direct map (kind, length, 8 bytes an item) and the lists (their kind and count).
    """
    if not data.startswith(b"IBwF"):
        return
    at = 25 + 16 + 25
    (n_bytes,) = struct.unpack("<Q", data[at : at + 8])
    at += 8 + n_bytes + 1
    (n_mapped,) = struct.unpack("<Q", data[at : at + 8])
    at += 8 + 8 * n_mapped
    kind, n_lists = struct.unpack("<4sQ", data[at : at + 12])
    if kind != b"ilar" or n_lists > len(data):
        raise RuntimeError(f"{n_lists} lists of kind {kind!r} in {len(data)} bytes")


def _deserialize(data: bytes) -> Any:
    """Let faiss read an index, without memory for more than the bytes can hold, where it has such a limit.

    Raises
    ------
    struct.error, RuntimeError, MemoryError
        If the bytes are no such index; the last two also by faiss.
    """
    _check_lists(data)
    array = np.frombuffer(data, dtype=np.uint8)
    if not hasattr(faiss, "set_deserialization_vector_byte_limit"):
        return faiss.deserialize_index_binary(array)
    limit = faiss.get_deserialization_vector_byte_limit()
    faiss.set_deserialization_vector_byte_limit(len(data))
    try:
        return faiss.deserialize_index_binary(array)
    finally:
        faiss.set_deserialization_vector_byte_limit(limit)


def _empty_index(
    kind: str,
    packed: NDArray[np.uint8],
    *,
    n_lists: int | None,
    n_probe: int,
    n_neighbors: int,
    ef_search: int,
) -> Any:
    """Make a faiss index without items, trained where it needs to be."""
    n_database, width = len(packed), 8 * packed.shape[1]
    index: Any
    if kind == "hnsw":
        index = faiss.IndexBinaryHNSW(width, check_int(n_neighbors, "n_neighbors", minimum=2))
        index.hnsw.efSearch = check_int(ef_search, "ef_search", minimum=1)
        return index
    if kind == "flat":
        return faiss.IndexBinaryFlat(width)
    if n_lists is None:
        n_lists = max(1, min(int(4 * np.sqrt(n_database)), n_database // 39))
    n_lists = check_int(n_lists, "n_lists", minimum=1)
    if n_lists > n_database:
        raise ValueError(f"n_lists: expected at most the {n_database} items of the database, got {n_lists}")
    index = faiss.IndexBinaryIVF(faiss.IndexBinaryFlat(width), width, n_lists)
    index.nprobe = min(check_int(n_probe, "n_probe", minimum=1), n_lists)
    index.train(packed)
    return index


def _packed(
    codes: ArrayLike, name: str, n_bits: int | None, *, expected: int | None = None
) -> tuple[NDArray[np.uint8], int]:
    """Check codes (packed ones if `n_bits` is given) and return them packed, with the code length."""
    if n_bits is None:
        bits = check_codes(codes, name)
        if expected is not None and bits.shape[1] != expected:
            raise ValueError(f"{name}: expected {expected} bits as in the index, got {bits.shape[1]}")
        return pack_codes(bits), bits.shape[1]
    n_bits = check_int(n_bits, "n_bits", minimum=1)
    return np.ascontiguousarray(check_packed(codes, name, n_bits)), n_bits
