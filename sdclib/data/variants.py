"""Feature sets made from others: held-out or imbalanced training rows, a database without them, more or less bias."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import re

import numpy as np
from numpy.typing import NDArray

from sdclib.checks import check_int, check_real
from sdclib.data.features import FeatureSet
from sdclib.data.splits import seeded_order

__all__ = [
    "HOLDOUT",
    "LONG_TAIL",
    "UNSEEN",
    "class_sizes",
    "drawn_rows",
    "hold_out",
    "holdout_rows",
    "leave_out_training",
    "long_tail",
    "longtail_sizes",
    "move_mean",
    "moved",
    "parse_bias",
    "parse_longtail",
    "positive_share",
]

HOLDOUT = "+holdout"
SHARE = 0.1  # of the training rows
LONG_TAIL = "+longtail-"
CONTROL = "-control"
UNSEEN = "+unseen"


def holdout_rows(n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Choose which of `n` training rows become queries (a tenth, at least one), and which stay for training.

    Both ascending, by `sdclib.data.splits.seeded_order`; ValueError for fewer than two rows.
    """
    if n < 2:
        raise ValueError(f"n: expected at least 2 training rows to hold one out, got {n}")
    query, train = np.split(seeded_order(range(n), seed=0), [max(1, round(SHARE * n))])
    return np.sort(query), np.sort(train)


def hold_out(features: FeatureSet) -> FeatureSet:
    """Make a feature set of the training rows alone, NAME+holdout: a tenth are queries, the rest database and training.

    R becomes the same share of the smaller database. No query and no other database row of the set is in it, so
    whatever is chosen on it has seen neither. ValueError if the training rows have no labels, as where they are not in
    the database.
    """
    labels = _train_labels(features)
    rows = features.train
    query, train = holdout_rows(len(rows))
    return dataclasses.replace(
        features,
        name=f"{features.name}{HOLDOUT}",
        query=rows[query],
        database=rows[train],
        query_labels=labels[query],
        database_labels=labels[train],
        train_index=np.arange(len(train)),
        top_k=max(1, round(features.top_k * len(train) / len(features.database))),
        sha256=_sha256(f"{features.sha256} holdout {SHARE} 0"),
        ground_truth=None,
        junk=None,
    )


def parse_longtail(name: str) -> tuple[str, float, bool] | None:
    """Take ``"NAME+longtail-RATIO[-control]"`` apart: name, ratio, whether it is the control.

    None for other names; ValueError if what follows ``+longtail-`` is no ratio of at least 1.
    """
    base, found, suffix = name.rpartition(LONG_TAIL)
    if not found:
        return None
    number = suffix.removesuffix(CONTROL)
    if not re.fullmatch(r"\d+(\.\d+)?", number) or float(number) < 1:
        raise ValueError(
            f"name: expected a ratio >= 1 after {LONG_TAIL}, such as {LONG_TAIL}50 or {LONG_TAIL}50{CONTROL}, "
            f"got {suffix!r}"
        )
    return base, float(number), suffix != number


def longtail_sizes(n_max: int, n_classes: int, ratio: float) -> list[int]:
    r"""Sizes of the classes of a long-tailed set, largest first.

    Class :math:`i = 0, \dots, C - 1` keeps :math:`\lfloor n_{max} \, ratio^{-i / (C - 1)} \rfloor` rows, so the first
    class has `ratio` (at least 1) times the rows of the last. ValueError if a class would have no row.

    References
    ----------
    Cui, Jia, Lin, Song, Belongie: "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019.
    """
    check_int(n_max, "n_max", minimum=1)
    check_int(n_classes, "n_classes", minimum=2)
    check_real(ratio, "ratio", minimum=1)
    # The small number keeps products that are whole, such as 500 / 50, from falling below by rounding.
    sizes = [math.floor(n_max * ratio ** (-i / (n_classes - 1)) + 1e-9) for i in range(n_classes)]
    if not sizes[-1]:
        raise ValueError(
            f"ratio: expected at most {n_max}, the rows of the largest class, so that every class keeps a row, "
            f"got {ratio:g}"
        )
    return sizes


def long_tail(features: FeatureSet, ratio: float, *, control: bool = False) -> FeatureSet:
    """Make the training rows of a feature set long-tailed; queries and database stay as they are.

    Classes are in the order of their ids, the first is the largest, with as many rows as the smallest class of
    `features` has; see `longtail_sizes`. Within a class, rows are taken in the order of SHA-256 of "0:ROW", with
    ROW a row of the database: the same on every machine, and those of a larger ratio are among those of a smaller.

    Parameters
    ----------
    features : FeatureSet
        With one label an image, and training rows of every class in the database.
    ratio : float
        Rows of the largest class over rows of the smallest, at least 1; 1 keeps the classes equal. ValueError if a
        class would have no row.
    control : bool
        As many rows in all, but spread evenly over the classes (the first ones have one more where this does not come
        out even), and -control in the name: what a long tail does beyond having fewer rows is the difference from this.
    """
    of_class = class_sizes(features)
    lost = [label for label, size in of_class.items() if not size]
    if lost:
        raise ValueError(
            f"features: expected training rows of each of the {len(of_class)} classes in the database of "
            f"{features.name}, but {len(lost)} have none, first class {lost[0]}"
        )
    sizes = longtail_sizes(min(of_class.values()), len(of_class), ratio)
    if control:
        each, more = divmod(sum(sizes), len(sizes))
        sizes = [each + (i < more) for i in range(len(sizes))]
    order = features.train_index[seeded_order(features.train_index, seed=0)]
    labels = features.database_labels[order]
    chosen = [order[labels == label][:size] for label, size in zip(of_class, sizes, strict=True)]
    train_index = features.train_index[np.isin(features.train_index, np.concatenate(chosen))]
    return dataclasses.replace(
        features,
        name=f"{features.name}{LONG_TAIL}{ratio:g}{CONTROL if control else ''}",
        train_index=train_index,
        sha256=_sha256(f"{features.sha256} train {','.join(map(str, train_index))}"),
    )


