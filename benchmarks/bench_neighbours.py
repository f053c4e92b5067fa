"""Time of whole fits, by neighbours and `release`: `python -m benchmarks.bench_neighbours`, a minute a repeat.

Features are random, of the shape of CIFAR-10's training features. Fits run in turn, as other work may share the cores.
Writes results/bench_neighbours.json.
"""

from __future__ import annotations

import torch

from benchmarks.harness import arguments_of, medians, publish, random_features, seconds_of
from sdclib.methods import make_hasher

N_BITS = 64


def main() -> None:
    parser = arguments_of(__doc__, "bench_neighbours.json")
    parser.add_argument("--repeats", type=int, default=1, help="fits of each")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    features = random_features()
    kinds = {
        "release": ("sdc", {"preset": "release"}),
        "neighbour-sdc": ("neighbour-sdc", {}),
        "neighbour-itq": ("neighbour-itq", {}),
    }
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(given.repeats):
        for name, (method, parameters) in kinds.items():
            hasher = make_hasher(method, N_BITS, **parameters)
            seconds[name].append(seconds_of(lambda h=hasher: h.fit(features)))
    typical = medians(seconds)
    ratios = {name: typical[name] / typical["release"] for name in ("neighbour-sdc", "neighbour-itq")}
    print(f"fits take {ratios} of the time of release")
    shape = {"rows": len(features), "features": features.shape[1], "n_bits": N_BITS, "threads": given.threads}
    publish(given.out, shape | {"seconds": seconds, "ratios": ratios})


if __name__ == "__main__":
    main()
