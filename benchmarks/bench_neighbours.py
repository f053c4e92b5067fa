"""Time of whole fits, SDC by neighbours beside `release`: `python -m benchmarks.bench_neighbours`, four minutes.

Features are random numbers of the shape of CIFAR-10's training features (5,000 x 1,280): their values do not matter for
speed. Fits run in turn, as other work may share the cores, and medians are given. Writes results/bench_neighbours.json.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import torch

from benchmarks.bench_metrics import machine
from sdclib.files import write_json
from sdclib.methods import BaseHasher, NeighbourSDCHasher, SDCHasher
from study.provenance import RESULTS, git_commit, versions

N_ROWS, N_FEATURES, N_BITS = 5000, 1280, 64


def hashers() -> dict[str, BaseHasher]:
    """Make what is timed, by name, not yet fitted."""
    return {"release": SDCHasher(N_BITS, "release"), "neighbour-sdc": NeighbourSDCHasher(N_BITS)}


def main() -> None:
    """Parse the command line, measure, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=1, help="fits of each")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    features = np.random.default_rng(0).random((N_ROWS, N_FEATURES), dtype=np.float32)
    seconds: dict[str, list[float]] = {name: [] for name in hashers()}
    for _ in range(arguments.repeats):
        for name, hasher in hashers().items():
            start = time.perf_counter()
            hasher.fit(features)
            seconds[name].append(time.perf_counter() - start)
            print(f"{name}: {seconds[name][-1]:.1f} s", flush=True)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    ratio = medians["neighbour-sdc"] / medians["release"]
    print(f"SDC by neighbours takes {ratio:.2f} of the time of release")
    report = {
        "rows": N_ROWS,
        "features": N_FEATURES,
        "n_bits": N_BITS,
        "threads": arguments.threads,
        "seconds": seconds,
        "ratio": ratio,
        "commit": git_commit(),
        "machine": machine(),
        "versions": versions(),
    }
    print(write_json(RESULTS / "bench_neighbours.json", report))


if __name__ == "__main__":
    main()
