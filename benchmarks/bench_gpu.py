"""A GPU against the processor: `python -m benchmarks.bench_gpu [--device cuda]`, minutes; needs a GPU.

On both, SDC's preset release is trained for some epochs, a million vectors are encoded by the processor's model, their
codes are counted against a thousand queries, and float queries searched among them. Counts must be equal; of codes and
neighbours the share that agrees is given, since sums are rounded in another order. Writes results/bench_gpu.json.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.bench_metrics import N_BITS, make_case
from benchmarks.harness import arguments_of, publish, random_features, seconds_of
from sdclib import make_hasher
from sdclib.metrics import count_pairs
from sdclib.search.encoding import encode
from sdclib.search.index import HammingIndex

N_QUERY, K = 1000, 100


def measure(device: str, rows: int, epochs: int) -> dict[str, Any]:
    """Seconds on both, the second time each, and how far the results agree."""
    import torch

    features = random_features()
    vectors = np.tile(features, (-(-rows // len(features)), 1))[:rows]
    case = make_case(N_QUERY, rows)
    index = HammingIndex(case[1], n_bits=N_BITS)
    query = np.random.default_rng(0).standard_normal((N_QUERY, N_BITS), dtype=np.float32)
    settings: dict[str, Any] = {"preset": "release", "epochs": epochs}
    model = make_hasher("sdc", N_BITS, **settings, device="cpu").fit(features)

    def calls(where: str | None) -> dict[str, Callable[[], Any]]:
        """All work at a place; None is the processor as it always counts and searches."""
        place = {"device": where or "cpu"}
        return {
            "train": lambda: make_hasher("sdc", N_BITS, **settings, **place).fit(features).pack(features),
            "encode": lambda: encode(model.set_params(**place), vectors),
            "count": lambda: count_pairs(*case, n_bits=N_BITS, device=where),
            "float_queries": lambda: index.search_continuous(query, K, device=where)[1],
        }

    seconds: dict[str, dict[str, float]] = {}
    found: dict[str, list[Any]] = {}
    for place, where in (("processor", None), ("gpu", device)):
        for name, call in calls(where).items():
            call()  # libraries set themselves up
            results = found.setdefault(name, [])
            seconds.setdefault(name, {})[place] = seconds_of(lambda c=call, r=results: r.append(c()))

    def agreeing_bits(first: Any, second: Any) -> float:
        return 1 - float(np.bitwise_count(first ^ second).mean()) / 8

    counts = found["count"]
    if not (np.array_equal(counts[0].all, counts[1].all) and np.array_equal(*(c.relevant for c in counts))):
        raise AssertionError("counts differ")
    same = [len(set(a) & set(b)) / K for a, b in zip(*found["float_queries"], strict=True)]
    return {
        "seconds": seconds,
        "times_faster": {name: both["processor"] / both["gpu"] for name, both in seconds.items()},
        "agreeing_bits": {name: agreeing_bits(*found[name]) for name in ("train", "encode")},
        "agreeing_neighbours": float(np.mean(same)),
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else device,
        "n_rows": rows,
        "epochs": epochs,
    }


def main(arguments: list[str] | None = None) -> None:
    import torch

    parser = arguments_of(__doc__, "bench_gpu.json")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--epochs", type=int, default=10)
    given = parser.parse_args(arguments)
    if given.device.startswith("cuda") and not torch.cuda.is_available():
        print("bench_gpu: no GPU here, nothing is measured")
        return
    results = measure(given.device, given.rows, given.epochs)
    for name, both in results["seconds"].items():
        print(f"{name}: {both['processor']:.2f} s, on the GPU {both['gpu']:.2f} s")
    publish(given.out, results)


if __name__ == "__main__":
    main()
