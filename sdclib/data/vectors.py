"""Vectors from files (.npy, .npz, .safetensors, .parquet, .csv) and data frames, with labels and ids of the rows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sdclib.checks import check_labels
from sdclib.data.tables import ID_KEYS, LABEL_KEYS, TABLES, VECTOR_KEYS, read_csv, read_table, take_apart

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "VectorFile",
    "arrays_sha256",
    "check_vector_file",
    "encode_labels",
    "load_npy",
    "read_csv",
    "read_vectors",
]

SUFFIXES = (".npy", ".npz", ".safetensors", *TABLES)


@dataclass(frozen=True, eq=False)
class VectorFile:
    """What `read_vectors` found.

    Attributes
    ----------
    vectors : ndarray, shape (n, d)
        A memory map where the file is an .npy.
    labels : ndarray, shape (n,) or (n, n_labels), or None
    ids : tuple of str, or None
        Names of the rows, empty where one has none.
    query_rows, train_rows : ndarray or None
        The split of an .npz or .safetensors: numbers of the rows that are queries, and of those for training.
    """

    vectors: NDArray[Any]
    labels: NDArray[Any] | None
    ids: tuple[str, ...] | None
    query_rows: NDArray[Any] | None = None
    train_rows: NDArray[Any] | None = None


def check_vector_file(path: Path | str) -> Path:
    """Check that there is a file of a kind that `read_vectors` reads, else ValueError; it is not opened."""
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path}: expected a file {', '.join(SUFFIXES)}, got {path.suffix or 'no suffix'}")
    if not path.is_file():
        raise ValueError(f"{path}: expected a file of vectors, found none")
    return path


def read_vectors(
    path: Path | str | pd.DataFrame, *, key: str | None = None, columns: Sequence[str] | None = None
) -> VectorFile:
    """Read vectors, and labels and ids where there are any. No pickles are read.

    Parameters
    ----------
    path : path-like or DataFrame
        An .npy with a 2-D array; an .npz or .safetensors with arrays; a table: a data frame, a .parquet (which needs
        the package pyarrow) or a .csv, with or without a line of names, separated by commas, semicolons or tabs. Ids
        may also come from a text file beside it, one a line, whose name has ``_ids.txt`` in place of the suffix.
    key : str, optional
        The array, or the column whose cells are vectors; by default "features", "embeddings", "embedding", "vectors",
        "vector" or the only one of its kind. Labels are under "labels" or "label", ids under "ids" or "id", a split
        under "query_rows" and "train_rows".
    columns : sequence of str, optional
        Columns of a table that are features, in this order; ``*`` and ``?`` stand for any characters. By default the
        column of vectors, else all columns of numbers but those whose name says otherwise (such as
        "target" or "item_id"); the log says which columns are left.

    Raises
    ------
    ValueError
        If the file is missing, damaged, of another kind, or rows, labels and ids differ in number.
    """
    where = str(path) if isinstance(path, str | Path) else "table"
    columns = [columns] if isinstance(columns, str) else columns
    suffix = Path(where).suffix.lower()
    if not isinstance(path, str | Path):
        if not hasattr(path, "iloc"):
            raise ValueError(f"path: expected a path or a pandas data frame, got {type(path).__name__}")
        arrays = take_apart(path, where, key, columns)
    elif suffix in TABLES:
        arrays = take_apart(read_table(check_vector_file(path)), where, key, columns)
    else:
        if columns is not None:
            raise ValueError(f"columns: expected none for {where}, only a table has columns")
        arrays = _read_arrays(check_vector_file(path))
        arrays[VECTOR_KEYS[0]] = arrays[_vector_key(where, arrays, key)]
    values = arrays[VECTOR_KEYS[0]]
    if values.ndim != 2 or values.dtype.kind not in "fiu":
        raise ValueError(
            f"{where}: expected numbers of shape (n, d), got {values.dtype} of shape {values.shape}"
        )
    labels, ids = (next((arrays[k] for k in keys if k in arrays), None) for keys in (LABEL_KEYS, ID_KEYS))
    listing = Path(where).with_name(f"{Path(where).stem}_ids.txt")
    if ids is None and isinstance(path, str | Path) and listing.is_file():
        ids = _read_listing(listing)
    for what, found, dimensions in (("labels", labels, (1, 2)), ("ids", ids, (1,))):
        if found is not None and (found.ndim not in dimensions or len(found) != len(values)):
            got = len(found) if found.ndim in dimensions else f"shape {found.shape}"
            raise ValueError(f"{where}: expected {len(values)} {what}, as many as vectors, got {got}")
    try:
        names = None if ids is None else tuple("" if x is None or x != x else str(x) for x in ids.tolist())
    except SystemError as error:  # of text that is none
        raise ValueError(f"{where}: expected ids, got what is no text ({error})") from error
    return VectorFile(values, labels, names, arrays.get("query_rows"), arrays.get("train_rows"))


def encode_labels(labels: ArrayLike, name: str, *, n: int) -> NDArray[np.integer]:
    """Bring `n` labels to ids, shape (n,), int64, or 0/1 vectors, shape (n, n_labels), uint8.

    Names become the numbers of their sorted list. ValueError, which calls the labels `name`, if they are neither whole
    numbers nor names nor 0/1 vectors, are missing (None or NaN), or not `n`.
    """
    try:
        array = np.asarray(labels)
        if array.dtype == object and array.ndim == 1 and any(isinstance(x, np.ndarray | list) for x in array):
            array = np.array([np.asarray(row) for row in array])
    except ValueError as error:  # lists of several lengths
        raise ValueError(f"{name}: expected shape ({n},) or ({n}, n_labels) ({error})") from error
    if (
        array.ndim == 1
        and array.dtype.kind in "OUT"
        and all(isinstance(value, str) for value in array.tolist())
    ):
        array = np.unique(array.astype(str), return_inverse=True)[1]
    if array.dtype.kind not in "biuf":
        raise ValueError(
            f"{name}: expected whole numbers, names or 0/1 vectors, none missing, got {array.dtype}"
        )
    return check_labels(array, name, n=n)


def arrays_sha256(*arrays: ArrayLike) -> str:
    """SHA-256 of arrays: of each its kind, shape and values (lowest byte first), 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for array in map(np.asarray, arrays):
        array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        digest.update(f"{array.dtype.kind}{array.dtype.itemsize} {array.shape}\n".encode())
        digest.update(array.tobytes() if array.size == 0 else array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def load_npy(path: Path) -> NDArray[Any]:
    """Map an .npy file into memory; ValueError that names it if it is missing, damaged or a pickle."""
    try:
        with np.errstate(over="raise"):  # of a shape beyond all numbers
            array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # NumPy raises many kinds: SyntaxError, TokenError, MemoryError, ...
        raise ValueError(f"{path}: missing or damaged .npy ({error})") from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise ValueError(f"{path}: expected an .npy, got a file of several arrays; is it an .npz?")
    return array


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Arrays of an .npy, .npz or .safetensors by name."""
    if path.suffix.lower() == ".npy":
        return {VECTOR_KEYS[0]: load_npy(path)}
    if path.suffix.lower() == ".npz":
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                members = {name: archive[name] for name in archive.files}
        except Exception as error:  # zipfile and NumPy raise many kinds
            raise ValueError(f"{path}: damaged .npz, or with pickles ({error})") from error
        return {name: member for name, member in members.items() if isinstance(member, np.ndarray)}
    import torch
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
        floats = {name: t for name, t in tensors.items() if t.dtype.is_floating_point}
        wide = {
            name: t.float() for name, t in floats.items() if t.dtype not in (torch.float16, torch.float64)
        }
        return {name: tensor.numpy() for name, tensor in (tensors | wide).items()}
    except Exception as error:  # SafetensorError, TypeError, ...
        raise ValueError(f"{path}: damaged .safetensors ({error})") from error


def _vector_key(where: str, arrays: Mapping[str, NDArray[Any]], key: str | None) -> str:
    if key is not None:
        if key not in arrays:
            raise ValueError(f"key: expected one of {', '.join(sorted(arrays))} in {where}, got {key!r}")
        return key
    matrices = [n for n, a in arrays.items() if a.ndim == 2 and n not in LABEL_KEYS and a.dtype.kind in "fiu"]
    named = [name for name in VECTOR_KEYS if name in arrays]
    if not named and len(matrices) != 1:
        raise ValueError(
            f"{where}: expected vectors under one of {', '.join(VECTOR_KEYS)}, or a single array of two dimensions, "
            f"got {', '.join(sorted(arrays)) or 'nothing'}; say which by key"
        )
    return (named or matrices)[0]


def _read_listing(path: Path) -> NDArray[Any]:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except ValueError as error:
        raise ValueError(f"{path}: expected a text file with one id a line ({error})") from error
    return np.array([line.strip() for line in lines if line.strip()], dtype=object)
