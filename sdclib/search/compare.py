"""Ways to store vectors in few bytes, side by side: hash codes, and the quantizers int8, PQ, OPQ and RaBitQ."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sdclib.checks import check_name
from sdclib.codes import unpack_codes
from sdclib.data.embeddings import nearest_neighbours
from sdclib.methods import METHOD_LABELS, BaseHasher, make_hasher
from sdclib.metrics import (
    cosine_mean_average_precision,
    mean_average_precision,
    score_mean_average_precision,
)
from sdclib.metrics.relevance import Relevant
from sdclib.progress import tqdm
from sdclib.search.defaults import QUANTIZERS
from sdclib.search.encoding import encode
from sdclib.search.index import HammingIndex
from sdclib.search.recall import neighbour_cosines, recalls

__all__ = [
    "FLOAT",
    "choice_label",
    "compare",
    "decisions",
    "is_possible",
    "label_of",
    "make_quantizer",
    "quantizer_factory",
]

FLOAT = "cosine"  # the float vectors themselves
AT_MOST_DIMENSIONS = ("sign", "rotation", "pcah", "itq", "neighbour-itq")
RABITQ_BYTES = 8  # of two factors beside the bits
SCORES = ["method", "n_bits", "n_bytes", "query", "goal", "k", "depth", "value", "error"]
TIMES = ["fit_seconds", "encode_us", "search_us", "float_search_us", "rescore_us"]


def label_of(method: str) -> str:
    """Name of a method or quantizer for tables and figures."""
    return QUANTIZERS.get(method) or METHOD_LABELS.get(method, method)


def choice_label(method: str, query: str) -> str:
    """Name of a method and a kind of query, "codes" or "float"; quantizers are always asked by floats."""
    floats = query == "float" and method not in (FLOAT, *QUANTIZERS)
    return label_of(method) + (", float query" if floats else "")


def quantizer_factory(name: str, n_features: int, n_bytes: int) -> str:
    """Describe the index of `make_quantizer` for `faiss.index_factory`."""
    padded = -(-n_features // n_bytes) * n_bytes
    rotated = min(8, max(1, n_features // n_bytes)) * n_bytes
    factories = {
        "int8": "SQ8",
        "pq": ("" if padded == n_features else f"Pad{padded},") + f"PQ{n_bytes}x8np",
        "opq": f"OPQ{n_bytes}_{rotated},PQ{n_bytes}x8np",
        "rabitq": f"PCAR{8 * (n_bytes - RABITQ_BYTES)},RaBitQ",
    }
    return factories[check_name(name, "methods", QUANTIZERS)]


def make_quantizer(name: str, n_features: int, n_bytes: int) -> Any:
    """Make an untrained faiss index of unit vectors, by squared Euclidean distance, in so many bytes each.

    ``"int8"`` has one byte a value, whatever `n_bytes` says. ``"pq"`` and ``"opq"`` have 256 centroids for each byte;
    OPQ first rotates to at most eight dimensions a byte. ``"rabitq"`` keeps the signs of the principal components,
    randomly rotated, in all bytes but eight, which it needs to estimate distances.

    References
    ----------
    H. Jegou, M. Douze and C. Schmid, "Product quantization for nearest neighbor search", TPAMI 2011; T. Ge, K. He,
    Q. Ke and J. Sun, "Optimized product quantization", CVPR 2013; J. Gao and C. Long, "RaBitQ", SIGMOD 2024.
    """
    import faiss

    index: Any = faiss.index_factory(n_features, quantizer_factory(name, n_features, n_bytes))
    part: Any = faiss.downcast_index(index.index) if hasattr(index, "chain") else index
    if hasattr(part, "pq"):
        part.pq.cp.min_points_per_centroid = 1  # fewer rows are the caller's choice; faiss would warn of each
    return index


def is_possible(method: str, n_bits: int, train: NDArray[np.float32]) -> bool:
    """Whether a method can store vectors in so many bits: some have at most as many as there are dimensions."""
    least = min(train.shape)
    if method == "int8":
        return True
    if method == "rabitq":
        return n_bits % 8 == 0 and 0 < n_bits - 8 * RABITQ_BYTES <= least
    if method in QUANTIZERS:
        return n_bits % 8 == 0 and n_bits // 8 <= train.shape[1] and len(train) >= 256
    return method not in AT_MOST_DIMENSIONS or n_bits <= least


def compare(
    train: NDArray[np.float32],
    query: NDArray[np.float32],
    database: NDArray[np.float32],
    *,
    methods: Sequence[str],
    n_bits: Sequence[int],
    ks: Sequence[int] = (10,),
    depths: Sequence[int] = (100,),
    relevant: Relevant | None = None,
    top_k: int | None = None,
    denominator: str = "relevant",
    seed: int = 0,
    parameters: Mapping[str, Mapping[str, Any]] | None = None,
    each: Callable[[str, int | None, NDArray[Any], NDArray[Any], NDArray[np.int64]], None] | None = None,
    progress: bool = False,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Store a database by each method in so many bits, search it, and measure both goals.

    Parameters
    ----------
    train, query, database : ndarray, shapes (n, d), float32
        No row all zeros. Quantizers see unit vectors.
    methods : sequence of str
        Of `sdclib.methods.METHODS` and the quantizers of `make_quantizer`. Float vectors come first in any case.
    n_bits : sequence of int
        Lengths that a method cannot have are left out, see `is_possible`; ``"int8"`` has its own.
    ks, depths : sequence of int
        Float neighbours to be found, and candidates that are re-scored with float vectors; at most n_database.
    relevant, top_k, denominator : optional
        As in `sdclib.metrics.mean_average_precision`; without `relevant` neighbours are the only goal.
    seed : int
        Of the methods; quantizers get the training rows in an order of their own for each.
    parameters : mapping, optional
        By method, beside its defaults.
    each : callable, optional
        ``each(method, n_bits, query, database, neighbours)`` is called with the float vectors, and with the packed
        codes of each hash method; neighbours are rows of the database, shape (n_query, max(ks)).
    progress : bool
        Show a bar of fits.

    Returns
    -------
    scores : DataFrame
        method, n_bits, n_bytes (a vector); query: ``"codes"`` or ``"float"`` (its continuous codes, or itself
        as it is for quantizers); goal; value in [0, 1] and error, its standard error over queries. Of the goal
        ``"neighbours"`` the value is recall@k with `depth` candidates re-scored, 0 for none, see `recalls`; of
        ``"classes"`` it is expected mAP@k.
    costs : DataFrame
        method, n_bits, n_bytes, fit_seconds, encode_us (a vector), search_us and float_search_us (a query, all sent at
        once), rescore_us (a query, for the largest depth).
    """
    fits = [
        (method, bits)
        for method in methods
        for bits in (n_bits if method != "int8" else (8 * database.shape[1],))
        if is_possible(method, bits, train)
    ]
    most = max(*ks, *depths)
    protocol: Any = {"top_k": top_k, "denominator": denominator, "per_query": True}
    scores: list[tuple[Any, ...]] = []
    costs: list[dict[str, Any]] = []

    def add(method: str, bits: int | None, n_bytes: int, times: dict[str, float], ways: _Ways) -> None:
        costs.append({"method": method, "n_bits": bits, "n_bytes": n_bytes, **times})
        for kind, (found, precision) in ways.items():
            values: dict[tuple[str, int, int], NDArray[np.float64]] = {}
            if found is not None:
                near = recalls(found, truth, query, database, ks=ks, depths=depths)
                values |= {("neighbours", *place): share for place, share in near.items()}
            if relevant is not None:
                values["classes", top_k or len(database), 0] = np.asarray(precision(relevant, **protocol))
            for (goal, k, depth), share in values.items():
                figures = share.mean(), pd.Series(share).sem()
                scores.append((method, bits, n_bytes, kind, goal, k, depth, *figures))

    times: dict[str, float] = {}
    with _timed(times, "search_us", len(query)):
        exact = nearest_neighbours(query, database, max(ks))
    truth = neighbour_cosines(query, database, exact)
    by_cosine = partial(cosine_mean_average_precision, query, database)
    add(FLOAT, None, 4 * database.shape[1], times, {"float": (None, by_cosine)})
    if each is not None:
        each(FLOAT, None, query, database, exact)
    for method, bits in (bar := tqdm(fits, unit="fit", disable=not progress)):
        bar.set_description(f"{label_of(method)}, {bits} bits")
        times = {}
        if method in QUANTIZERS:
            ways = _search_quantized(method, bits, train, query, database, most, seed, times)
        else:
            hasher = make_hasher(method, bits, seed=seed, **(parameters or {}).get(method, {}))
            with _timed(times, "fit_seconds"):
                hasher.fit(train)
            codes, ways = _search_codes(hasher, query, database, most, max(depths), times)
            if each is not None:
                each(method, bits, *codes, exact)
        add(method, bits, -(-bits // 8), times, ways)
    tables = pd.DataFrame(scores, columns=SCORES), pd.DataFrame(costs, columns=[*SCORES[:3], *TIMES])
    return tables[0].astype({"n_bits": "Int64"}), tables[1].astype({"n_bits": "Int64"})


def decisions(scores: pd.DataFrame, costs: pd.DataFrame, *, k: int, depth: int) -> pd.DataFrame:
    """Find the best way to store vectors for each goal and number of bytes, and what it costs.

    Parameters
    ----------
    scores, costs : DataFrame
        As `compare` gives them; several seeds may be stacked.
    k, depth : int
        Neighbours; candidates that are re-scored.

    Returns
    -------
    DataFrame
        goal (``"classes"``, or ``"neighbours"`` twice: by codes alone, and re-scored), depth, n_bytes, method, query,
        value, error (of queries and seeds together), level (other methods within two standard errors, by label), and
        the times of `costs` as means over seeds.
    """
    kept = scores[((scores["goal"] == "classes") | (scores["k"] == k)) & scores["depth"].isin([0, depth])]
    kept = kept[kept["method"] != FLOAT]
    groups = kept.groupby(["goal", "depth", "n_bytes", "method", "n_bits", "query"], sort=False)
    table = groups.agg(
        value=("value", "mean"), by_query=("error", "mean"), by_seed=("value", "sem")
    ).reset_index()
    table["error"] = np.hypot(table.pop("by_query"), table.pop("by_seed").fillna(0))
    rows = []
    for _, group in table.groupby(["goal", "depth", "n_bytes"]):
        best = group.sort_values("value").iloc[-1]
        close = group[group["value"] >= best["value"] - 2 * np.hypot(group["error"], best["error"])]
        others = [label_of(name) for name in close["method"].unique() if name != best["method"]]
        rows.append({**best, "level": ", ".join(others)})
    price = costs.groupby(["method", "n_bytes"])[TIMES].mean().reset_index()
    return pd.DataFrame(rows).merge(price, on=["method", "n_bytes"], how="left")


# By kind of query the items found, and what gives the average precision of a ground truth.
_Ways: TypeAlias = dict[str, tuple[NDArray[np.int64] | None, Callable[..., Any]]]


def _search_codes(
    hasher: BaseHasher,
    query: NDArray[np.float32],
    database: NDArray[np.float32],
    most: int,
    depth: int,
    times: dict[str, float],
) -> tuple[tuple[NDArray[np.uint8], NDArray[np.uint8]], _Ways]:
    """Packed codes of queries and database, and what is found by bits and by continuous codes of the queries."""
    with _timed(times, "encode_us", len(database)):
        database_codes = encode(hasher, database)
    query_codes, continuous = encode(hasher, query), hasher.decision_function(query)
    index = HammingIndex(database_codes, n_bits=hasher.n_bits)
    with _timed(times, "search_us", len(query)):
        _, found = index.search(query_codes, most, packed=True)
    with _timed(times, "rescore_us", len(query)):
        index.rescore(found[:, :depth], query, database)
    index.search_continuous(continuous[:1], 1)  # gets ready
    with _timed(times, "float_search_us", len(query)):
        _, by_floats = index.search_continuous(continuous, most)
    codes = query_codes, database_codes
    signs = 2 * unpack_codes(database_codes, hasher.n_bits).astype(np.float32) - 1
    return codes, {
        "codes": (found, partial(mean_average_precision, *codes, n_bits=hasher.n_bits)),
        "float": (by_floats, partial(cosine_mean_average_precision, continuous, signs)),
    }


def _search_quantized(
    method: str,
    n_bits: int,
    train: NDArray[np.float32],
    query: NDArray[np.float32],
    database: NDArray[np.float32],
    most: int,
    seed: int,
    times: dict[str, float],
) -> _Ways:
    train, query, database = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (train, query, database))
    index = make_quantizer(method, train.shape[1], n_bits // 8)
    with _timed(times, "fit_seconds"):
        index.train(train[np.random.default_rng(seed).permutation(len(train))])
    with _timed(times, "encode_us", len(database)):
        index.add(database)
    with _timed(times, "search_us", len(query)):
        _, found = index.search(query, most)
    return {"float": (found, partial(_precision_of_index, index, query))}


def _precision_of_index(
    index: Any, query: NDArray[np.float32], relevant: Relevant, *, top_k: int | None, **protocol: Any
) -> Any:
    """Average precision of the ranking by a faiss index; ties count as such among twice the items that are ranked."""
    distances, items = index.search(query, min(2 * (top_k or index.ntotal), index.ntotal))
    farther = -distances.max(axis=1, keepdims=True) - 1
    scores = np.repeat(farther, index.ntotal, axis=1)
    np.put_along_axis(scores, items, -distances, axis=1)
    return score_mean_average_precision(scores, relevant, top_k=top_k, **protocol)


@contextmanager
def _timed(times: dict[str, float], name: str, n: int | None = None) -> Iterator[None]:
    """Keep the wall time under this name, in seconds, or in microseconds of each of so many."""
    start = time.perf_counter()
    yield
    seconds = time.perf_counter() - start
    times[name] = seconds if n is None else 1e6 * seconds / n
