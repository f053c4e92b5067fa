"""What is measured of stored codes beside a run's metrics, and of the teacher of SDC by neighbours: tables of runs."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sdclib.catalogue import load_features
from sdclib.data.embeddings import nearest_neighbours
from sdclib.data.features import FeatureSet
from sdclib.data.variants import class_sizes, drawn_rows, parse_longtail
from sdclib.methods.neighbours import smooth_over_neighbours
from sdclib.metrics import mean_average_precision
from sdclib.metrics.counts import count_pairs
from sdclib.metrics.ranking import (
    cosine_mean_average_precision,
    hit_rate_at_k,
    precision_at_k,
    recall_at_k,
)
from sdclib.metrics.relevance import Relevant
from sdclib.search.index import HammingIndex
from sdclib.search.recall import neighbour_cosines, recalls
from study.runs import COSINE, RunSpec, collect_measures

__all__ = [
    "DEPTHS",
    "at_k",
    "class_precision",
    "collect_classes",
    "collect_curves",
    "collect_draws",
    "collect_neighbours",
    "collect_queries",
    "collect_unseen",
    "pooled_precision_recall",
    "query_values",
    "teacher_quality",
    "unseen_precision",
]

DRAWS = (1, 2)  # of queries, beside the protocol's
DEPTHS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
Codes = NDArray[np.uint8]  # shape (n, n_bits), values 0 and 1


def at_k(query_codes: Codes, database_codes: Codes, features: FeatureSet) -> pd.DataFrame:
    """Measure precision, recall and hit_rate at every k of `DEPTHS`, expected over all orders of ties, in [0, 1]."""
    counts = count_pairs(query_codes, database_codes, features.relevant, junk=features.junk)
    metrics = {"precision": precision_at_k, "recall": recall_at_k, "hit_rate": hit_rate_at_k}
    depths = [k for k in DEPTHS if k <= len(database_codes)]
    return pd.DataFrame([{"k": k, **{name: of(counts, k=k) for name, of in metrics.items()}} for k in depths])


def collect_curves(specs: Iterable[RunSpec], runs: str | os.PathLike[str] | None = None) -> pd.DataFrame:
    """Collect `at_k` of all runs that made codes, see `study.runs.collect_measures`: a row a run and k."""
    kept = [spec for spec in specs if spec.method != COSINE]
    if not kept:
        raise ValueError("specs: expected runs that made codes, got none")
    load = functools.lru_cache(maxsize=1)(load_features)  # one at a time: runs come set by set
    table = collect_measures(kept, lambda spec, query, database: at_k(query, database, load(spec.data)), runs)
    return table.drop(columns="top_k")  # it has no part in these figures


def query_values(
    query_codes: Codes, database_codes: Codes, relevant: Relevant, features: FeatureSet
) -> pd.DataFrame:
    """Measure each query by the set's protocol.

    Returns
    -------
    DataFrame
        ap: expected average precision in [0, 1], float32; NaN for a query that the protocol skips. overlap: what a
        query adds to `sdclib.metrics.intersection` times the number of queries, so that the mean is the intersection.
    """
    counts = count_pairs(query_codes, database_codes, relevant, junk=features.junk)
    protocol: Any = {"top_k": features.top_k, "denominator": features.denominator, "empty": features.empty}
    ap = mean_average_precision(counts, per_query=True, **protocol)
    negative = counts.all - counts.relevant
    shares = [len(kind) * kind / kind.sum() for kind in (counts.relevant, negative)]
    # Bins in which positive pairs are the smaller share.
    rarer = shares[0].sum(axis=0) < shares[1].sum(axis=0)
    overlap = np.where(rarer, *shares).sum(axis=1)
    return pd.DataFrame({"ap": ap, "overlap": overlap}, dtype=np.float32)


def collect_queries(specs: Iterable[RunSpec], runs: str | os.PathLike[str] | None = None) -> pd.DataFrame:
    """Collect `query_values` of all runs that made codes: a row a run and query.

    Returns
    -------
    DataFrame
        id, data, method, n_bits, seed, parameters; query (row of the queries), label (-1 where a query has several),
        ap, overlap.
    """

    def rows(query: Codes, database: Codes, features: FeatureSet) -> pd.DataFrame:
        labels = features.query_labels if features.query_labels.ndim == 1 else -1
        values = query_values(query, database, features.relevant, features)
        return values.assign(query=np.arange(len(query), dtype=np.int32), label=labels)

    return _of_queries(specs, rows, runs)


def collect_draws(specs: Iterable[RunSpec], runs: str | os.PathLike[str] | None = None) -> pd.DataFrame:
    """Collect what `collect_queries` does for other draws of queries, see `sdclib.data.variants.drawn_rows`.

    Training rows stay, so the codes are those of the run. There is a column `draw` more; `query` counts the set's
    queries and then its database.
    """

    def rows(query: Codes, database: Codes, features: FeatureSet) -> pd.DataFrame:
        codes = np.concatenate([query, database])
        labels = np.concatenate([features.query_labels, features.database_labels])
        tables = []
        for draw in DRAWS:
            asked, others = drawn_rows(features, draw)
            values = query_values(codes[asked], codes[others], (labels[asked], labels[others]), features)
            tables.append(values.assign(draw=draw, query=asked.astype(np.int32), label=labels[asked]))
        return pd.concat(tables)

    return _of_queries(specs, rows, runs)


def _of_queries(
    specs: Iterable[RunSpec],
    rows: Callable[[Codes, Codes, FeatureSet], pd.DataFrame],
    runs: str | os.PathLike[str] | None,
) -> pd.DataFrame:
    """Collect rows of queries, with what their runs are as categories."""
    kept = [spec for spec in specs if spec.method != COSINE]
    load = functools.lru_cache(maxsize=1)(load_features)  # one at a time: runs come set by set
    table = collect_measures(kept, lambda spec, query, database: rows(query, database, load(spec.data)), runs)
    values = [name for name in ("draw", "query", "label", "ap", "overlap") if name in table]
    names = ["id", "data", "method", "n_bits", "seed", "parameters"]
    text = {name: "category" for name in ("id", "data", "method", "parameters")}
    return table[[*names, *values]].astype(text | {"n_bits": "int32", "seed": "int32", "label": "int32"})


def pooled_precision_recall(histogram: pd.DataFrame) -> pd.DataFrame:
    """Precision and recall of all pairs within each Hamming radius, pooled over queries.

    Parameters
    ----------
    histogram : DataFrame
        similarity, positive, negative: counts of query-database pairs, as in the histograms beside a table of runs.

    Returns
    -------
    DataFrame
        similarity (the least within the radius), precision, recall; from the smallest radius that holds a pair on.
    """
    ordered = histogram.sort_values("similarity", ascending=False)
    positive, negative = ordered["positive"].cumsum(), ordered["negative"].cumsum()
    if not positive.iloc[-1] > 0:
        raise ValueError("histogram: expected positive pairs, got none")
    shares = {"precision": positive / (positive + negative), "recall": positive / positive.iloc[-1]}
    table = ordered[["similarity"]].assign(**shares)
    return table[positive + negative > 0].reset_index(drop=True)


def class_precision(query_codes: Codes, database_codes: Codes, features: FeatureSet) -> pd.DataFrame:
    """Measure expected mAP@R of the queries of each class, by the set's protocol.

    Parameters
    ----------
    query_codes, database_codes : ndarray
    features : FeatureSet
        With one label an image and training rows in the database.

    Returns
    -------
    DataFrame
        One row a class that has queries: class (id), n_train (its training rows), n_query, map_expected (in [0, 1]).
    """
    sizes = class_sizes(features)
    values = _precision(query_codes, database_codes, features.relevant, features)
    table = pd.DataFrame({"class": features.query_labels, "map_expected": values})
    table = table.groupby("class")["map_expected"].agg(n_query="size", map_expected="mean").reset_index()
    table.insert(1, "n_train", [sizes.get(label, 0) for label in table["class"]])
    return table


def unseen_precision(
    query_codes: Codes, database_codes: Codes, features: FeatureSet, trained: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Measure expected mAP@R of the queries of each class on a database without the rows `trained`.

    Training rows lie in the database, so a longer tail leaves fewer of its images seen in training. On what is left
    after the training rows of the whole set are taken out, all long tails of it are ranked on the same images, unseen.

    Returns
    -------
    ndarray, shape (n_classes,)
        In the order of `class_precision`, in [0, 1].
    """
    values = _unseen(query_codes, database_codes, features, trained)
    return np.asarray(pd.Series(values).groupby(features.query_labels).mean(), dtype=np.float64)


