"""Encoding many vectors in blocks: packed codes in the order wanted, from files larger than memory."""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_info, threadpool_limits

from sdclib.checks import MIN_LENGTH, as_array, check_features, check_int, check_name
from sdclib.codes import binarize, check_codes
from sdclib.files import read_json
from sdclib.methods import METHODS
from sdclib.progress import tqdm

if TYPE_CHECKING:
    from sdclib.methods import BaseHasher

__all__ = [
    "BIT_ORDERS",
    "PRECISIONS",
    "check_precision",
    "encode",
    "load_hasher",
    "pack_bits",
    "pack_precision",
    "take_rows",
]

BIT_ORDERS = ("little", "big")
PRECISIONS = {"sdc": "little", "ubinary": "big", "binary": "big"}  # and the bit order of each
BLOCK_BYTES = 1 << 21  # of float32 vectors at a time: what the processor's cache holds through all steps
ACCELERATOR_BLOCK_BYTES = 1 << 26  # each block brings the head to the device: larger blocks, fewer journeys
READ_BYTES = 1 << 24  # of a file that are in memory at a time when rows are picked


def load_hasher(folder: str | os.PathLike[str]) -> BaseHasher:
    """Read a fitted method of any kind, see `BaseHasher.save`; ValueError that names the file if it cannot be read."""
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
    except FileNotFoundError as error:
        raise ValueError(f"{folder}: expected a fitted {method}, could not read it ({error})") from error


def pack_bits(codes: ArrayLike, bit_order: str = "little") -> NDArray[np.uint8]:
    """Pack codes into bytes: "little" as `sdclib.codes.pack_codes` and faiss, "big" as NumPy's `packbits`.

    In the first order the first bit of a code is the lowest of its byte, in the second the highest. Hamming distances
    do not depend on it, but codes of different order must not meet. Unused bits of the last byte are 0.
    """
    order: Any = check_name(bit_order, "bit_order", BIT_ORDERS)
    return np.packbits(check_codes(codes), axis=1, bitorder=order)


def pack_precision(codes: ArrayLike, precision: str = "sdc") -> NDArray[Any]:
    """Pack codes into bytes as this library or as sentence-transformers does.

    "sdc": bit order little. "ubinary": bit order big. "binary": the same less 128, as int8. The last two are how
    ``sentence_transformers.quantize_embeddings`` names and packs them; but a continuous code of exactly 0 is a 1 here
    and a 0 there. Unused bits of the last byte are those of a 0.
    """
    packed = pack_bits(codes, PRECISIONS[check_name(precision, "precision", PRECISIONS)])
    return (packed ^ np.uint8(128)).view(np.int8) if precision == "binary" else packed


