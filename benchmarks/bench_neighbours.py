"""Time of whole fits, SDC by neighbours beside `release`: `python -m benchmarks.bench_neighbours`, four minutes.

Features are random, of the shape of CIFAR-10's training features. Fits run in turn, as other work may share the cores.
Writes results/bench_neighbours.json.
"""

from __future__ import annotations

import torch

from benchmarks.harness import arguments_of, medians, publish, random_features, seconds_of
from sdclib.methods import NeighbourSDCHasher, SDCHasher

N_BITS = 64


def main() -> None:
    parser = arguments_of(__doc__, "bench_neighbours.json")
    parser.add_argument("--repeats", type=int, default=1, help="fits of each")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    features = random_features()
    seconds: dict[str, list[float]] = {"release": [], "neighbour-sdc": []}
    for _ in range(given.repeats):
        for hasher in (SDCHasher(N_BITS, "release"), NeighbourSDCHasher(N_BITS)):
            name = "release" if hasher.method == "sdc" else hasher.method
            seconds[name].append(seconds_of(lambda h=hasher: h.fit(features)))
    typical = medians(seconds)
    ratio = typical["neighbour-sdc"] / typical["release"]
    print(f"SDC by neighbours takes {ratio:.2f} of the time of release")
    shape = {"rows": len(features), "features": features.shape[1], "n_bits": N_BITS, "threads": given.threads}
    publish(given.out, shape | {"seconds": seconds, "ratio": ratio})


if __name__ == "__main__":
    main()
