"""Speed and memory of the metrics: `python -m benchmarks.bench_metrics [--out FILE]`, some minutes.

What is compared runs in one process, interleaved, and medians are given, because other work may share the cores.
Memory is the peak resident size of a fresh process that does nothing else. Writes results/bench_metrics.json.

Wanted: the usual way, which gives one mAP, takes at least 25 times as long as counting the pairs, a pair at most 2 ns
with every figure, 80 labels at most 3 times as long as one; peaks are below 1,000 MB with 59,000 items, and below
3,000 MB with a million.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.harness import arguments_of, in_fresh_process, in_turn, medians, publish, seconds_of
from sdclib.codes import pack_codes
from sdclib.metrics import count_pairs, intersection, mean_average_precision, overlap_auc, pair_histograms
from study.provenance import peak_memory_mb

TOP_K = 1000
N_CLASSES = 10
N_BITS = 64


def make_case(n_query: int, n_database: int, seed: int = 0) -> tuple[Any, Any, Any]:
    """Packed codes around one prototype a class (30 % of the bits flipped), and ids."""
    rng = np.random.default_rng(seed)
    prototypes = rng.integers(0, 2, (N_CLASSES, N_BITS), dtype=np.uint8)
    parts = []
    ids = rng.integers(0, N_CLASSES, n_query + n_database)
    for start in range(0, len(ids), 100_000):
        chosen = prototypes[ids[start : start + 100_000]]
        parts.append(pack_codes(chosen ^ (rng.random(chosen.shape, dtype=np.float32) < 0.3)))
    packed = np.concatenate(parts)
    return packed[:n_query], packed[n_query:], (ids[:n_query], ids[n_query:])


def by_counting(query: Any, database: Any, relevant: Any) -> dict[str, float]:
    """Expected mAP@1000, both bounds, and the histograms of all pairs."""
    counts = count_pairs(query, database, relevant, n_bits=N_BITS)
    result = {
        ties: float(mean_average_precision(counts, top_k=TOP_K, ties=ties, denominator="retrieved"))
        for ties in ("expected", "optimistic", "pessimistic")
    }
    histograms = pair_histograms(counts)
    return result | {"intersection": intersection(histograms), "overlap_auc": overlap_auc(histograms)}


def usual_way(query: Any, database: Any, query_ids: Any, database_ids: Any) -> float:
    """One mAP@1000, as is usual: float distance matrix, torch.topk over the whole database, cumulative sums."""
    import torch

    distances = 0.5 * (query.shape[1] - query @ database.T)
    order = torch.topk(distances, len(database), dim=1, largest=False, sorted=True).indices[:, :TOP_K]
    hits = (database_ids[order] == query_ids[:, None]).float()
    precision = hits.cumsum(dim=1) / torch.arange(1, TOP_K + 1)
    return float(((precision * hits).sum(dim=1) / hits.sum(dim=1).clamp(min=1)).mean())


def bench_main() -> dict[str, Any]:
    """The counting way against the usual way, 1,000 x 59,000 at 64 bits."""
    import torch

    case = make_case(1000, 59_000)
    bits = [np.unpackbits(x, axis=1, bitorder="little") for x in case[:2]]
    tensors = [torch.from_numpy(x) for x in (*(x * np.float32(2) - 1 for x in bits), *case[2])]
    figures = by_counting(*case)
    usual = usual_way(*tensors)
    if not figures["pessimistic"] <= usual <= figures["optimistic"] + 1e-6:
        raise AssertionError(f"the usual way's {usual} is outside the bounds {figures}")
    options: dict[str, Any] = {"n_bits": N_BITS, "top_k": TOP_K, "ties": "index", "denominator": "retrieved"}
    calls = {
        "counting": lambda: by_counting(*case),
        "count_pairs_alone": lambda: count_pairs(*case, n_bits=N_BITS),
        "expected_map_alone": lambda: mean_average_precision(*case, **options | {"ties": "expected"}),
        "index_order": lambda: mean_average_precision(*case, **options),
        "usual": lambda: usual_way(*tensors),
    }
    seconds = medians(in_turn(calls, repeats=3))
    return {
        "n_query": 1000,
        "n_database": 59_000,
        "n_bits": N_BITS,
        "seconds": seconds,
        "usual_over": {name: seconds["usual"] / seconds[name] for name in calls if name != "usual"},
        "map_at_1000": figures | {"usual": usual},
    }


def bench_growth() -> dict[str, Any]:
    """Seconds by size of the database, 500 queries; the exponent of a power law through them is 1 if linear."""
    sizes = [62_500, 125_000, 250_000, 500_000, 1_000_000]
    query, database, (query_ids, database_ids) = make_case(500, sizes[-1])

    def run(n: int) -> Callable[[], Any]:
        return lambda: by_counting(query, database[:n], (query_ids, database_ids[:n]))

    seconds = medians(in_turn({str(n): run(n) for n in sizes}, repeats=3))
    exponent = np.polyfit(np.log(sizes), np.log([seconds[str(n)] for n in sizes]), 1)[0]
    return {"n_query": 500, "n_bits": N_BITS, "seconds": seconds, "exponent": float(exponent)}


def bench_multi_label() -> dict[str, Any]:
    """80 labels (three a item on average) against ids, 1,000 x 59,000 at 64 bits."""
    query, database, ids = make_case(1000, 59_000)
    rng = np.random.default_rng(1)
    labels = tuple((rng.random((len(x), 80)) < 3 / 80).astype(np.uint8) for x in ids)
    calls = {
        "single_label": lambda: by_counting(query, database, ids),
        "multi_label_80": lambda: by_counting(query, database, labels),
    }
    seconds = medians(in_turn(calls, repeats=5))
    return {"seconds": seconds, "multi_over_single": seconds["multi_label_80"] / seconds["single_label"]}


def child(n_query: int, n_database: int) -> None:
    """Print time and peak memory of `by_counting`, codes and labels included."""
    imports_mb = peak_memory_mb()
    case = make_case(n_query, n_database)
    figures: dict[str, float] = {}
    seconds = seconds_of(lambda: figures.update(by_counting(*case)))
    found = {
        "n_query": n_query,
        "n_database": n_database,
        "n_bits": N_BITS,
        "seconds": seconds,
        "nanoseconds_a_pair": seconds / n_query / n_database * 1e9,
        "peak_mb": peak_memory_mb(),
        "peak_mb_of_imports": imports_mb,
        "expected_map_at_1000": figures["expected"],
    }
    print(json.dumps(found))


def main() -> None:
    parser = arguments_of(__doc__, "bench_metrics.json")
    parser.add_argument("--child", type=int, nargs=2, metavar=("QUERIES", "ITEMS"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(*given.child)
        return
    results = {
        "memory_main": in_fresh_process("benchmarks.bench_metrics", "--child", 1000, 59_000),
        "large": in_fresh_process("benchmarks.bench_metrics", "--child", 10_000, 1_000_000),
        "main": bench_main(),
        "growth": bench_growth(),
        "multi_label": bench_multi_label(),
    }
    publish(given.out, results)


if __name__ == "__main__":
    main()
