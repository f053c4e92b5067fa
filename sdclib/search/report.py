"""What codes would do for vectors of one's own: similarity collapse, recall of neighbours, memory and time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from sdclib.checks import as_array, check_features, check_int, check_name
from sdclib.data.embeddings import nearest_neighbours
from sdclib.methods import METHOD_LABELS, BaseHasher, make_hasher
from sdclib.metrics import (
    PairHistograms,
    cosine_pair_histograms,
    intersection,
    mean_and_std,
    overlap_auc,
    pair_histograms,
)
from sdclib.progress import tqdm
from sdclib.search.defaults import REPORT_BITS, REPORT_METHODS, VECTOR_METHODS
from sdclib.search.encoding import encode
from sdclib.search.index import HammingIndex
from sdclib.search.recall import neighbour_recall

__all__ = [
    "SDC_PARAMETERS",
    "EmbeddingReport",
    "collapse_table",
    "histogram_tables",
    "measure_embeddings",
    "shortest_codes",
]

SDC_PARAMETERS: dict[str, Any] = {"preset": "release", "batch_size": 256, "learning_rate": 4e-4}
AT_MOST_DIMENSIONS = ("sign", "rotation", "pcah", "itq")
LEAST_VECTORS = 100
FLOAT = METHOD_LABELS["cosine"]


@dataclass(frozen=True, eq=False)
class EmbeddingReport:
    """What `measure_embeddings` found.

    Attributes
    ----------
    sizes : dict of str to int
        ``n_vectors`` in the file, ``n_features``, and ``n_query``, ``n_database``, ``n_train`` of the sample.
    k, depth, shown_bits : int
        Neighbours, candidates that are re-scored, code length of the histograms.
    histograms : dict of str to PairHistograms
        Similarities of query-database pairs by label; positive: a query and one of its k nearest.
    recall : DataFrame
        label, n_bits, depth (0: order of the Hamming distance alone), recall in [0, 1].
    float_recall : DataFrame
        The same, where codes are compared with the queries' continuous codes, see `HammingIndex.search_continuous`.
    speed : DataFrame
        label, n_bits (missing for float vectors), bytes_per_vector, fit_seconds, encode_us (a vector), search_us (a
        query, all sent at once), float_search_us (likewise, with continuous codes), rescore_us (a query).
    """

    name: str
    sizes: dict[str, int]
    k: int
    depth: int
    shown_bits: int
    seed: int
    sdc_parameters: dict[str, Any]
    histograms: dict[str, PairHistograms]
    recall: pd.DataFrame
    float_recall: pd.DataFrame
    speed: pd.DataFrame


def measure_embeddings(
    vectors: ArrayLike,
    *,
    name: str = "vectors",
    methods: Sequence[str] = REPORT_METHODS,
    n_bits: Sequence[int] = REPORT_BITS,
    k: int = 10,
    depth: int = 100,
    max_vectors: int = 20_000,
    max_train: int = 5000,
    max_query: int = 500,
    shown_bits: int | None = None,
    epochs: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> EmbeddingReport:
    """Hash a sample of vectors by every method at every code length and see which neighbours are found.

    A random sample is drawn and put in random order; its first rows are queries (at most a fifth), the rest is the
    database, whose first rows are for training. Labels play no part: the truth is the k nearest by float cosine.

    Parameters
    ----------
    vectors : array-like, shape (n, d)
        At least 100; may be a memory map, of which only the sample is read.
    name : str
        How the report and error messages name them.
    methods : sequence of str
        Of `sdclib.methods.METHODS`, ones that need no augmented views.
    n_bits : sequence of int
        Code lengths; those beyond the number of features or of training rows are left out where a method has none.
    k, depth : int
        Neighbours to be found; candidates that are re-scored with float vectors (at most the database).
    max_vectors, max_train, max_query : int
        Limits of the sample.
    shown_bits : int, optional
        Code length of the histograms; by default the middle one.
    epochs : int, optional
        Of SDC's training, by default the preset's.
    seed : int
        Of the sample and of the methods.
    progress : bool
        Show a bar of fits.

    Returns
    -------
    EmbeddingReport

    Raises
    ------
    ValueError
        If an argument is not as described.
    """
    lengths = sorted({check_int(b, "n_bits", minimum=1) for b in n_bits})
    chosen = [check_name(method, "methods", VECTOR_METHODS) for method in methods]
    if not lengths or not chosen:
        raise ValueError(f"n_bits, methods: expected at least one of each, got {n_bits!r} and {methods!r}")
    if shown_bits is not None and shown_bits not in lengths:
        raise ValueError(f"shown_bits: expected one of n_bits {lengths}, got {shown_bits!r}")
    limits = (
        check_int(max_vectors, "max_vectors", minimum=LEAST_VECTORS),
        check_int(max_query, "max_query", minimum=1),
    )
    query, database = _sample(vectors, name, *limits, seed=check_int(seed, "seed", minimum=0))
    train = database[: check_int(max_train, "max_train", minimum=2)]
    fits = [(method, bits) for method in chosen for bits in lengths if _possible(method, bits, train)]
    possible = sorted({bits for _, bits in fits})
    if not possible or (shown_bits is not None and shown_bits not in possible):
        raise ValueError(
            f"n_bits: expected at most min(n_train, n_features) = {min(train.shape)}, as these methods have it, got "
            f"{', '.join(map(str, lengths))}"
        )
    shown = possible[len(possible) // 2] if shown_bits is None else shown_bits
    k = check_int(k, "k", minimum=1)
    if k >= len(database):
        raise ValueError(f"k: expected fewer than the {len(database)} vectors of the database, got {k}")
    depth = min(check_int(depth, "depth", minimum=k), len(database))
    start = time.perf_counter()
    neighbours = nearest_neighbours(query, database, k)
    float_seconds = time.perf_counter() - start
    relevant = list(neighbours)
    histograms = {FLOAT: cosine_pair_histograms(query, database, relevant)}
    sdc_parameters = SDC_PARAMETERS | {"batch_size": min(SDC_PARAMETERS["batch_size"], len(train))}
    if epochs is not None:
        sdc_parameters["epochs"] = epochs
    recall: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
    speed: list[dict[str, Any]] = [
        {
            "label": FLOAT,
            "n_bits": None,
            "bytes_per_vector": 4 * database.shape[1],
            "search_us": 1e6 * float_seconds / len(query),
        }
    ]
    for method, bits in (bar := tqdm(fits, unit="fit", disable=not progress)):
        label = METHOD_LABELS.get(method, method)
        bar.set_description(f"{label}, {bits} bits")
        hasher = make_hasher(method, bits, seed=seed, **(sdc_parameters if method == "sdc" else {}))
        times, codes, found = _run(hasher, train, query, database, depth)
        what = {"label": label, "n_bits": bits}
        speed.append({**what, "bytes_per_vector": codes[1].shape[1], **times})
        for (continuous, limit), items in found.items():
            share = neighbour_recall(items, neighbours, query, database)
            recall[continuous].append({**what, "depth": limit, "recall": share})
        if bits == shown:
            histograms[label] = pair_histograms(*codes, relevant, n_bits=bits)
    columns = ["label", "n_bits", "bytes_per_vector", "fit_seconds", "encode_us"]
    columns += ["search_us", "float_search_us", "rescore_us"]
    shares = ["label", "n_bits", "depth", "recall"]
    return EmbeddingReport(
        name=name,
        sizes={
            "n_vectors": len(np.asanyarray(vectors)),
            "n_features": query.shape[1],
            "n_query": len(query),
            "n_database": len(database),
            "n_train": len(train),
        },
        k=k,
        depth=depth,
        shown_bits=shown,
        seed=seed,
        sdc_parameters=sdc_parameters,
        histograms=histograms,
        recall=pd.DataFrame(recall[False], columns=shares),
        float_recall=pd.DataFrame(recall[True], columns=shares),
        speed=pd.DataFrame(speed, columns=columns).astype({"n_bits": "Int64"}),
    )


def histogram_tables(report: EmbeddingReport) -> dict[str, pd.DataFrame]:
    """Tabulate the histograms by label, as `sdclib.figures.plots.plot_pair_histograms` takes them."""
    return {
        label: pd.DataFrame(
            {"similarity": h.values, "positive": h.positive, "negative": h.negative}  # noqa: PD011
        )
        for label, h in report.histograms.items()
    }


def collapse_table(report: EmbeddingReport) -> pd.DataFrame:
    """Similarities of all pairs, and how far neighbours stand out from the others.

    Returns
    -------
    DataFrame
        Index label; mean and std of the cosine similarity of all pairs, neighbour_mean of those of a query and one of
        its neighbours, intersection of the two kinds' histograms, overlap_auc.
    """
    rows = {}
    for label, histograms in report.histograms.items():
        moments = mean_and_std(histograms)
        rows[label] = {
            "mean": moments.all_mean,
            "std": moments.all_std,
            "neighbour_mean": moments.positive_mean,
            "intersection": intersection(histograms),
            "overlap_auc": overlap_auc(histograms),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")


def shortest_codes(report: EmbeddingReport, target: float = 0.9) -> pd.DataFrame:
    """Find the shortest code of each method that reaches a recall, with and without re-scoring.

    Parameters
    ----------
    report : EmbeddingReport
    target : float
        Recall in [0, 1].

    Returns
    -------
    DataFrame
        Index label; for every depth a column with the code length, missing where no length reaches the target.
    """
    table = report.recall[report.recall["recall"] >= target]
    shortest = table.pivot_table(index="label", columns="depth", values="n_bits", aggfunc="min")
    labels, depths = report.recall["label"].unique(), sorted(report.recall["depth"].unique())
    return shortest.reindex(index=labels, columns=depths).astype("Int64").rename_axis("method")


def _sample(
    vectors: ArrayLike, name: str, max_vectors: int, max_query: int, *, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Draw queries and database at random, in random order."""
    array = as_array(vectors, name)
    if array.ndim != 2 or len(array) < LEAST_VECTORS:
        raise ValueError(f"{name}: expected shape (n, d) with n >= {LEAST_VECTORS}, got {array.shape}")
    order = np.random.default_rng(seed).permutation(len(array))[:max_vectors]
    # In the file's order, so that a whole file's rows keep their numbers in messages, and a disk reads forward.
    sorted_rows, back = np.unique(order, return_inverse=True)
    what = name if len(order) == len(array) else f"{name} (a sample of {len(order)} rows)"
    rows = check_features(array[sorted_rows], what)[back]
    n_query = min(max_query, len(rows) // 5)
    return rows[:n_query], rows[n_query:]


def _possible(method: str, n_bits: int, train: NDArray[np.float32]) -> bool:
    """Whether the method gives codes of this length: some have at most as many bits as there are dimensions."""
    return method not in AT_MOST_DIMENSIONS or n_bits <= min(train.shape)


def _run(
    hasher: BaseHasher,
    train: NDArray[np.float32],
    query: NDArray[np.float32],
    database: NDArray[np.float32],
    depth: int,
) -> tuple[
    dict[str, float], tuple[NDArray[np.uint8], NDArray[np.uint8]], dict[tuple[bool, int], NDArray[np.int64]]
]:
    """Fit, encode, search, re-score: times, packed codes of queries and database, and the items found.

    These by whether the query was continuous codes, and by how many candidates were re-scored.
    """
    marks = [time.perf_counter()]

    def timed(value: Any) -> Any:
        marks.append(time.perf_counter())
        return value

    timed(hasher.fit(train))
    database_codes = timed(encode(hasher, database))
    query_codes = encode(hasher, query)
    index = timed(HammingIndex(database_codes, n_bits=hasher.n_bits))
    _, found = timed(index.search(query_codes, depth, packed=True))
    _, rescored = timed(index.rescore(found, query, database))
    continuous = hasher.decision_function(query)
    index.search_continuous(continuous[:1], 1)  # gets ready
    timed(None)
    _, by_floats = timed(index.search_continuous(continuous, depth))
    fit, encoding, _, search, rescore, _, float_search = map(float, np.diff(marks))
    times = {
        "fit_seconds": fit,
        "encode_us": 1e6 * encoding / len(database),
        "search_us": 1e6 * search / len(query),
        "float_search_us": 1e6 * float_search / len(query),
        "rescore_us": 1e6 * rescore / len(query),
    }
    found_by = {
        (False, 0): found,
        (False, depth): rescored,
        (True, 0): by_floats,
        (True, depth): index.rescore(by_floats, query, database)[1],
    }
    return times, (query_codes, database_codes), found_by
