"""Tables (.parquet, .csv, data frames) of features: which columns they are, and labels and ids of the rows."""

from __future__ import annotations

import csv
import fnmatch
import importlib.util
import logging
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "ID_KEYS",
    "LABEL_KEYS",
    "NO_FEATURE",
    "TABLES",
    "VECTOR_KEYS",
    "listed",
    "read_csv",
    "read_table",
    "take_apart",
]

VECTOR_KEYS = ("features", "embeddings", "embedding", "vectors", "vector")
LABEL_KEYS = ("labels", "label")
ID_KEYS = ("ids", "id")
TABLES = (".parquet", ".csv")

NO_FEATURE = re.compile(
    r"|ids?|\w*_id|labels?|targets?|class|index|level_\d|unnamed: \d+|__index_level_\d__", re.I
)
"""Names of columns of a table that are not taken for features unless they are asked for."""

logger = logging.getLogger(__name__)


def read_csv(path: Path, **options: Any) -> pd.DataFrame:
    """Read a table by `pandas.read_csv`, but not one whose lines are longer than its first.

    pandas would take what comes first in them for names of the rows, and so every column for another.
    FileNotFoundError, or ValueError that names the file if it is no such table.
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
        raise ValueError(f"{path}: damaged .csv, expected a CSV file ({error})") from error


def read_table(path: Path) -> pd.DataFrame:
    """Read a .parquet or .csv, with or without a line of names; errors as `sdclib.data.vectors.read_vectors`."""
    return _read_csv(path) if path.suffix.lower() == ".csv" else _read_parquet(path)


def _read_parquet(path: Path) -> pd.DataFrame:
    if importlib.util.find_spec("pyarrow") is None:
        raise ImportError(f"{path}: reading .parquet needs the package pyarrow: pip install pyarrow")
    from pyarrow import parquet

    try:
        table = parquet.read_table(path)
        table.validate(full=True)
        try:
            return table.to_pandas()
        except (NotImplementedError, TypeError, ValueError):  # kinds that pandas writes but does not read
            return table.to_pandas(ignore_metadata=True)
    except Exception as error:  # pyarrow's errors are of many kinds
        raise ValueError(f"{path}: damaged .parquet ({error})") from error


def _read_csv(path: Path) -> pd.DataFrame:
    """Read a .csv whose first line is of names, or of numbers as all others are."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            line = next((line for line in file if line.strip()), "")
            separator = next((s for s in (";", "\t") if s in line), ",")
            both = line + next(file, "")
            decimal = "," if separator == ";" and ("," in both or "." not in both) else "."
            names = next(csv.reader([line], delimiter=separator), [])
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path}: damaged .csv, expected a CSV file ({error})") from error
    numbers = [i for i, name in enumerate(names) if _is_number(name.replace(decimal, "."))]
    others = [name for i, name in enumerate(names) if i not in set(numbers)]
    whole = [int(names[i]) for i in numbers if names[i].isdecimal()]
    may_be_names = len(whole) == len(numbers) and whole == sorted(set(whole))
    if any(others) and not may_be_names:
        raise ValueError(
            f"{path}: expected names in the first line, or numbers alone, got {max(others)!r} beside "
            f"{names[numbers[0]]!r}"
        )
    text = [i for i, name in enumerate(names) if name in (*LABEL_KEYS, *ID_KEYS)]  # "NA" is a name there
    missing = {i: ["", "NA", "NaN", "nan", "null"] for i in range(len(names) + 1) if i not in text}
    table = read_csv(
        path,
        sep=separator,
        decimal=decimal,
        encoding="utf-8-sig",
        header=0 if may_be_names else None,
        dtype=dict.fromkeys(text, str),
        na_values=missing,
        keep_default_na=False,
        low_memory=False,
    )
    if not may_be_names:
        return table
    floats = all(table.dtypes.iloc[i].kind == "f" for i in numbers)
    counting = whole == list(range(len(whole)))  # as pandas names columns that have no names
    indexed = bool(others) and all(map(NO_FEATURE.fullmatch, others))
    if numbers and not (counting and (floats or indexed)) and not (floats and others):
        raise ValueError(
            f"{path}: expected a line of names such as a,b,c, for the first may be names or numbers: {line!r}"
        )
    if numbers and not indexed:
        logger.warning("%s: took the first line, %s, for the names of the columns", path, listed(names))
    for name in table.columns.intersection(list(LABEL_KEYS)):
        table[name] = _label_values(table[name])
    return table.set_axis(names, axis=1)


