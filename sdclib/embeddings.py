"""Embeddings of one's own as a feature set, with or without labels."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sdclib.checks import check_features, check_int, check_real
from sdclib.features import FeatureSet
from sdclib.vectors import arrays_sha256, encode_labels, load_npy, read_vectors

__all__ = ["load_embeddings", "nearest_neighbours"]


def load_embeddings(
    path: Path | str,
    *,
    key: str | None = None,
    labels: ArrayLike | Path | None = None,
    use_labels: bool = True,
    query_share: float = 0.1,
    n_train: int | None = None,
    train_in_database: bool = True,
    seed: int = 0,
    top_k: int | None = None,
    n_neighbours: int = 100,
    name: str | None = None,
) -> FeatureSet:
    """Make a feature set of any vectors: a share of them as queries, the rest as database and for training.

    Rows are put in the order of SHA-256 of "SEED:ROW": first come the queries, then the training rows, then the
    rest of the database. Without labels, relevant is what float features find: the `n_neighbours` rows of the
    database with the highest cosine similarity; mAP then says how well codes keep the float ranking.

    Parameters
    ----------
    path : path-like
        See `read_vectors`.
    key : str, optional
        The array or column of vectors.
    labels : array-like or path-like, optional
        Labels of the rows, or an .npy of them, in place of those in the file: whole numbers or names of shape (n,),
        or 0/1 vectors of shape (n, n_labels).
    use_labels : bool
        False ignores the file's labels.
    query_share : float
        Above 0, below 1; at least one row becomes a query.
    n_train : int, optional
        Training rows, by default the whole database.
    train_in_database : bool
        False takes the training rows out of the database; `n_train` must then be given.
    seed : int
    top_k : int, optional
        R, by default 1000 or the size of the database.
    n_neighbours : int
    name : str, optional
        By default that of the file.

    Returns
    -------
    FeatureSet

    Raises
    ------
    ValueError
        If the file or an option is not as described.
    """
    path = Path(path)
    file = read_vectors(path, key=key)
    values = check_features(file.vectors, str(path))
    order = _seeded_order(len(values), check_int(seed, "seed", minimum=0))
    n_query = _query_count(len(values), query_share)
    n_train = _train_count(len(values) - n_query, n_train, train_in_database)
    query_rows, train, rest = np.split(order, [n_query, n_query + n_train])
    database_rows = order[n_query:] if train_in_database else rest
    query, database = values[query_rows], values[database_rows]
    given = file.labels if labels is None and use_labels else labels
    neighbours = None
    if given is None:
        k = check_int(n_neighbours, "n_neighbours", minimum=1)
        if k >= len(database):
            raise ValueError(
                f"n_neighbours: expected fewer than the {len(database)} rows of the database, got {k}"
            )
        neighbours = tuple(nearest_neighbours(query, database, k))
        codes: NDArray[np.integer] = np.zeros((len(values), 0), dtype=np.uint8)
    else:
        given = load_npy(Path(given)) if isinstance(given, str | Path) else given
        codes = encode_labels(given, "labels", n=len(values))
    parts = (query, database, values[train], codes[query_rows], codes[database_rows])
    return FeatureSet(
        name=path.stem if name is None else name,
        query=query,
        database=database,
        query_labels=codes[query_rows],
        database_labels=codes[database_rows],
        train_index=np.arange(n_train if train_in_database else 0),
        top_k=min(1000, len(database)) if top_k is None else top_k,
        licence="the vectors' own",
        citation="",
        sha256=arrays_sha256(*parts, [0 if neighbours is None else n_neighbours]),
        ground_truth=neighbours,
        train_features=None if train_in_database else values[train],
    )


def nearest_neighbours(query: ArrayLike, database: ArrayLike, k: int) -> NDArray[np.int64]:
    """Find the `k` database rows with the highest cosine similarity to each query; ties go to the lower row.

    Parameters
    ----------
    query, database : array-like, shapes (n_query, d), (n_database, d)
    k : int
        From 1 to n_database.

    Returns
    -------
    ndarray, shape (n_query, k), int64
        Rows in ascending order, not ranked.

    Raises
    ------
    ValueError
        If features or `k` are not as described.
    """
    rows = check_features(query, "query")
    items = check_features(database, "database", n_features=rows.shape[1])
    n = len(items)
    if check_int(k, "k", minimum=1) > n:
        raise ValueError(f"k: expected at most the {n} rows of the database, got {k}")
    rows, items = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (rows, items))
    found = np.empty((len(rows), k), dtype=np.int64)
    height = max(1, (1 << 24) // n)
    for start in range(0, len(rows), height):
        for i, row in enumerate(rows[start : start + height] @ items.T, start=start):
            least = np.partition(row, n - k)[n - k]
            above = np.flatnonzero(row > least)
            equal = np.flatnonzero(row == least)[: k - len(above)]
            found[i] = np.sort(np.concatenate([above, equal]))
    return found


def _seeded_order(n: int, seed: int) -> NDArray[np.int64]:
    """Rows 0 to n - 1 in the order of SHA-256 of "SEED:ROW", the same with every version of NumPy."""
    keys = [hashlib.sha256(f"{seed}:{row}".encode()).digest() for row in range(n)]
    return np.array(sorted(range(n), key=keys.__getitem__), dtype=np.int64)


def _query_count(n: int, share: float) -> int:
    """Count the queries among n rows, at least one, with at least one row left."""
    if not 0 < check_real(share, "query_share", minimum=0) < 1:
        raise ValueError(f"query_share: expected a number above 0 and below 1, got {share!r}")
    count = max(1, round(share * n))
    if count >= n:
        raise ValueError(f"query_share: expected at least one of {n} vectors to be no query, got {share!r}")
    return count


def _train_count(n: int, n_train: int | None, in_database: bool) -> int:
    """Count the training rows among the n that are no queries."""
    most = n if in_database else n - 1
    if n_train is None and not in_database:
        raise ValueError("n_train: expected a number with train_in_database=False, got None")
    count = n if n_train is None else check_int(n_train, "n_train", minimum=1)
    if count > most:
        raise ValueError(f"n_train: expected at most {most} beside queries and database, got {count}")
    return count
