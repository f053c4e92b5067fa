"""Precision by class: of each query's class, in the runs of a sweep."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sdclib.catalogue import load_features
from sdclib.data.features import FeatureSet
from sdclib.data.variants import class_sizes, parse_longtail
from sdclib.metrics import mean_average_precision
from sdclib.metrics.relevance import Relevant
from study.records import collect_measures
from study.runs import COSINE, RunSpec

__all__ = ["SIZE_GROUPS", "class_precision", "collect_classes", "unseen_precision"]

SIZE_GROUPS = ("head", "middle", "tail")


def class_precision(
    query_codes: NDArray[np.uint8], database_codes: NDArray[np.uint8], features: FeatureSet
) -> pd.DataFrame:
    """Measure expected mAP@R of the queries of each class, by the set's protocol.

    Parameters
    ----------
    query_codes, database_codes : ndarray, shapes (n_query, n_bits), (n_database, n_bits), uint8 in {0, 1}
    features : FeatureSet
        With one label an image and training rows in the database.

    Returns
    -------
    DataFrame
        One row a class that has queries: class (id), n_train (its training rows), n_query, map_expected (in [0, 1]).

    Raises
    ------
    ValueError
        If the labels are others, or codes and features do not fit.
    """
    sizes = class_sizes(features)
    values = _precision(query_codes, database_codes, features.relevant, features)
    table = pd.DataFrame({"class": features.query_labels, "map_expected": values})
    table = table.groupby("class")["map_expected"].agg(n_query="size", map_expected="mean").reset_index()
    table.insert(1, "n_train", [sizes.get(label, 0) for label in table["class"]])
    return table


def unseen_precision(
    query_codes: NDArray[np.uint8],
    database_codes: NDArray[np.uint8],
    features: FeatureSet,
    trained: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Measure expected mAP@R of the queries of each class on a database without certain rows.

    Training rows lie in the database, so a longer tail leaves fewer of its images seen in training. On what is left
    after the training rows of the whole set are taken out, all long tails of it are ranked on the same images, unseen.

    Parameters
    ----------
    query_codes, database_codes, features
        As in `class_precision`.
    trained : ndarray, shape (n,), int64
        Rows of the database to leave out.

    Returns
    -------
    ndarray, shape (n_classes,)
        In the order of `class_precision`, in [0, 1].

    Raises
    ------
    ValueError
        If fewer than R rows are left.
    """
    kept = np.setdiff1d(np.arange(len(database_codes)), trained)
    if len(kept) < features.top_k:
        raise ValueError(
            f"trained: expected at least R = {features.top_k} other rows in the database, found {len(kept)}"
        )
    relevant = features.query_labels, features.database_labels[kept]
    values = _precision(query_codes, database_codes[kept], relevant, features)
    return np.array(
        [values[features.query_labels == label].mean() for label in np.unique(features.query_labels)]
    )


def _precision(
    query_codes: NDArray[np.uint8],
    database_codes: NDArray[np.uint8],
    relevant: Relevant,
    features: FeatureSet,
) -> NDArray[np.float64]:
    """Measure expected average precision of each query, by the set's protocol."""
    return np.asarray(
        mean_average_precision(
            query_codes,
            database_codes,
            relevant,
            top_k=features.top_k,
            denominator=features.denominator,
            per_query=True,
        )
    )


def collect_classes(specs: Iterable[RunSpec], runs: str | os.PathLike[str] | None = None) -> pd.DataFrame:
    """Collect precision by class of all runs on long-tailed sets that made codes, from the codes of their records.

    Parameters
    ----------
    specs : iterable of RunSpec
        Those on other data or of float features are left out.
    runs : path-like, optional
        Folder of the records, `study.records.runs_folder` by default.

    Returns
    -------
    DataFrame
        One row a run and class: id, data, method, n_bits, seed, parameters, top_k; class, n_train, n_query,
        map_expected (see `class_precision`), map_unseen (see `unseen_precision`; without the training rows of ratio
        1); commit, results_version, data_sha256, machine; as in `study.records.collect_records`.

    Raises
    ------
    FileNotFoundError
        If the record of a run is missing.
    ValueError
        If no run is on a long-tailed set.
    """
    kept = [spec for spec in specs if spec.method != COSINE and parse_longtail(spec.data)]
    if not kept:
        raise ValueError("specs: expected runs on long-tailed sets such as NAME+longtail-50, got none")

    @functools.lru_cache(maxsize=1)  # one at a time: runs come set by set
    def load(data: str) -> tuple[FeatureSet, NDArray[np.int64]]:
        parts = parse_longtail(data)
        assert parts is not None
        return load_features(data), load_features(parts[0]).train_index

    def measure(spec: RunSpec, query: NDArray[np.uint8], database: NDArray[np.uint8]) -> pd.DataFrame:
        features, trained = load(spec.data)
        by_class = class_precision(query, database, features)
        return by_class.assign(map_unseen=unseen_precision(query, database, features, trained))

    return collect_measures(kept, measure, runs)
