"""Embeddings of one's own as a feature set, with or without labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sdclib.checks import check_features, check_int, check_real
from sdclib.data.features import FeatureSet
from sdclib.data.splits import check_rows, seeded_order
from sdclib.data.vectors import VectorFile, arrays_sha256, encode_labels, load_npy, read_vectors

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["load_embeddings", "nearest_neighbours", "row_cosines"]

ROUNDING = 1e-6  # of a cosine in float32
EQUAL = 1e-12  # of one in double precision
ROWS_AT_A_TIME = 4096


def load_embeddings(
    path: Path | str | pd.DataFrame,
    *,
    key: str | None = None,
    columns: Sequence[str] | None = None,
    labels: ArrayLike | Path | str | None = None,
    query_share: float | None = None,
    n_train: int | None = None,
    seed: int = 0,
    top_k: int | None = None,
    n_neighbors: int = 100,
    name: str | None = None,
) -> FeatureSet:
    """Make a feature set of any vectors: a share of them as queries, the rest as database and for training.

    Rows are put in the order of SHA-256 of "SEED:ROW": first come the queries, then the training rows, then the
    rest of the database. A file may bring a split of its own instead, which holds unless `query_share` or `n_train` ask
    for another: row numbers under "query_rows" and "train_rows" in an .npz or .safetensors. The rows that are no
    queries are then the database, in the file's order.

    Without labels, relevant is what float features find: the `n_neighbors` rows of the database with the highest
    cosine similarity; mAP then says how well codes keep the float ranking.

    Parameters
    ----------
    path, key, columns
        Vectors, and labels if there are any, see `sdclib.data.vectors.read_vectors`.
    labels : array-like or path-like, optional
        Labels, or an .npy of them, in place of those in the file: of shape (n,), or 0/1 vectors of shape (n, n_labels).
    query_share : float, optional
        Above 0, below 1; at least one row becomes a query. By default 0.1, or the file's own split.
    n_train : int, optional
        Training rows, by default the whole database, or those of the file's own split.
    seed : int
    top_k : int, optional
        R, by default 1000 or the size of the database.
    n_neighbors : int
    name : str, optional
        By default that of the file, or "table".
    """
    where = str(path) if isinstance(path, str | Path) else "table"
    file = read_vectors(path, key=key, columns=columns)
    values = check_features(file.vectors, where)
    n = len(values)
    given = load_npy(Path(labels)) if isinstance(labels, str | Path) else labels
    given = file.labels if given is None else given
    check_int(seed, "seed", minimum=0)
    if query_share is None and n_train is None and file.query_rows is not None:
        query_rows, database_rows, train = _own_split(file, where)
    else:
        share = check_real(0.1 if query_share is None else query_share, "query_share", minimum=0)
        n_query = max(1, round(share * n))
        if share == 0 or n_query >= n:
            raise ValueError(
                f"query_share: expected a number above 0 that leaves one of {n} rows, got {share}"
            )
        query_rows, database_rows = np.split(seeded_order(range(n), seed), [n_query])
        if n_train is not None:
            most = len(database_rows)
            check_int(n_train, "n_train", minimum=1, maximum=most, of="rows of the database")
        train = database_rows[:n_train]
    query, database = values[query_rows], values[database_rows]
    neighbours = None
    if given is None:
        k = check_int(n_neighbors, "n_neighbors", minimum=1)
        if k >= len(database):
            raise ValueError(
                f"n_neighbors: expected fewer than the {len(database)} rows of the database, got {k}"
            )
        neighbours = tuple(nearest_neighbours(query, database, k))
        codes: NDArray[np.integer] = np.zeros((n, 0), dtype=np.uint8)
    else:
        codes = encode_labels(given, f"{where}: labels" if labels is None else "labels", n=n)
    parts = (query, database, values[train], codes[query_rows], codes[database_rows])
    return FeatureSet(
        name=Path(where).stem if name is None else name,
        query=query,
        database=database,
        query_labels=codes[query_rows],
        database_labels=codes[database_rows],
        train_index=np.flatnonzero(np.isin(database_rows, train)),
        top_k=min(1000, len(database)) if top_k is None else top_k,
        licence="the vectors' own",
        citation="",
        sha256=arrays_sha256(*parts, [0 if neighbours is None else n_neighbors]),
        ground_truth=neighbours,
    )


def nearest_neighbours(query: ArrayLike, database: ArrayLike, k: int) -> NDArray[np.int64]:
    """Find the `k` database rows with the highest cosine similarity to each query; ties go to the lower row.

    Parameters
    ----------
    query, database : array-like, shapes (n_query, d), (n_database, d)
    k : int
        From 1 to n_database, else ValueError.

    Returns
    -------
    ndarray, shape (n_query, k), int64
        Rows in ascending order, not ranked.
    """
    rows = check_features(query, "query")
    items = check_features(database, "database", n_features=rows.shape[1])
    n = len(items)
    check_int(k, "k", minimum=1, maximum=n, of="rows of the database")
    unit_rows, unit_items = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (rows, items))
    found = np.empty((len(rows), k), dtype=np.int64)
    height = max(1, (1 << 24) // n)
    for start in range(0, len(rows), height):
        for i, row in enumerate(unit_rows[start : start + height] @ unit_items.T, start=start):
            least = np.partition(row, n - k)[n - k]
            is_near = abs(row - least) <= ROUNDING
            above, near = np.flatnonzero((row > least) & ~is_near), np.flatnonzero(is_near)
            if len(above) + len(near) > k:  # the product rounds by position: the order of these is open
                near = _largest(row_cosines(rows[i], items, near), near, k - len(above))
            found[i] = np.sort(np.concatenate([above, near]))
    return found


def row_cosines(query: NDArray[Any], items: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Cosines of one query and some rows, in double precision and row by row: equal rows have equal ones."""
    query = query.astype(np.float64) / np.linalg.norm(query.astype(np.float64))
    parts = [np.zeros(0)]
    for start in range(0, len(rows), ROWS_AT_A_TIME):
        part = np.asarray(items[rows[start : start + ROWS_AT_A_TIME]], dtype=np.float64)
        parts.append(np.vecdot(part, query) / np.linalg.norm(part, axis=1))
    return np.concatenate(parts)


def _largest(values: NDArray[np.float64], rows: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """Pick the rows of the k largest values; those that differ by rounding alone are tied, the lower rows first."""
    least = np.partition(values, len(values) - k)[len(values) - k]
    equal = abs(values - least) <= EQUAL
    above = (values > least) & ~equal
    return np.concatenate([rows[above], rows[equal][: k - above.sum()]])


def _own_split(file: VectorFile, name: str) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Rows of queries, database and training by the file's own split."""
    n = len(file.vectors)
    query = check_rows(file.query_rows, f"{name}: query_rows", n)
    database = np.setdiff1d(np.arange(n), query)
    if not len(database):
        raise ValueError(f"{name}: query_rows: expected at least one of {n} vectors to be no query")
    if file.train_rows is None:
        return query, database, database
    train = np.sort(check_rows(file.train_rows, f"{name}: train_rows", n))
    if (both := np.isin(train, query).sum()) > 0:
        raise ValueError(f"{name}: train_rows: expected no row of query_rows, got {both}")
    return query, database, train