def _label_values(column: pd.Series) -> pd.Series:
    """Labels of a .csv: whole numbers if all are, else names; an empty one is missing."""
    column = column.where(column != "", None)
    try:
        return column.astype(np.int64)
    except (TypeError, ValueError):
        return column


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def take_apart(
    table: pd.DataFrame, where: str, key: str | None, columns: Sequence[str] | None
) -> dict[str, NDArray[Any]]:
    """Features, labels and ids of a table by name; arguments and errors as `sdclib.data.vectors.read_vectors`."""
    special = {*LABEL_KEYS, *ID_KEYS}
    levels = [name for name in table.index.names if name in special]  # other levels are no columns
    if levels:
        table = table.reset_index(level=levels, allow_duplicates=True)
    named = [(str(name), table.iloc[:, i]) for i, name in enumerate(table.columns)]
    arrays = {}
    for name, column in named:
        if name in special:
            if name in arrays:
                raise ValueError(f"{where}: expected one column {name!r}, got several")
            here = column.notna()
            arrays[name] = np.asarray(column if here.all() else column.astype(object).where(here, None))
    asked = columns if key is None else [key]
    if asked is not None:
        chosen = _chosen(named, where, asked)
        if key is not None and not _holds_vectors(chosen[0][1]):
            raise ValueError(f"key: expected a column of vectors in {where}, {key!r} is none")
    else:
        chosen = _features(named, where)
    arrays[VECTOR_KEYS[0]] = np.concatenate([_matrix(column, name, where) for name, column in chosen], axis=1)
    taken = {name for name, _ in chosen} | special
    left = [name for name, _ in named if name not in taken]
    if left and asked is None:
        names = [name for name, _ in chosen]
        logger.warning(
            "%s: took %s %s for features, left %s; columns (--columns) chooses",
            *(where, f"the {len(names)} columns" if len(names) > 1 else "the column"),
            *(listed(names), listed(left)),
        )
    return arrays


def listed(names: Sequence[str]) -> str:
    """Name some things for a message, of many the first and the last."""
    names = [name or "''" for name in names]
    return ", ".join(names if len(names) < 7 else [*names[:3], "...", *names[-2:]])


def _chosen(
    named: list[tuple[str, pd.Series]], where: str, patterns: Sequence[str]
) -> list[tuple[str, pd.Series]]:
    """Columns by name or pattern, in the order of the patterns, each once."""
    chosen: dict[int, None] = {}
    for pattern in patterns:
        exact = [i for i, (name, _) in enumerate(named) if name == pattern]
        found = exact or [i for i, (name, _) in enumerate(named) if fnmatch.fnmatchcase(name, pattern)]
        if not found:
            known = listed([name for name, _ in named])
            raise ValueError(f"columns: expected some of {known} in {where}, got {pattern!r}")
        chosen |= dict.fromkeys(found)
    return [named[i] for i in chosen]


def _features(named: list[tuple[str, pd.Series]], where: str) -> list[tuple[str, pd.Series]]:
    """Columns that are features if nobody says which: one of vectors, or those of numbers."""
    import pandas as pd

    candidates = [(name, column) for name, column in named if name not in {*LABEL_KEYS, *ID_KEYS}]
    vectors = [(name, column) for name, column in candidates if _holds_vectors(column)]
    vectors = [pair for k in VECTOR_KEYS for pair in vectors if pair[0] == k][:1] or vectors
    if len(vectors) > 1:
        raise ValueError(
            f"{where}: expected one column of vectors, got {listed([n for n, _ in vectors])}; say which by key"
        )
    if vectors:
        return vectors
    chosen = []
    for name, column in candidates:
        if pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype):
            if not NO_FEATURE.fullmatch(name):
                chosen.append((name, column))
        elif name in VECTOR_KEYS or (not NO_FEATURE.fullmatch(name) and _some_numbers(column)):
            raise ValueError(
                f"{where}: expected numbers in column {name!r}, got texts such as "
                f"{column.dropna().head(1).tolist()}; say by columns which are features"
            )
    if not chosen:
        raise ValueError(
            f"{where}: expected columns of numbers, or a column of vectors, got {listed([n for n, _ in named])}"
        )
    return chosen


def _holds_vectors(column: pd.Series) -> bool:
    return any(isinstance(cell, list | tuple | np.ndarray) for cell in column.dropna().iloc[:1])


def _some_numbers(column: pd.Series) -> bool:
    """Whether a column of texts holds a number, so that a single bad cell may have made it one."""
    import pandas as pd

    if column.dtype != object and not pd.api.types.is_string_dtype(column.dtype):
        return False
    texts = [str(cell) for cell in column.dropna() if not isinstance(cell, bytes)]
    return bool(pd.to_numeric(pd.Series(texts, dtype=object), errors="coerce").notna().any())


def _matrix(column: pd.Series, name: str, where: str) -> NDArray[Any]:
    """Numbers or vectors of a column, shape (n, d)."""
    empty = np.flatnonzero(column.isna())
    if len(empty):
        raise ValueError(
            f"{where}: expected a value in every row of column {name!r}, row {empty[0]} has none"
        )
    values = np.asarray(column)
    if _holds_vectors(column):
        try:
            values = np.array([np.asarray(cell) for cell in values])
        except ValueError as error:
            sizes = sorted({np.size(cell) for cell in values})
            raise ValueError(
                f"{where}: expected vectors of one length in column {name!r}, got {sizes[:3]}"
            ) from error
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or values.dtype.kind not in "fiu":
        raise ValueError(f"{where}: expected numbers in column {name!r}, got {values.dtype}")
    return values
