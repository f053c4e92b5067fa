"""What codes would do for vectors of one's own: similarity collapse, recall of neighbours, memory and time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from sdclib.checks import as_array, check_features, check_int, check_name
from sdclib.data.vectors import encode_labels
from sdclib.metrics import (
    PairHistograms,
    cosine_pair_histograms,
    intersection,
    mean_and_std,
    overlap_auc,
    pair_histograms,
)
from sdclib.search.compare import FLOAT, compare, decisions, is_possible, label_of
from sdclib.search.defaults import QUANTIZERS, REPORT_BITS, REPORT_METHODS, VECTOR_METHODS

__all__ = [
    "SDC_PARAMETERS",
    "EmbeddingReport",
    "collapse_table",
    "measure_embeddings",
    "recommend",
    "shortest_codes",
]

SDC_PARAMETERS: dict[str, Any] = {"preset": "release", "batch_size": 256, "learning_rate": 4e-4}
LEAST_VECTORS = 100


@dataclass(frozen=True, eq=False)
class EmbeddingReport:
    """What `measure_embeddings` found.

    Attributes
    ----------
    sizes : dict of str to int
        ``n_vectors`` in the file, ``n_features``, and ``n_query``, ``n_database``, ``n_train`` of the sample.
    k, depth, shown_bits : int
        Neighbours, candidates that are re-scored, code length of the histograms.
    top_k : int or None
        R of mAP@R; None without labels.
    histograms : dict of str to PairHistograms
        Similarities of query-database pairs by method; positive: a query and one of its k nearest.
    scores, costs : DataFrame
        See `sdclib.search.compare.compare`.
    """

    name: str
    sizes: dict[str, int]
    k: int
    depth: int
    shown_bits: int
    top_k: int | None
    seed: int
    sdc_parameters: dict[str, Any]
    histograms: dict[str, PairHistograms]
    scores: pd.DataFrame
    costs: pd.DataFrame

    @property
    def recall(self) -> pd.DataFrame:
        """Recall@k as method, label, n_bits, depth, query, recall: of codes and of quantizers with float queries."""
        rows = self.scores[self.scores["goal"] == "neighbours"].rename(columns={"value": "recall"})
        rows = rows.assign(label=rows["method"].map(label_of))
        return rows[["method", "label", "n_bits", "depth", "query", "recall"]].reset_index(drop=True)


def measure_embeddings(
    vectors: ArrayLike,
    labels: ArrayLike | None = None,
    *,
    name: str = "vectors",
    methods: Sequence[str] = REPORT_METHODS,
    n_bits: Sequence[int] = REPORT_BITS,
    k: int = 10,
    depth: int = 100,
    top_k: int = 1000,
    max_vectors: int = 20_000,
    max_train: int = 5000,
    max_query: int = 500,
    shown_bits: int | None = None,
    epochs: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> EmbeddingReport:
    """Store a sample of vectors by every method in every length and see what queries find.

    A random sample is drawn and put in random order; its first rows are queries (at most a fifth), the rest is the
    database, whose first rows are for training. Two goals are measured: the k nearest by float cosine and, where there
    are labels, items that share a label. No method learns from labels. ValueError if an argument is not as described.

    Parameters
    ----------
    vectors : array-like, shape (n, d)
        At least 100; may be a memory map, of which only the sample is read.
    labels : array-like, shape (n,) or (n, n_labels), optional
        Whole numbers, names, or 0/1 vectors.
    name : str
        How the report and error messages name the vectors.
    methods, n_bits : sequence of str and of int
        Methods that learn from vectors alone, and ``"int8"``, ``"pq"``, ``"opq"``, ``"rabitq"``; code lengths, of which
        those that a method cannot have are left out for it, see `sdclib.search.compare.is_possible`.
    k, depth, top_k : int
        Neighbours to be found; candidates that are re-scored with float vectors; R of mAP@R. The last two are at most
        the database.
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
    """
    lengths = sorted({check_int(b, "n_bits", minimum=1) for b in n_bits})
    chosen = [check_name(method, "methods", [*VECTOR_METHODS, *QUANTIZERS]) for method in methods]
    if not lengths or not chosen:
        raise ValueError(f"n_bits, methods: expected at least one of each, got {n_bits!r} and {methods!r}")
    most = check_int(max_vectors, "max_vectors", minimum=LEAST_VECTORS)
    array = as_array(vectors, name)
    if array.ndim != 2 or len(array) < LEAST_VECTORS:
        raise ValueError(f"{name}: expected shape (n, d) with n >= {LEAST_VECTORS}, got {array.shape}")
    order = np.random.default_rng(check_int(seed, "seed", minimum=0)).permutation(len(array))[:most]
    rows = _take(array, order, name)
    n_query = min(check_int(max_query, "max_query", minimum=1), len(rows) // 5)
    query, database = rows[:n_query], rows[n_query:]
    train = database[: check_int(max_train, "max_train", minimum=2)]
    k = check_int(k, "k", minimum=1, maximum=len(database) - 1, of="other vectors of the database")
    depth = min(check_int(depth, "depth", minimum=k), len(database))
    top_k = min(check_int(top_k, "top_k", minimum=1), len(database))
    relevant = None
    if labels is not None:
        sample = encode_labels(labels, "labels", n=len(array))[order]
        relevant = sample[:n_query], sample[n_query:]
    possible = [bits for bits in lengths if any(is_possible(method, bits, train) for method in chosen)]
    if not possible:
        raise ValueError(
            f"n_bits: expected at most min(n_train, n_features) = {min(train.shape)}, as these methods have it, got "
            f"{', '.join(map(str, lengths))}"
        )
    shown = possible[len(possible) // 2] if shown_bits is None else shown_bits
    if shown not in possible:
        raise ValueError(f"shown_bits: expected one of the lengths {possible}, got {shown!r}")
    histograms: dict[str, PairHistograms] = {}

    def keep(
        method: str, bits: int | None, asked: NDArray[Any], stored: NDArray[Any], near: NDArray[np.int64]
    ) -> None:
        if method == FLOAT:
            histograms[method] = cosine_pair_histograms(asked, stored, list(near))
        elif bits == shown:
            histograms[method] = pair_histograms(asked, stored, list(near), n_bits=bits)

    sdc_parameters = SDC_PARAMETERS | {"batch_size": min(SDC_PARAMETERS["batch_size"], len(train))}
    if epochs is not None:
        sdc_parameters["epochs"] = epochs
    parameters = {
        "sign": {"center": True},
        "sdc": sdc_parameters,
        "neighbour-sdc": {"batch_size": sdc_parameters["batch_size"]},
    }
    goals: Any = {
        "ks": (k,),
        "depths": (depth,),
        "relevant": relevant,
        "top_k": top_k,
        "denominator": "retrieved",
    }
    ways: Any = {"methods": chosen, "n_bits": lengths, "parameters": parameters, "seed": seed}
    scores, costs = compare(train, query, database, each=keep, progress=progress, **goals, **ways)
    sizes = {"n_query": len(query), "n_database": len(database), "n_train": len(train)}
    return EmbeddingReport(
        name=name,
        sizes={"n_vectors": len(array), "n_features": query.shape[1], **sizes},
        k=k,
        depth=depth,
        shown_bits=shown,
        top_k=None if relevant is None else top_k,
        seed=seed,
        sdc_parameters=sdc_parameters,
        histograms=histograms,
        scores=scores,
        costs=costs,
    )


def recommend(report: EmbeddingReport, target: float = 0.9) -> pd.DataFrame:
    """Choose a method and a length for each goal: rows of `sdclib.search.compare.decisions`, at most one a goal.

    For neighbours, the shortest codes that reach a recall of `target` with re-scoring; of codes of one length the best
    are chosen. For classes, the shortest whose mAP is within two standard errors of the best.
    """
    table = decisions(report.scores, report.costs, k=report.k, depth=report.depth)
    chosen = []
    for goal, least in (("classes", None), ("neighbours", target)):
        rows = table[(table["goal"] == goal) & (table["depth"] == (report.depth if least else 0))]
        if len(rows):
            rows = rows.sort_values("value")
            enough = rows[rows["value"] >= (least or (rows["value"] - 2 * rows["error"]).iloc[-1])]
            chosen.append(enough.sort_values("n_bytes").head(1) if len(enough) else rows.tail(1))
    return pd.concat(chosen, ignore_index=True)


def collapse_table(report: EmbeddingReport) -> pd.DataFrame:
    """Similarities of all pairs, and how far neighbours stand out from the others.

    By label: mean and std of the cosine similarity of all pairs, neighbour_mean of those of a query and one of its
    neighbours, intersection of the two kinds' histograms, overlap_auc.
    """
    rows = {}
    for method, histograms in report.histograms.items():
        moments = mean_and_std(histograms)
        rows[label_of(method)] = {
            "mean": moments.all_mean,
            "std": moments.all_std,
            "neighbour_mean": moments.positive_mean,
            "intersection": intersection(histograms),
            "overlap_auc": overlap_auc(histograms),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")


def shortest_codes(report: EmbeddingReport, target: float = 0.9) -> pd.DataFrame:
    """Find the shortest code of each method that reaches a recall of `target`, with and without re-scoring.

    By label, for every depth a column with the code length, missing where no length reaches the target. Hash codes
    without float queries.
    """
    recall = report.recall[report.recall["query"] == "codes"]
    table = recall[recall["recall"] >= target]
    shortest = table.pivot_table(index="label", columns="depth", values="n_bits", aggfunc="min")
    labels, depths = recall["label"].unique(), sorted(recall["depth"].unique())
    return shortest.reindex(index=labels, columns=depths).astype("Int64").rename_axis("method")


def _take(array: NDArray[Any], order: NDArray[np.int64], name: str) -> NDArray[np.float32]:
    """Read rows in the file's order, so that a whole file's rows keep their numbers in messages."""
    sorted_rows, back = np.unique(order, return_inverse=True)
    what = name if len(order) == len(array) else f"{name} (a sample of {len(order)} rows)"
    return check_features(array[sorted_rows], what)[back]
