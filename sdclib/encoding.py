"""Encoding many vectors in blocks: packed codes in either bit order, from files larger than memory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sdclib.checks import check_features, check_name
from sdclib.codes import check_codes
from sdclib.files import read_json
from sdclib.methods import METHODS, BaseHasher
from sdclib.progress import tqdm

__all__ = ["BIT_ORDERS", "encode", "load_hasher", "pack_bits"]

BIT_ORDERS = ("little", "big")
BLOCK_BYTES = 1 << 26  # of float32 vectors that are read and encoded at a time


def load_hasher(folder: str | os.PathLike[str]) -> BaseHasher:
    """Read a fitted method of any kind, see `BaseHasher.save`.

    Raises
    ------
    ValueError
        If there is none in the folder, or it is damaged; the message names the file.
    """
    path = Path(folder) / "hasher.json"
    if not path.is_file():
        raise ValueError(
            f"{folder}: expected a folder that BaseHasher.save or `sdc fit` wrote, found no hasher.json"
        )
    description = read_json(path)
    method = description.get("method") if isinstance(description, dict) else None
    kind = METHODS[check_name(method, f"{path}: method", METHODS)]
    try:
        return kind.load(folder)
    except (
        FileNotFoundError,
        KeyError,
        RuntimeError,
        TypeError,
    ) as error:  # weights or parameters of something else
        raise ValueError(f"{folder}: expected a fitted {method}, could not read it ({error})") from error


def pack_bits(codes: ArrayLike, bit_order: str = "little") -> NDArray[np.uint8]:
    """Pack codes into bytes, in either order.

    Parameters
    ----------
    codes : array-like, shape (n, n_bits), values 0 and 1
    bit_order : {"little", "big"}
        "little": the first bit of a code is the lowest of the first byte, as in `sdclib.codes.pack_codes` and faiss.
        "big": it is the highest, as NumPy's `packbits` does by default. Hamming distances do not depend on it, but
        codes of different order must not meet.

    Returns
    -------
    ndarray, shape (n, ceil(n_bits / 8)), uint8
        Unused bits of the last byte are 0.

    Raises
    ------
    ValueError
        If an argument is not as described.
    """
    order: Any = check_name(bit_order, "bit_order", BIT_ORDERS)
    return np.packbits(check_codes(codes), axis=1, bitorder=order)


def encode(
    hasher: BaseHasher,
    vectors: ArrayLike,
    *,
    bit_order: str = "little",
    name: str = "vectors",
    block_bytes: int = BLOCK_BYTES,
    progress: bool = False,
) -> NDArray[np.uint8]:
    """Encode vectors block by block.

    Only one block is in memory as float32, so `vectors` may be a memory map of a file larger than memory. A bit is 1
    where the continuous code is >= 0, see `sdclib.codes.binarize`.

    Parameters
    ----------
    hasher : BaseHasher
        Fitted.
    vectors : array-like, shape (n, d)
    bit_order : {"little", "big"}
        See `pack_bits`.
    name : str
        How error messages name the vectors.
    block_bytes : int
        Size of a block as float32; at least one row is read.
    progress : bool
        Show a bar of rows.

    Returns
    -------
    ndarray, shape (n, ceil(n_bits / 8)), uint8

    Raises
    ------
    ValueError
        If vectors are not as `sdclib.checks.check_features` wants them; the message says from which row on the rows
        of it count.
    """
    check_name(bit_order, "bit_order", BIT_ORDERS)
    array: NDArray[Any] = np.asanyarray(vectors)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"{name}: expected vectors of shape (n, d), neither 0, got {array.shape}")
    height = max(1, block_bytes // (4 * array.shape[1]))
    packed = np.empty((len(array), -(-hasher.n_bits // 8)), dtype=np.uint8)
    with tqdm(total=len(array), desc="encode", unit="row", unit_scale=True, disable=not progress) as bar:
        for start in range(0, len(array), height):
            rows = slice(start, min(start + height, len(array)))
            where = f"{name}, rows from {start} on" if start else name
            block = check_features(np.array(array[rows]), where, n_features=hasher.n_features_in_)
            packed[rows] = pack_bits(hasher.transform(block), bit_order)
            bar.update(len(block))
    return packed
