"""Distances of all query-database pairs, block by block: Hamming distances of packed codes, cosines of features."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sdclib.checks import check_int
from sdclib.codes import check_codes, pack_codes

__all__ = [
    "Distances",
    "check_code_pair",
    "check_packed",
    "cosine_distances",
    "hamming_block",
    "hamming_distances",
    "packed_codes",
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
    """Check the codes of queries and database and pack them.

    Parameters
    ----------
    query_codes, database_codes : array-like
        Codes of shape (n, n_bits), values 0 and 1, if `n_bits` is None; else packed codes, see `check_packed`.
    n_bits : int, optional
        The code length of packed codes.

    Returns
    -------
    query, database : ndarray, shape (n, 8 * ceil(n_bits / 64)), uint8
        Packed, lowest bit first, padded to whole 64-bit words.
    n_bits : int

    Raises
    ------
    ValueError
        If codes are not as described, empty, of different lengths, or longer than 65,534 bits.
    """
    query, n_query_bits = packed_codes(query_codes, "query_codes", n_bits)
    database, n_bits = packed_codes(database_codes, "database_codes", n_bits)
    if n_query_bits != n_bits:
        raise ValueError(f"database_codes: expected {n_query_bits} bits as in query_codes, got {n_bits}")
    if n_bits > MAX_BITS:
        raise ValueError(f"query_codes: expected at most {MAX_BITS} bits, got {n_bits}")
    return pad_bytes(query), pad_bytes(database), n_bits


def check_packed(codes: ArrayLike, name: str, n_bits: int) -> NDArray[np.uint8]:
    """Check packed codes: uint8 of shape (n, ceil(n_bits / 8)), n at least 1, unused bits 0.

    Raises
    ------
    ValueError
        Otherwise; the message starts with `name`.
    """
    packed = np.asarray(codes)
    n_bytes = -(-n_bits // 8)
    if packed.dtype != np.uint8 or packed.ndim != 2 or packed.shape[1] != n_bytes or len(packed) == 0:
        raise ValueError(
            f"{name}: expected packed codes, uint8 of shape (n, {n_bytes}) with n >= 1 for n_bits = {n_bits}, "
            f"got {packed.dtype} of shape {packed.shape}"
        )
    if n_bits % 8 and (packed[:, -1] >> (n_bits % 8)).any():
        raise ValueError(f"{name}: expected unused bits beyond n_bits = {n_bits} to be 0, got some set")
    return packed


def packed_codes(codes: ArrayLike, name: str, n_bits: int | None) -> tuple[NDArray[np.uint8], int]:
    """Check codes of 0 and 1, or packed ones if `n_bits` is given, and return them packed, with the code length."""
    if n_bits is None:
        bits = check_codes(codes, name)
        return pack_codes(bits), bits.shape[1]
    n_bits = check_int(n_bits, "n_bits", minimum=1)
    return np.ascontiguousarray(check_packed(codes, name, n_bits)), n_bits


def hamming_block(query: NDArray[np.uint8], database: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Hamming distances of every query to every database item, by faiss.

    Parameters
    ----------
    query, database : ndarray, shapes (n_query, n_bytes), (n_database, n_bytes), uint8
        Packed codes, C-contiguous, `n_bytes` a multiple of 8 (see `pad_bytes`).

    Returns
    -------
    ndarray, shape (n_query, n_database), int32
    """
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
    which = np.array(
        [
            places.setdefault(hashlib.blake2b(row + 0, digest_size=16).digest(), len(places))
            for row in database
        ]
    )
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
