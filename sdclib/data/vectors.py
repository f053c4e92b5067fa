"""Files of vectors (.npy, .npz, .safetensors, .parquet, .csv), with labels and ids of the rows where they have them."""

from __future__ import annotations

import hashlib
import importlib.util
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors.numpy import load_file

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

VECTOR_KEYS = ("features", "embeddings", "embedding", "vectors", "vector")
LABEL_KEYS = ("labels", "label")
ID_KEYS = ("ids", "id")
ROW_KEYS = ("query_rows", "train_rows")
SUFFIXES = (".npy", ".npz", ".safetensors", ".parquet", ".csv")


@dataclass(frozen=True, eq=False)
class VectorFile:
    """What `read_vectors` found.

    Attributes
    ----------
    vectors : ndarray, shape (n, d)
        A memory map where the file is an .npy.
    labels : ndarray, shape (n,) or (n, n_labels), or None
        As in the file.
    ids : tuple of str, or None
        Names of the rows, each once.
    query_rows, train_rows : ndarray, shapes (n_query,), (n_train,), or None
        The file's own split, as in the file: rows that are queries, and rows for training. Of .npz and .safetensors.
    """

    vectors: NDArray[Any]
    labels: NDArray[Any] | None
    ids: tuple[str, ...] | None
    query_rows: NDArray[Any] | None = None
    train_rows: NDArray[Any] | None = None


