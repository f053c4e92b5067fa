"""Codes: from continuous codes to bits, packed bits, and what bits alone tell."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sdclib.checks import check_int

__all__ = [
    "binarize",
    "bit_balance",
    "check_codes",
    "check_packed",
    "pack_codes",
    "packed_codes",
    "unique_code_ratio",
    "unpack_codes",
]


def binarize(continuous_codes: ArrayLike) -> NDArray[np.uint8]:
    """Turn continuous codes into codes, uint8 of the same shape: bit = 1 where the value is >= 0.

    Zero counts as 1, so that there is never a third value (`sign(0) = 0` would make one); faiss does the same.
    """
    return (np.asarray(continuous_codes) >= 0).astype(np.uint8)


def check_codes(codes: ArrayLike, name: str = "codes") -> NDArray[np.uint8]:
    """Return an array of 0 and 1, shape (n, n_bits) with both at least 1, as uint8; ValueError if it is another."""
    array = np.asarray(codes)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"{name}: expected codes of shape (n, n_bits), neither 0, got {array.shape}")
    if array.dtype.kind not in "biuf" or not ((array == 0) | (array == 1)).all():
        raise ValueError(f"{name}: expected only 0 and 1, got other values (dtype {array.dtype})")
    return np.ascontiguousarray(array, dtype=np.uint8)


def pack_codes(codes: ArrayLike) -> NDArray[np.uint8]:
    """Pack codes of 0 and 1, shape (n, n_bits), into bytes, lowest bit first (faiss's order).

    Returns uint8 of shape (n, ceil(n_bits / 8)); unused bits of the last byte are 0, so Hamming distances stay right.
    """
    return np.packbits(check_codes(codes), axis=1, bitorder="little")


def check_packed(codes: ArrayLike, name: str, n_bits: int) -> NDArray[np.uint8]:
    """Return packed codes of at least one row, unused bits 0; ValueError that begins with `name` if they are others."""
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


def unpack_codes(packed_codes: ArrayLike, n_bits: int) -> NDArray[np.uint8]:
    """Undo `pack_codes`; ValueError if the number of bytes does not fit `n_bits`, or an unused bit is set."""
    packed = check_packed(packed_codes, "packed_codes", check_int(n_bits, "n_bits", minimum=1))
    return np.unpackbits(packed, axis=1, count=n_bits, bitorder="little")


def bit_balance(codes: ArrayLike) -> float:
    """How evenly bits are used: mean over bits of ``1 - |2 p - 1|``, p the share of ones.

    1 where every bit is set in half the codes, 0 where every bit is constant.
    """
    share = check_codes(codes).mean(axis=0)
    return float(np.mean(1 - np.abs(2 * share - 1)))


def unique_code_ratio(codes: ArrayLike) -> float:
    """Divide the number of different codes by the number of codes: a value in (0, 1]."""
    packed = pack_codes(codes)
    return len(np.unique(packed, axis=0)) / len(packed)
