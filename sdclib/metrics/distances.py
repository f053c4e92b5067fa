"""Distances of all query-database pairs, block by block: Hamming distances of packed codes, cosines of features."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sdclib.codes import packed_codes

__all__ = [
    "Distances",
    "check_code_pair",
    "cosine_distances",
    "hamming_block",
    "hamming_distances",
    "pad_bytes",
    "signs_on",
]

MAX_BITS = 65_534  # distances, and one number more for junk, fit 16 bits

Distances: TypeAlias = Callable[[slice], NDArray[Any]]
"""From rows (queries) to a new array of their distances to the whole database; smaller is nearer."""


def pad_bytes(packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Append zero bytes to every row up to a multiple of 8, C-contiguous; distances stay as they are."""
    missing = -packed.shape[1] % 8
    return np.ascontiguousarray(np.pad(packed, ((0, 0), (0, missing))) if missing else packed)


def check_code_pair(
    query_codes: ArrayLike, database_codes: ArrayLike, n_bits: int | None
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], int]:
    """Check codes of queries and database, see `packed_codes`, and pad them to whole words; also their length."""
    query, n_query_bits = packed_codes(query_codes, "query_codes", n_bits)
    database, n_bits = packed_codes(database_codes, "database_codes", n_bits)
    if n_query_bits != n_bits:
        raise ValueError(f"database_codes: expected {n_query_bits} bits as in query_codes, got {n_bits}")
    if n_bits > MAX_BITS:
        raise ValueError(f"query_codes: expected at most {MAX_BITS} bits, got {n_bits}")
    return pad_bytes(query), pad_bytes(database), n_bits


def hamming_block(query: NDArray[np.uint8], database: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Hamming distances of padded packed codes, shape (n_query, n_database), int32, by faiss."""
    import faiss

    distances = np.empty((len(query), len(database)), dtype=np.int32)
    pointers = [faiss.swig_ptr(array) for array in (query, database, distances)]
    faiss.hammings(pointers[0], pointers[1], len(query), len(database), query.shape[1], pointers[2])  # type: ignore[attr-defined]
    return distances


def signs_on(packed: NDArray[np.uint8], n_bits: int, device: str) -> Any:
    """Unpack codes on a device of torch to -1 and 1, float32: products of them are exact."""
    import torch

    codes = torch.from_numpy(np.ascontiguousarray(packed)).to(device)
    bits = codes[:, :, None] >> torch.arange(8, dtype=torch.uint8, device=device) & 1
    return bits.flatten(1)[:, :n_bits].float() * 2 - 1


def hamming_distances(query: NDArray[np.uint8], database: NDArray[np.uint8]) -> Distances:
    """Distances of padded packed codes, uint16."""
    return lambda rows: hamming_block(query[rows], database).astype(np.uint16)


def cosine_distances(query: NDArray[np.float32], database: NDArray[np.float32]) -> Distances:
    """Negative cosine similarities, float32, of queries and the whole database.

    Equal database rows are at equal distances: a matrix product may round one row in two ways, by its place, so it
    is taken over the distinct rows.
    """
    places: dict[bytes, int] = {}
    digests = (hashlib.blake2b(row + 0, digest_size=16).digest() for row in database)
    which = np.array([places.setdefault(digest, len(places)) for digest in digests])
    has_copies = len(places) < len(database)
    if has_copies:
        database = database[np.unique(which, return_index=True)[1]]
    scale = -1 / np.linalg.norm(database, axis=1)
    query_scale = 1 / np.linalg.norm(query, axis=1, keepdims=True)

    def distances(rows: slice) -> NDArray[np.float32]:
        found = query[rows] @ database.T  # exact for small whole numbers, such as codes of -1 and 1
        found *= scale
        found *= query_scale[rows]
        return found[:, which] if has_copies else found

    return distances