def check_vector_file(path: Path | str) -> Path:
    """Check that there is a file of a kind that `read_vectors` reads; it is not opened.

    Raises
    ------
    ValueError
        Otherwise.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path}: expected a file {', '.join(SUFFIXES)}, got {path.suffix or 'no suffix'}")
    if not path.is_file():
        raise ValueError(f"{path}: expected a file of vectors, found none")
    return path


def read_vectors(path: Path | str, *, key: str | None = None) -> VectorFile:
    """Read vectors, and labels and ids where the file has them. No pickles are read.

    Parameters
    ----------
    path : path-like
        An .npy with a 2-D array; an .npz or .safetensors with arrays; a .parquet (which needs the package pyarrow)
        with a column of vectors, or else with one column a component; a .csv with a line of names and one column a
        component. Ids may also come from a text file beside it, one a line, whose name has ``_ids.txt`` in place of
        the suffix.
    key : str, optional
        The array or column of vectors; by default "features", "embeddings", "embedding", "vectors", "vector" or
        the only array of two dimensions. Labels are under "labels" or "label", ids under "ids" or "id", a split
        under "query_rows" and "train_rows".

    Returns
    -------
    VectorFile

    Raises
    ------
    ValueError
        If the file is missing, damaged, of another kind, or rows, labels and ids differ in number.
    ImportError
        If a .parquet cannot be read as pyarrow is not installed.
    """
    path = check_vector_file(path)
    tables = {".parquet": _read_parquet, ".csv": _read_csv}
    arrays = tables[path.suffix](path, key) if path.suffix in tables else _read_arrays(path)
    values = np.asanyarray(arrays[_vector_key(path, arrays, key)])
    if values.ndim != 2 or values.dtype.kind not in "fiu":
        raise ValueError(
            f"{path}: expected numbers of shape (n, d), got {values.dtype} of shape {values.shape}"
        )
    labels = next((arrays[name] for name in LABEL_KEYS if name in arrays), None)
    ids = next((arrays[name] for name in ID_KEYS if name in arrays), None)
    listing = path.with_name(f"{path.stem}_ids.txt")
    if ids is None and listing.is_file():
        ids = np.array(_read_listing(listing), dtype=object)
    for what, found, dimensions in (("labels", labels, (1, 2)), ("ids", ids, (1,))):
        if found is not None and (found.ndim not in dimensions or len(found) != len(values)):
            got = len(found) if found.ndim in dimensions else f"shape {found.shape}"
            raise ValueError(f"{path}: expected {len(values)} {what}, as many as vectors, got {got}")
    try:
        names = None if ids is None else tuple(map(str, ids.tolist()))
    except SystemError as error:  # of text that is none
        raise ValueError(f"{path}: expected ids, got what is no text ({error})") from error
    if names is not None and len(set(names)) != len(names):
        raise ValueError(f"{path}: expected every id once, got {len(names) - len(set(names))} again")
    rows = [None if path.suffix in tables else arrays.get(name) for name in ROW_KEYS]
    return VectorFile(values, labels, names, *rows)


def encode_labels(labels: ArrayLike, name: str, *, n: int) -> NDArray[np.integer]:
    """Bring labels to ids or 0/1 vectors: names become the numbers of their sorted list.

    Parameters
    ----------
    labels : array-like, shape (n,) or (n, n_labels)
        Whole numbers, names, or 0/1 vectors.
    name : str
        How error messages name the argument.
    n : int

    Returns
    -------
    ndarray, shape (n,), int64, or (n, n_labels), uint8

    Raises
    ------
    ValueError
        If labels are of another kind, missing (None or NaN), or not `n`.
    """
    try:
        array = np.asarray(labels)
    except ValueError as error:  # lists of several lengths
        raise ValueError(f"{name}: expected shape ({n},) or ({n}, n_labels) ({error})") from error
    if array.dtype == object and array.ndim == 1 and array.size and isinstance(array[0], np.ndarray | list):
        if len({len(row) if isinstance(row, np.ndarray | list) else -1 for row in array}) != 1:
            raise ValueError(f"{name}: expected 0/1 vectors of one length, got several")
        array = np.array([np.asarray(row) for row in array])
    if array.ndim not in (1, 2) or len(array) != n:
        raise ValueError(f"{name}: expected shape ({n},) or ({n}, n_labels), got {array.shape}")
    if array.ndim == 2:
        if array.dtype.kind not in "biuf" or not np.isin(array, (0, 1)).all():
            raise ValueError(f"{name}: expected 0/1 vectors, got other values")
        return array.astype(np.uint8)
    if array.dtype.kind in "iub":
        return array.astype(np.int64)
    if array.dtype.kind == "U" or all(isinstance(value, str) for value in array.tolist()):
        return np.unique(array.astype(str), return_inverse=True)[1].astype(np.int64)
    raise ValueError(f"{name}: expected whole numbers or names, none missing, got {array.dtype}")


def arrays_sha256(*arrays: ArrayLike) -> str:
    """SHA-256 of arrays: of each its kind, shape and values (lowest byte first), 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for array in map(np.asarray, arrays):
        array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        digest.update(f"{array.dtype.kind}{array.dtype.itemsize} {array.shape}\n".encode())
        digest.update(array.tobytes() if array.size == 0 else array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def load_npy(path: Path) -> NDArray[Any]:
    """Map an .npy file into memory.

    Raises
    ------
    ValueError
        If it is missing, damaged or a pickle; the message names it.
    """
    try:
        with np.errstate(over="raise"):  # of a shape beyond all numbers
            array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # NumPy raises many kinds: SyntaxError, TokenError, MemoryError, ...
        raise ValueError(f"{path}: missing or damaged .npy ({error})") from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise ValueError(f"{path}: expected an .npy, got a file of several arrays; is it an .npz?")
    return array


def read_csv(path: Path, **options: Any) -> pd.DataFrame:
    """Read a table by `pandas.read_csv`, but not one whose lines are longer than its first.

    pandas would take what comes first in them for names of the rows, and so every column for another.

    Parameters
    ----------
    path : pathlib.Path
    **options
        As pandas has them.

    Returns
    -------
    DataFrame

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no such table; the message names it.
    """
    import pandas as pd

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(path, **{"index_col": False, **options})
    except pd.errors.ParserWarning as error:
        raise ValueError(
            f"{path}: expected as many fields in every line as in the first, got more"
        ) from error
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:  # pandas' errors are among them
        raise ValueError(
            f"{path}: damaged .csv, expected a CSV file with a line of names ({error})"
        ) from error


def _read_arrays(path: Path) -> Mapping[str, NDArray[Any]]:
    if path.suffix == ".npy":
        return {VECTOR_KEYS[0]: load_npy(path)}
    if path.suffix == ".safetensors":
        try:
            return dict(load_file(path))
        except Exception as error:  # SafetensorError, KeyError, TypeError, ...
            raise ValueError(
                f"{path}: damaged .safetensors, or numbers that NumPy does not have ({error})"
            ) from error
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            members = {name: archive[name] for name in archive.files}
    except Exception as error:  # zipfile and NumPy raise many kinds: BadZipFile, zlib.error, MemoryError, ...
        raise ValueError(f"{path}: damaged .npz, or with pickles ({error})") from error
    return {name: member for name, member in members.items() if isinstance(member, np.ndarray)}


def _read_listing(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except ValueError as error:
        raise ValueError(f"{path}: expected a text file with one id a line ({error})") from error
    return [line.strip() for line in lines if line.strip()]


def _read_parquet(path: Path, key: str | None) -> Mapping[str, NDArray[Any]]:
    if importlib.util.find_spec("pyarrow") is None:
        raise ImportError(f"{path}: reading .parquet needs the package pyarrow: pip install pyarrow")
    import pandas as pd

    try:
        table = pd.read_parquet(path, engine="pyarrow")
        columns = {str(name): table[name].to_numpy() for name in table.columns}
    except Exception as error:  # pyarrow's errors are of many kinds
        raise ValueError(f"{path}: damaged .parquet ({error})") from error
    special = {*LABEL_KEYS, *ID_KEYS}
    arrays = {}
    for name, column in columns.items():
        rows = column.dtype == object and len(column) and isinstance(column[0], np.ndarray | list)
        if rows and (name not in special or name == key):
            lengths = sorted({len(row) if isinstance(row, np.ndarray | list) else 0 for row in column})
            if len(lengths) > 1:
                raise ValueError(
                    f"{path}: expected vectors of one length in column {name!r}, got {lengths[:3]}"
                )
            try:
                arrays[name] = np.array([np.asarray(row) for row in column])
            except ValueError as error:  # lists within the lists, of several lengths
                raise ValueError(f"{path}: expected vectors in column {name!r} ({error})") from error
        elif name in special or name == key:
            arrays[name] = column
    components = [name for name, c in columns.items() if name not in special and c.dtype.kind == "f"]
    if key is None and not _matrices(arrays) and components:
        arrays[VECTOR_KEYS[0]] = np.stack([columns[name] for name in components], axis=1)
    return arrays


def _read_csv(path: Path, key: str | None) -> Mapping[str, NDArray[Any]]:
    if key is not None:
        raise ValueError(
            f"key: expected none for {path}, where all columns of numbers are one array, got {key!r}"
        )
    table = read_csv(path, dtype={name: str for name in ID_KEYS})
    for name in set(ID_KEYS) & set(table.columns):  # also those that look like missing numbers, such as "NA"
        table[name] = read_csv(path, usecols=[name], dtype=str, na_filter=False)[name]
    names = [str(name) for name in table.columns]
    if all(_is_number(name) for name in names):
        raise ValueError(f"{path}: expected names of the columns in the first line, got numbers")
    special = {*LABEL_KEYS, *ID_KEYS}
    components = [name for name in names if name not in special]
    for name in components:
        if table[name].dtype.kind not in "fiu":
            raise ValueError(
                f"{path}: expected numbers in column {name!r}, got {table[name].iloc[:1].tolist()}"
            )
    arrays = {name: table[name].to_numpy() for name in names if name in special}
    return arrays | ({VECTOR_KEYS[0]: table[components].to_numpy()} if components else {})


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _matrices(arrays: Mapping[str, NDArray[Any]]) -> list[str]:
    return [n for n, a in arrays.items() if a.ndim == 2 and n not in LABEL_KEYS and a.dtype.kind in "fiu"]


def _vector_key(path: Path, names: Mapping[str, NDArray[Any]], key: str | None) -> str:
    if key is not None:
        if key not in names:
            raise ValueError(f"key: expected one of {', '.join(sorted(names))} in {path}, got {key!r}")
        return key
    chosen = [name for name in VECTOR_KEYS if name in names] or _matrices(names)
    if not chosen or (len(chosen) > 1 and chosen[0] not in VECTOR_KEYS):
        raise ValueError(
            f"{path}: expected vectors under one of {', '.join(VECTOR_KEYS)}, or a single array of two dimensions, got "
            f"{', '.join(sorted(names)) or 'nothing'}; say which by key"
        )
    return chosen[0]
