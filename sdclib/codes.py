"""Codes: from continuous codes to bits, packed bits, and what bits alone tell."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sdclib.checks import check_int

__all__ = ["binarize", "bit_balance", "check_codes", "pack_codes", "unique_code_ratio", "unpack_codes"]


def binarize(continuous_codes: ArrayLike) -> NDArray[np.uint8]:
    """Turn continuous codes into codes: bit = 1 where the value is >= 0.

    Zero counts as 1, so that there is never a third value (`sign(0) = 0` would make one); faiss does the same.

    Parameters
    ----------
    continuous_codes : array-like, shape (n, n_bits)

    Returns
    -------
    ndarray, shape (n, n_bits), uint8
        Values 0 and 1.
    """
    return (np.asarray(continuous_codes) >= 0).astype(np.uint8)


def check_codes(codes: ArrayLike, name: str = "codes") -> NDArray[np.uint8]:
    """Check that `codes` is an array of 0 and 1, shape (n, n_bits) with both at least 1; return it as uint8.

    Raises
    ------
    ValueError
        Otherwise.
    """
    array = np.asarray(codes)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"{name}: expected codes of shape (n, n_bits), neither 0, got {array.shape}")
    if array.dtype.kind not in "biuf" or not ((array == 0) | (array == 1)).all():
        raise ValueError(f"{name}: expected only 0 and 1, got other values (dtype {array.dtype})")
    return np.ascontiguousarray(array, dtype=np.uint8)


def pack_codes(codes: ArrayLike) -> NDArray[np.uint8]:
    """Pack codes into bytes, lowest bit first (faiss's order).

    Parameters
    ----------
    codes : array-like, shape (n, n_bits), values 0 and 1

    Returns
    -------
    ndarray, shape (n, ceil(n_bits / 8)), uint8
        Unused bits of the last byte are 0, so Hamming distances stay right.
    """
    return np.packbits(check_codes(codes), axis=1, bitorder="little")


def unpack_codes(packed_codes: ArrayLike, n_bits: int) -> NDArray[np.uint8]:
    """Undo `pack_codes`.

    Parameters
    ----------
    packed_codes : array-like, shape (n, ceil(n_bits / 8)), uint8
    n_bits : int

    Returns
    -------
    ndarray, shape (n, n_bits), uint8

    Raises
    ------
    ValueError
        If the number of bytes does not fit `n_bits`, or an unused bit is set.
    """
    n_bits = check_int(n_bits, "n_bits", minimum=1)
    packed = np.asarray(packed_codes)
    n_bytes = -(-n_bits // 8)
    if packed.dtype != np.uint8 or packed.ndim != 2 or packed.shape[1] != n_bytes:
        raise ValueError(
            f"packed_codes: expected uint8 of shape (n, {n_bytes}) for {n_bits} bits, "
            f"got {packed.dtype} of shape {packed.shape}"
        )
    bits = np.unpackbits(packed, axis=1, bitorder="little")
    if bits[:, n_bits:].any():
        raise ValueError(f"packed_codes: expected unused bits beyond n_bits = {n_bits} to be 0, got some set")
    return bits[:, :n_bits]


def bit_balance(codes: ArrayLike) -> float:
    """How evenly bits are used: mean over bits of ``1 - |2 p - 1|``, p the share of ones.

    Returns
    -------
    float
        1 where every bit is set in half the codes, 0 where every bit is constant.
    """
    share = check_codes(codes).mean(axis=0)
    return float(np.mean(1 - np.abs(2 * share - 1)))


def unique_code_ratio(codes: ArrayLike) -> float:
    """Divide the number of different codes by the number of codes: a value in (0, 1]."""
    packed = pack_codes(codes)
    return len(np.unique(packed, axis=0)) / len(packed)