def _unseen(
    query_codes: Codes, database_codes: Codes, features: FeatureSet, trained: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Measure each query on a database without the rows `trained`."""
    kept = np.setdiff1d(np.arange(len(database_codes)), trained)
    if len(kept) < features.top_k:
        raise ValueError(
            f"trained: expected at least R = {features.top_k} other rows in the database, found {len(kept)}"
        )
    relevant = features.query_labels, features.database_labels[kept]
    return _precision(query_codes, database_codes[kept], relevant, features)


def _precision(
    query_codes: Codes, database_codes: Codes, relevant: Relevant, features: FeatureSet
) -> NDArray[np.float64]:
    """Measure expected average precision of each query, by the set's protocol."""
    protocol: dict[str, Any] = {"top_k": features.top_k, "denominator": features.denominator}
    return np.asarray(
        mean_average_precision(query_codes, database_codes, relevant, per_query=True, **protocol)
    )


def collect_classes(specs: Iterable[RunSpec], runs: str | os.PathLike[str] | None = None) -> pd.DataFrame:
    """Collect precision by class of all runs on long-tailed sets that made codes: a row a run and class.

    See `study.runs.collect_measures`; with the columns of `class_precision` and map_unseen (see `unseen_precision`;
    without the training rows of ratio 1).
    """
    kept = [spec for spec in specs if spec.method != COSINE and parse_longtail(spec.data)]
    if not kept:
        raise ValueError("specs: expected runs on long-tailed sets such as NAME+longtail-50, got none")

    @functools.lru_cache(maxsize=1)  # one at a time: runs come set by set
    def load(data: str) -> tuple[FeatureSet, NDArray[np.int64]]:
        parts = parse_longtail(data)
        assert parts is not None
        return load_features(data), load_features(parts[0]).train_index

    def measure(spec: RunSpec, query: Codes, database: Codes) -> pd.DataFrame:
        features, trained = load(spec.data)
        by_class = class_precision(query, database, features)
        return by_class.assign(map_unseen=unseen_precision(query, database, features, trained))

    return collect_measures(kept, measure, runs)


def collect_unseen(specs: Iterable[RunSpec], runs: str | os.PathLike[str] | None = None) -> pd.DataFrame:
    """Collect expected mAP@R where training rows are left out of the database, of all runs that made codes.

    See `study.runs.collect_measures`; a row a run, with map_unseen; none for sets with fewer than R other rows.
    """
    load = functools.lru_cache(maxsize=1)(load_features)  # one at a time: runs come set by set

    def has_others(features: FeatureSet) -> bool:
        return len(features.database) - len(features.train_index) >= features.top_k

    def measure(spec: RunSpec, query: Codes, database: Codes) -> pd.DataFrame:
        features = load(spec.data)
        return pd.DataFrame({"map_unseen": [_unseen(query, database, features, features.train_index).mean()]})

    kept = [spec for spec in specs if spec.method != COSINE and has_others(load(spec.data))]
    if not kept:
        raise ValueError("specs: expected runs on sets with rows that are not for training, got none")
    return collect_measures(kept, measure, runs)


def collect_neighbours(specs: Iterable[RunSpec], runs: str | os.PathLike[str] | None = None) -> pd.DataFrame:
    """Collect recall of float neighbours by Hamming distance, of all runs that made codes.

    See `study.runs.collect_measures`; a row a run, with recall_10 (of the ten nearest by float cosine, in [0, 1]) and
    rescored_10, where float vectors order the first 100 candidates. Labels play no part.
    """
    k, depth = 10, 100

    @functools.lru_cache(maxsize=1)  # one at a time: runs come set by set
    def load(data: str) -> tuple[FeatureSet, NDArray[np.float64]]:
        features = load_features(data)
        nearest = nearest_neighbours(features.query, features.database, k)
        return features, neighbour_cosines(features.query, features.database, nearest)

    def measure(spec: RunSpec, query: Codes, database: Codes) -> pd.DataFrame:
        features, truth = load(spec.data)
        found = HammingIndex(database).search(query, min(depth, len(database)))[1]
        shares = recalls(found, truth, features.query, features.database, ks=[k], depths=[depth])
        return pd.DataFrame({"recall_10": [shares[k, 0].mean()], "rescored_10": [shares[k, depth].mean()]})

    return collect_measures([spec for spec in specs if spec.method != COSINE], measure, runs)


def teacher_quality(
    features: FeatureSet,
    n_neighbors: Sequence[int] = (5, 10, 20, 40),
    n_steps: Sequence[int] = (0, 1, 2, 4, 8),
    *,
    n_asked: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Rank training rows by the teacher's cosine to other training rows; no query and no other database row is seen.

    Parameters
    ----------
    features : FeatureSet
        With labels of its training rows.
    n_neighbors, n_steps : sequence of int
        See `sdclib.methods.neighbours.smooth_over_neighbours`.
    n_asked : int
        Training rows, drawn by `seed`, that are ranked against the others, at most half of them.
    seed : int

    Returns
    -------
    DataFrame
        n_neighbors, n_steps, map (in [0, 1], at the set's R in proportion to the training rows), top_k.
    """
    labels = features.database_labels[features.train_index]
    if not len(labels) or labels.shape[1:] == (0,):
        raise ValueError(f"features: expected labels of the training rows of {features.name}, found none")
    order = np.random.default_rng(seed).permutation(len(labels))
    asked, others = np.split(order, [min(n_asked, len(order) // 2)])
    top_k = max(1, round(features.top_k * len(others) / len(features.database)))
    centred = features.train - features.train.mean(axis=0)
    rows = []
    for n in n_neighbors:
        for steps in n_steps:
            teacher = smooth_over_neighbours(centred, n, steps)
            value = cosine_mean_average_precision(
                teacher[asked],
                teacher[others],
                (labels[asked], labels[others]),
                top_k=top_k,
                denominator=features.denominator,
            )
            rows.append({"n_neighbors": n, "n_steps": steps, "map": value, "top_k": top_k})
    return pd.DataFrame(rows)
