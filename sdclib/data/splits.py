"""Splits by what is in an image, so that they are the same on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
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


def seeded_order(n: int, seed: int) -> NDArray[np.int64]:
    """Numbers 0 to n - 1 in the order of SHA-256 of "SEED:NUMBER", the same with every version of NumPy."""
    keys = [hashlib.sha256(f"{seed}:{number}".encode()).digest() for number in range(n)]
    return np.array(sorted(range(n), key=keys.__getitem__), dtype=np.int64)


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
        One an image, 64 hexadecimal digits: what identifies it whatever file it comes from.
    labels : array-like, shape (n_images,), whole numbers
    seed : int
        At least 0.
    n_query, n_train : int
        Images a class, at least 1.
    n_database : int, optional
        Images a class, at least `n_train`; all that are left by default.

    Returns
    -------
    Split

    Raises
    ------
    ValueError
        If an argument is not as described, or a class has too few images.
    """
    ids = check_labels(labels, "labels", n=len(pixel_sha256))
    if ids.ndim != 1 or len(ids) == 0:
        raise ValueError(f"labels: expected ids of shape (n_images,), at least one, got shape {ids.shape}")
    check_int(seed, "seed", minimum=0)
    check_int(n_query, "n_query", minimum=1)
    check_int(n_train, "n_train", minimum=1)
    if n_database is not None:
        check_int(n_database, "n_database", minimum=n_train)
    keys = [hashlib.sha256(f"{seed}:{pixels}".encode()).hexdigest() for pixels in pixel_sha256]
    order = np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)
    rank = np.empty(len(ids), dtype=np.int64)  # of an image, in sorted order, within its class
    for label in np.unique(ids):
        members = order[ids[order] == label]
        needed = n_query + (n_train if n_database is None else n_database)
        if len(members) < needed:
            raise ValueError(
                f"labels: expected at least {needed} images a class, got {len(members)} of {label}"
            )
        rank[members] = np.arange(len(members))
    rank = rank[order]
    last = len(ids) if n_database is None else n_query + n_database
    in_database = (rank >= n_query) & (rank < last)
    return Split(
        query=order[rank < n_query],
        database=order[in_database],
        train_index=np.flatnonzero(rank[in_database] < n_query + n_train),
    )


def split_sha256(split: Split, pixel_sha256: Sequence[str]) -> str:
    """Hash of a split: SHA-256 of its lines "ROLE PIXELS", queries, then database, in order.

    Parameters
    ----------
    split : Split
    pixel_sha256 : sequence of str
        As for `class_split`.

    Returns
    -------
    str
        64 hexadecimal digits; ROLE is "query", "train" (also in the database) or "database".
    """
    train = set(split.train_index.tolist())
    lines = [f"query {pixel_sha256[i]}\n" for i in split.query]
    for position, image in enumerate(split.database):
        lines.append(f"{'train' if position in train else 'database'} {pixel_sha256[image]}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def check_rows(rows: ArrayLike | None, name: str, n: int, *, may_be_empty: bool = False) -> NDArray[np.int64]:
    """Check numbers of `n` rows: whole, from 0 to n - 1, each at most once; at least one unless it may be empty.

    Returns
    -------
    ndarray, shape (n_rows,), int64

    Raises
    ------
    ValueError
        Otherwise.
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
