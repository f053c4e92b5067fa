"""Search at scale: `SDC_DATA=... python -m benchmarks.bench_search [--out FILE] [--quick]`, less than ten minutes.

Codes of real features (and of a synthetic enlargement to a million) are searched by faiss's flat, IVF and HNSW binary
indexes, with and without float re-scoring, and compared with the exact search of the float features. One thread; a time
is that of one query alone, the median of repeats, mean over queries. Writes results/bench_search.json, which
notebooks/search_at_scale.ipynb shows, or another file by its parameter `benchmark`.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import REPEATS, arguments_of, load_average, ms_a_query, publish, seconds_of, threads
from sdclib import load_features, make_hasher
from sdclib.data.features import FeatureSet
from sdclib.methods import METHOD_LABELS, BaseHasher
from sdclib.metrics import cosine_mean_average_precision, mean_average_precision
from sdclib.search.encoding import encode
from sdclib.search.index import HammingIndex
from sdclib.search.recall import hamming_recall, neighbour_recall
from sdclib.search.report import SDC_PARAMETERS

RANKS = (10, 100)  # the k of recall@k
BLOCK = 20_000  # rows of the enlargement that are made at a time


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    data: str = "cifar10/efficientnet-lite0"
    n_query: int = 1000
    n_timed: int = 50  # queries that are timed one by one
    n_timed_float: int = 10
    n_bits: tuple[int, ...] = (64, 128)
    candidates: tuple[int, ...] = (50, 100, 500)
    n_probe: tuple[int, ...] = (1, 4, 16, 64)
    ef_search: tuple[int, ...] = (64, 256, 1024)
    n_neighbors: int = 16  # links of an HNSW node
    epochs: int = 100  # of SDC
    enlarged: int = 1_000_000
    noise: float = 0.5
    n_query_enlarged: int = 500
    n_lists: int = 512  # clusters of the enlargement's IVF; the real set has the library's default
    hnsw_enlarged: tuple[str, int] = ("sdc", 64)  # one only: building a graph of a million takes a minute
    seed: int = 0


QUICK = Plan(
    data="cifar10-embedded",
    n_query=60,
    n_query_enlarged=40,
    n_timed=5,
    n_timed_float=5,
    n_bits=(64,),
    n_probe=(1, 16),
    ef_search=(64,),
    epochs=1,
    enlarged=12_000,
)


def fit_hashers(plan: Plan, train: NDArray[np.float32]) -> tuple[list[BaseHasher], list[dict[str, Any]]]:
    """SDC and ITQ at every code length, and what their fits took."""
    settings: dict[str, dict[str, Any]] = {
        "sdc": {**SDC_PARAMETERS, "epochs": plan.epochs},
        "itq": {},
    }
    hashers, rows = [], []
    for method, parameters in settings.items():
        for n_bits in plan.n_bits:
            hasher = make_hasher(method, n_bits, seed=plan.seed, **parameters)
            seconds = seconds_of(lambda h=hasher: h.fit(train))
            hashers.append(hasher)
            rows.append({**described(hasher), "parameters": parameters, "fit_seconds": seconds})
    return hashers, rows


def described(hasher: BaseHasher) -> dict[str, Any]:
    label = METHOD_LABELS[hasher.method]
    return {"label": f"{label} (release)" if hasher.method == "sdc" else label, "n_bits": hasher.n_bits}


def enlargement(database: NDArray[np.float32], plan: Plan, n: int) -> Iterator[NDArray[np.float32]]:
    """Blocks of n rows: a real row plus `noise` times the difference of two others over sqrt(2).

    So the noise has `noise` squared times the covariance of the features. Where no feature is below 0, no row is.
    """
    rng = np.random.default_rng(plan.seed)
    least = min(float(database.min()), 0.0)
    for start in range(0, n, BLOCK):
        own, plus, minus = rng.integers(0, len(database), (3, min(BLOCK, n - start)))
        rows = database[plus] - database[minus]
        rows *= np.float32(plan.noise / np.sqrt(2))
        rows += database[own]
        yield np.maximum(rows, least, out=rows)


def float_index(blocks: Iterator[NDArray[np.float32]], n: int, d: int) -> tuple[Any, NDArray[np.float32]]:
    """IndexFlatIP of n normalised rows, and its rows as an array without a copy."""
    index = faiss.IndexFlatIP(d)
    index.add(np.zeros((n, d), dtype=np.float32))  # pages that are not there: the index alone takes memory
    rows = faiss.rev_swig_ptr(index.get_xb(), n * d).reshape(n, d)
    start = 0
    for block in blocks:
        np.divide(block, np.linalg.norm(block, axis=1, keepdims=True), out=rows[start : start + len(block)])
        start += len(block)
    if start != n:
        raise AssertionError(f"expected {n} rows, got {start}")
    return index, rows


def index_bytes(index: HammingIndex) -> int:
    with tempfile.TemporaryDirectory() as folder:
        return index.save(Path(folder) / "codes.index").stat().st_size


def variants(
    plan: Plan, packed: NDArray[np.uint8], n_bits: int, n_lists: int | None, hnsw: bool
) -> Iterator[tuple[Any, ...]]:
    """Yield each index with its kind, setting, build time and bytes; IVF and HNSW are built once for all settings."""
    settings = {"flat": (None,), "ivf": plan.n_probe, "hnsw": plan.ef_search if hnsw else ()}
    for kind, values in settings.items():
        if not values:
            continue
        more: dict[str, Any] = {"n_lists": n_lists} if kind == "ivf" else {}
        start = time.perf_counter()
        index = HammingIndex(packed, n_bits=n_bits, kind=kind, n_neighbors=plan.n_neighbors, **more)
        seconds = time.perf_counter() - start
        size = index_bytes(index)
        for value in values:
            if kind == "ivf":
                index.n_probe = value
            if kind == "hnsw":
                index.ef_search = value
            yield index, kind, value, seconds, size


def bench_codes(
    plan: Plan,
    query: NDArray[np.float32],
    database: NDArray[np.float32],
    codes: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    neighbours: NDArray[np.int64],
    n_bits: int,
    n_lists: int | None,
    hnsw: bool,
) -> list[dict[str, Any]]:
    """Search the codes of one method by every index, setting and number of candidates.

    Recall is that of float neighbours, in the order of the Hamming distance and re-scored, and of exact Hamming search;
    missing where there are fewer candidates than neighbours.
    """
    query_codes, packed = codes
    rows: list[dict[str, Any]] = []
    exact = np.empty(0)
    for index, kind, setting, seconds, size in variants(plan, packed, n_bits, n_lists, hnsw):
        for candidates in sorted(plan.candidates, reverse=True):
            distances, found = index.search(query_codes, candidates, packed=True)
            if kind == "flat" and candidates == max(plan.candidates):
                exact = distances
            _, rescored = index.rescore(found, query, database)
            row: dict[str, Any] = {
                "index": kind,
                "setting": setting,
                "candidates": candidates,
                "build_seconds": seconds,
                "index_bytes": size,
                "search_ms": ms_a_query(
                    lambda i, k=candidates, ix=index: ix.search(query_codes[i], k, packed=True), plan.n_timed
                ),
                "rescore_ms": ms_a_query(
                    lambda i, f=found, ix=index: ix.rescore(f[i], query[i], database), plan.n_timed
                ),
            }
            for k in RANKS:
                enough = candidates >= k
                row |= {
                    f"recall_{k}": neighbour_recall(found, neighbours[:, :k]) if enough else None,
                    f"rescored_{k}": neighbour_recall(rescored, neighbours[:, :k]) if enough else None,
                    f"hamming_{k}": hamming_recall(distances, exact, k) if enough else None,
                }
            rows.append(row)
    return rows


def bench_set(plan: Plan, data: FeatureSet, hashers: list[BaseHasher], n: int | None) -> dict[str, Any]:
    """Measure the real database, or its enlargement to n rows."""
    query = data.query[: plan.n_query if n is None else plan.n_query_enlarged]
    n_database = len(data.database) if n is None else n
    parts: dict[int, list[NDArray[np.uint8]]] = {i: [] for i in range(len(hashers))}
    encode_seconds = np.zeros(len(hashers))

    def blocks() -> Iterator[NDArray[np.float32]]:
        def rows() -> Iterator[NDArray[np.float32]]:
            yield from (data.database[i : i + BLOCK] for i in range(0, len(data.database), BLOCK))
            if n is not None:
                yield from enlargement(data.database, plan, n - len(data.database))

        for block in rows():
            for i, hasher in enumerate(hashers):
                start = time.perf_counter()
                parts[i].append(encode(hasher, block))
                encode_seconds[i] += time.perf_counter() - start
            yield block

    index, database = float_index(blocks(), n_database, query.shape[1])
    unit = query / np.linalg.norm(query, axis=1, keepdims=True)
    similarities, neighbours = index.search(unit, max(RANKS))
    result: dict[str, Any] = {
        "n_database": n_database,
        "n_query": len(query),
        "n_features": query.shape[1],
        "nearest_cosine": float(similarities[:, 0].mean()),
        "float": {
            "search_ms": ms_a_query(lambda i: index.search(unit[i], max(RANKS)), plan.n_timed_float),
            "index_bytes": int(database.nbytes),
        },
        "codes": [],
        "rows": [],
    }
    labels = data.query_labels[: len(query)], data.database_labels
    if n is None:
        result["float"]["map_expected"] = float(
            cosine_mean_average_precision(
                query, data.database, labels, top_k=data.top_k, denominator="retrieved"
            )
        )
    for i, hasher in enumerate(hashers):
        name = described(hasher)
        codes = encode(hasher, query), np.concatenate(parts[i])
        hnsw = n is None or (hasher.method, hasher.n_bits) == plan.hnsw_enlarged
        n_lists = None if n is None else min(plan.n_lists, n // 39)
        result["codes"].append(
            {
                **name,
                "encode_database_us": 1e6 * encode_seconds[i] / n_database,
                "encode_query_ms": ms_a_query(lambda i, h=hasher: h.pack(query[i]), plan.n_timed),
            }
        )
        rows = bench_codes(plan, query, database, codes, neighbours, hasher.n_bits, n_lists, hnsw)
        result["rows"] += [name | row for row in rows]
        if n is None:
            result["codes"][-1]["unique_code_ratio"] = len(np.unique(codes[1], axis=0)) / n_database
            result["codes"][-1]["map_expected"] = float(
                mean_average_precision(
                    *codes, labels, n_bits=hasher.n_bits, top_k=data.top_k, denominator="retrieved"
                )
            )
    return result


def main(arguments: list[str] | None = None) -> None:
    parser = arguments_of(__doc__, "bench_search.json")
    parser.add_argument(
        "--quick", action="store_true", help="the packaged data, some seconds, figures of no use"
    )
    given = parser.parse_args(arguments)
    plan = QUICK if given.quick else Plan()
    start, load = time.perf_counter(), [load_average()]
    with threads(1):
        data = load_features(plan.data)
        hashers, fits = fit_hashers(plan, data.train)
        sets = {"real": bench_set(plan, data, hashers, None)}
        load.append(load_average())
        sets["enlarged"] = bench_set(plan, data, hashers, plan.enlarged)
    load.append(load_average())
    results = {
        "threads": 1,
        "load_average": load,  # at the start, between the sets, at the end; above 1: other work was running
        "repeats": REPEATS,
        "plan": asdict(plan),
        "n_train": len(data.train),
        "top_k": data.top_k,
        "fits": fits,
        "sets": sets,
        "seconds": time.perf_counter() - start,
    }
    publish(given.out, results)


if __name__ == "__main__":
    main()
