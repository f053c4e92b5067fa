"""Splits by what is in an image, so that they are the same on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sdclib.checks import check_int, check_labels

__all__ = ["Split", "check_rows", "class_split", "seeded_order", "split_sha256"]


@dataclass(frozen=True, eq=False)
class Split:
    """Which images are queries, database and for training.

    Attributes
    ----------
    query, database : ndarray, shapes (n_query,), (n_database,), int64
        Image numbers, no image in both; the order mixes the classes.
    train_index : ndarray, shape (n_train,), int64
        Positions in `database`, ascending.
    """

    query: NDArray[np.int64]
    database: NDArray[np.int64]
    train_index: NDArray[np.int64]


def seeded_order(names: Iterable[int | str], seed: int) -> NDArray[np.int64]:
    """Positions of names in the order of SHA-256 of "SEED:NAME", the same with every version of NumPy."""
    keys = [hashlib.sha256(f"{seed}:{name}".encode()).digest() for name in names]
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)


def class_split(
    pixel_sha256: Sequence[str],
    labels: ArrayLike,
    *,
    seed: int,
    n_query: int,
    n_train: int,
    n_database: int | None = None,
) -> Split:
    """Split a single-label set with the same number of images a class; the order of the images plays no part.

    Images are sorted by SHA-256 of "SEED:PIXELS", where PIXELS is the hexadecimal SHA-256 of their raw pixels.
    In each class the first `n_query` are queries, the next `n_database` the database, of which the first `n_train`
    are for training. So a smaller database is part of a larger one, with the same queries and training images.

    Parameters
    ----------
    pixel_sha256 : sequence of str
        One an image: what identifies it whatever file it comes from.
    labels : array-like, shape (n_images,), whole numbers
    seed : int
        At least 0.
    n_query, n_train, n_database : int
        Images a class; by default the database is all that are left. ValueError if a class has too few.
    """
    ids = check_labels(labels, "labels", n=len(pixel_sha256))
    if ids.ndim != 1 or len(ids) == 0:
        raise ValueError(f"labels: expected ids of shape (n_images,), at least one, got shape {ids.shape}")
    check_int(seed, "seed", minimum=0)
    check_int(n_query, "n_query", minimum=1)
    check_int(n_train, "n_train", minimum=1)
    needed = n_query + n_train
    last = len(ids)
    if n_database is not None:
        needed = last = n_query + check_int(n_database, "n_database", minimum=n_train)
    order = seeded_order(pixel_sha256, seed)
    rank = np.empty(len(ids), dtype=np.int64)  # of an image, in this order, within its class
    for label in np.unique(ids):
        members = np.flatnonzero(ids[order] == label)
        if len(members) < needed:
            raise ValueError(
                f"labels: expected at least {needed} images a class, got {len(members)} of {label}"
            )
        rank[members] = np.arange(len(members))
    in_database = (rank >= n_query) & (rank < last)
    return Split(
        query=order[rank < n_query],
        database=order[in_database],
        train_index=np.flatnonzero(rank[in_database] < n_query + n_train),
    )


def split_sha256(split: Split, pixel_sha256: Sequence[str]) -> str:
    """SHA-256 of the lines "ROLE PIXELS" of queries, then database, in order; ROLE is query, train or database."""
    roles = np.full(len(split.database), "database")
    roles[split.train_index] = "train"
    lines = [f"query {pixel_sha256[i]}\n" for i in split.query]
    lines += [f"{role} {pixel_sha256[i]}\n" for role, i in zip(roles, split.database, strict=True)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def check_rows(rows: ArrayLike | None, name: str, n: int, *, may_be_empty: bool = False) -> NDArray[np.int64]:
    """Check numbers of `n` rows and return them as int64; ValueError that names them.

    They are whole, from 0 to n - 1, each at most once, and at least one unless there may be none.
    """
    array = np.asarray(rows)
    if may_be_empty and array.shape == (0,):
        return np.zeros(0, dtype=np.int64)
    if array.ndim != 1 or array.size == 0 or array.dtype.kind not in "iu":
        raise ValueError(f"{name}: expected whole numbers of shape (n,), got {array.dtype} {array.shape}")
    if array.min() < 0 or array.max() >= n:
        raise ValueError(f"{name}: expected numbers from 0 to {n - 1}, got {array.min()} to {array.max()}")
    if (twice := array.size - np.unique(array).size) > 0:
        raise ValueError(f"{name}: expected every number once, got {twice} again")
    return array.astype(np.int64)