def encode(
    hasher: BaseHasher,
    vectors: ArrayLike,
    *,
    bit_order: str | None = None,
    precision: str | None = None,
    name: str = "vectors",
    block_bytes: int | None = None,
    progress: bool = False,
) -> NDArray[Any]:
    """Encode vectors block by block.

    Only one block a thread is in memory as float32, and pages of a memory map are let go once they are read, so
    `vectors` may be a map of a file larger than memory; the packed codes are in memory. A bit is 1 where the continuous
    code is >= 0, see `sdclib.codes.binarize`. Codes do not depend on the number of threads, which is that of the
    libraries' products.

    ValueError if vectors are not as `sdclib.checks.check_features` wants them; the message says from which row on its
    rows count. NotFittedError if the method is not fitted.

    Parameters
    ----------
    hasher : BaseHasher
        Fitted.
    vectors : array-like, shape (n, d)
    bit_order, precision : str, optional
        See `pack_bits` and `pack_precision`, one of them; little bits by default.
    name : str
        How error messages name the vectors.
    block_bytes : int, optional
        Size of a block as float32, at least one row; by default 2 MiB, or 64 MiB where the head is on an accelerator.
    progress : bool
        Show a bar of rows.

    Returns
    -------
    ndarray, shape (n, ceil(n_bits / 8)), uint8, or int8 for precision "binary"
    """
    from sklearn.utils.validation import check_is_fitted

    check_is_fitted(hasher, "n_features_in_")
    precision = check_precision(bit_order, precision)
    array = as_array(vectors, name)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"{name}: expected vectors of shape (n, d), neither 0, got {array.shape}")
    if array.dtype.kind not in "fiub" or array.shape[1] != hasher.n_features_in_:
        check_features(array[:1], name, n_features=hasher.n_features_in_)  # says what is wrong
    on_accelerator = False
    if hasattr(hasher, "device"):  # only then is torch there
        from sdclib.methods.trained import pick_device

        on_accelerator = pick_device(hasher.device).type != "cpu"
    if block_bytes is None:
        block_bytes = ACCELERATOR_BLOCK_BYTES if on_accelerator else BLOCK_BYTES
    height = min(len(array), max(1, check_int(block_bytes, "block_bytes", minimum=1) // (4 * array.shape[1])))
    in_memory = not isinstance(array, np.memmap)
    as_it_is = in_memory and array.dtype == np.float32 and array.flags.c_contiguous and array.flags.writeable
    packed = np.empty(
        (len(array), -(-hasher._n_features_out // 8)), dtype=np.int8 if precision == "binary" else np.uint8
    )

    def encode_block(start: int) -> int:
        rows = slice(start, min(start + height, len(array)))
        if as_it_is:
            block = array[rows]
        else:
            block = _read(array, rows, np.empty((rows.stop - start, array.shape[1]), dtype=np.float32))
        if not _usable(block):
            check_features(block, f"{name}, rows from {start} on" if start else name)
        packed[rows] = pack_precision(binarize(hasher._continuous_codes(block)), precision)
        return len(block)

    starts = range(0, len(array), height)
    with (
        tqdm(total=len(array), desc="encode", unit="row", unit_scale=True, disable=not progress) as bar,
        _one_thread_each(1 if on_accelerator else len(starts)) as map_blocks,
    ):
        for n_rows in map_blocks(encode_block, starts):
            bar.update(n_rows)
    return packed


def take_rows(vectors: ArrayLike, rows: ArrayLike) -> NDArray[np.float32]:
    """Copy some rows of vectors into memory as float32, and let pages of a memory map go as they are read.

    The file may be larger than memory; ascending rows are fastest.
    """
    array: NDArray[Any] = np.asanyarray(vectors)
    chosen = np.asarray(rows)
    taken = np.empty((len(chosen), array.shape[1]), dtype=np.float32)
    height = max(
        1, READ_BYTES // max(array.itemsize * array.shape[1], 1 << 16)
    )  # the system maps 64 KiB at least
    for start in range(0, len(chosen), height):
        part = slice(start, start + height)
        _read(array, chosen[part], taken[part])
    return taken


def check_precision(bit_order: str | None, precision: str | None) -> str:
    """Return the precision that one of the two names; ValueError if both are given, or the one is unknown."""
    if precision is None:
        return "ubinary" if check_name(bit_order or "little", "bit_order", BIT_ORDERS) == "big" else "sdc"
    if bit_order is not None:
        raise ValueError(f"bit_order: expected none beside precision {precision!r}, got {bit_order!r}")
    return check_name(precision, "precision", PRECISIONS)


@contextmanager
def _one_thread_each(most: int) -> Iterator[Callable[..., Iterable[int]]]:
    """Map calls to threads that do not share out their products, whose last bits would depend on how many share one.

    There are as many threads as would share a product, but at most `most`.
    """
    torch = sys.modules.get("torch")  # which has a number of threads of its own beside that of OpenMP
    n = most
    if most > 1:
        n = min(most, max((library["num_threads"] for library in threadpool_info()), default=1))
    before = torch.get_num_threads() if torch else None

    def work_alone() -> None:
        # OpenMP has a number for each thread; others have one for the process, set below.
        threadpool_limits(1)
        if torch:
            torch.set_num_threads(1)

    with threadpool_limits(1):
        if torch:
            torch.set_num_threads(1)
        try:
            if n == 1:
                yield map
            else:
                with ThreadPool(n, work_alone) as pool:
                    yield pool.imap
        finally:
            if torch:
                torch.set_num_threads(before)


def _read(array: NDArray[Any], rows: Any, out: NDArray[np.float32]) -> NDArray[np.float32]:
    """Copy rows into `out`, and let go of the pages of a map that holds them; the file keeps what it has."""
    with np.errstate(over="ignore"):
        np.copyto(out, array[rows], casting="same_kind")
    if isinstance(array, np.memmap) and array.mode != "c" and hasattr(mmap, "MADV_DONTNEED"):
        base: Any = array
        while isinstance(base, np.ndarray):
            base = base.base
        if isinstance(base, mmap.mmap):
            base.madvise(mmap.MADV_DONTNEED)
    return out


def _usable(block: NDArray[np.float32]) -> bool:
    """Whether `check_features` has nothing against the values, found in one pass: lengths say it all."""
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        squares = np.vecdot(block, block)
    return bool(squares.min() >= MIN_LENGTH**2 and squares.max() < np.inf)
