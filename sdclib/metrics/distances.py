"""Hamming distances between packed codes, one block at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sdclib.checks import check_int
from sdclib.codes import check_codes

__all__ = ["check_code_pair", "check_packed", "hamming_block", "pad_bytes"]


def pad_bytes(packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Append zero bytes to every row up to a multiple of 8; distances stay as they are.

    Parameters
    ----------
    packed : ndarray, shape (n, n_bytes), uint8

    Returns
    -------
    ndarray, shape (n, 8 * ceil(n_bytes / 8)), uint8, C-contiguous
    """
    missing = -packed.shape[1] % 8
    return np.ascontiguousarray(np.pad(packed, ((0, 0), (0, missing))) if missing else packed)


def check_code_pair(
    query_codes: ArrayLike, database_codes: ArrayLike, n_bits: int | None
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], int]:
    """Check the codes of queries and database and pack them.

    Parameters
    ----------
    query_codes, database_codes : array-like
        Codes of shape (n, n_bits), values 0 and 1, if `n_bits` is None;
        else packed codes of shape (n, ceil(n_bits / 8)), uint8, lowest bit first.
    n_bits : int, optional
        The code length of packed codes.

    Returns
    -------
    query, database : ndarray, shape (n, 8 * ceil(n_bits / 64)), uint8
        Packed, padded to whole 64-bit words.
    n_bits : int
        At most 65,534, so that distances fit 16 bits.

    Raises
    ------
    ValueError
        If codes are not as described, empty, or of different lengths.
    """
    if n_bits is None:
        query, database = (
            check_codes(query_codes, "query_codes"),
            check_codes(database_codes, "database_codes"),
        )
        n_bits = query.shape[1]
        if database.shape[1] != n_bits:
            raise ValueError(
                f"database_codes: expected {n_bits} bits as in query_codes, got {database.shape[1]}"
            )
        query, database = (np.packbits(codes, axis=1, bitorder="little") for codes in (query, database))
    else:
        n_bits = check_int(n_bits, "n_bits", minimum=1)
        query = check_packed(query_codes, "query_codes", n_bits)
        database = check_packed(database_codes, "database_codes", n_bits)
    if n_bits > 65_534:
        raise ValueError(f"query_codes: expected at most 65534 bits, got {n_bits}")
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


def hamming_block(query: NDArray[np.uint8], database: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Hamming distances of every query to every database item; keep the block small, it is a full matrix.

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