def class_sizes(features: FeatureSet) -> dict[int, int]:
    """Count the training rows of each class of the database; ValueError for none, or other than one label an image."""
    if features.database_labels.ndim != 1:
        kind = "several labels" if features.database_labels.shape[1] else "no labels"
        raise ValueError(
            f"features: expected one label an image, as classes are counted, but {features.name} has {kind}"
        )
    labels = _train_labels(features)
    return {int(label): int((labels == label).sum()) for label in np.unique(features.database_labels)}


def positive_share(features: FeatureSet) -> float:
    """Share of pairs of two training rows that are of one class; NaN for a single row, errors as `class_sizes`."""
    sizes = np.array(list(class_sizes(features).values()))
    pairs = sizes.sum() * (sizes.sum() - 1)
    return float((sizes * (sizes - 1)).sum() / pairs) if pairs else float("nan")


def leave_out_training(features: FeatureSet) -> FeatureSet:
    """Take the training rows out of every query's ranking, as junk: NAME+unseen; training and R stay as they are.

    A method that has seen the labels of training rows ranks them better than it would rank new images. What is left
    of the database are rows of which it has seen neither features nor labels. ValueError if relevance is not by labels,
    no training row lies in the database, or fewer than R other rows do.
    """
    if features.ground_truth is not None:
        raise ValueError(f"features: expected relevance by labels, but {features.name} has none")
    _train_labels(features)
    left = len(features.database) - len(features.train_index)
    if left < features.top_k:
        raise ValueError(
            f"features: expected at least R = {features.top_k} database rows that are not for training in "
            f"{features.name}, found {left}"
        )
    before = features.junk or ((),) * len(features.query)
    return dataclasses.replace(
        features,
        name=f"{features.name}{UNSEEN}",
        junk=tuple(np.union1d(features.train_index, junk).astype(np.int64) for junk in before),
        sha256=_sha256(f"{features.sha256}{UNSEEN}"),
    )


def drawn_rows(features: FeatureSet, draw: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw queries anew among the rows that are not for training, of each class as many as there are.

    Rows count the set's queries first, then its database, and are taken in the order of `seeded_order`. Gives the rows
    of queries and database, ascending, training rows among the latter. ValueError if items have not one label each, or
    relevance is not by labels.
    """
    if features.ground_truth is not None or features.junk is not None or features.query_labels.ndim != 1:
        raise ValueError(
            f"features: expected one label an item to draw queries by class, but {features.name} has others"
        )
    labels = np.concatenate([features.query_labels, features.database_labels])
    order = seeded_order(range(len(labels)), draw)
    order = order[~np.isin(order, len(features.query) + features.train_index)]
    classes, sizes = np.unique(features.query_labels, return_counts=True)
    chosen = [order[labels[order] == label][:n] for label, n in zip(classes, sizes, strict=True)]
    query = np.sort(np.concatenate(chosen))
    return query, np.setdiff1d(np.arange(len(labels)), query)


def parse_bias(name: str) -> tuple[str, float] | None:
    """Take ``"NAME+bias(NUMBER)"`` apart into the two; None for other names."""
    found = re.fullmatch(r"(.+)\+bias\((-?\d+(?:\.\d+)?)\)", name)
    return (found[1], float(found[2])) if found else None


def moved(rows: NDArray[np.float32], train: NDArray[np.float32], amount: float) -> NDArray[np.float32]:
    """Add `amount` times the mean of the training rows to rows, shape (..., d)."""
    return rows + np.float32(amount) * train.mean(axis=0, dtype=np.float64).astype(np.float32)


def move_mean(features: FeatureSet, amount: float) -> FeatureSet:
    """Add `amount` times the mean of the training rows to all features, NAME+bias(AMOUNT): -1 takes it away.

    It turns the bias of features, and nothing else: differences of features stay as they are.
    """
    train = features.train
    return dataclasses.replace(
        features,
        name=f"{features.name}+bias({amount:g})",
        query=moved(features.query, train, amount),
        database=moved(features.database, train, amount),
        train_features=None if features.train_features is None else moved(train, train, amount),
        sha256=_sha256(f"{features.sha256}+bias({amount!r})"),
    )


def _train_labels(features: FeatureSet) -> NDArray[np.integer]:
    if not len(features.train_index) or features.database_labels.shape[1:] == (0,):
        raise ValueError(
            f"features: expected labelled training rows in the database of {features.name}, found none"
        )
    return features.database_labels[features.train_index]


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
