"""Fit every method twice on one thread and once on two, each in a process of its own: are the codes the same?

python -m benchmarks.check_determinism [--epochs 20] [--methods sdc itq]     ten minutes

Repeated fits must give the same codes, or the exit code is 1. On another number of threads sums are rounded in another
order, which training amplifies: the share of bits that differ and the difference in expected mAP are written down.
Features are the packaged ones, views theirs; patch tokens, which no package carries, are random. Writes
results/check_determinism.json.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from benchmarks.harness import arguments_of, publish
from sdclib.catalogue import load_features
from sdclib.evaluation import evaluate_codes
from sdclib.extract.views import load_views
from sdclib.methods import METHODS, BaseHasher, make_hasher

DATA, N_BITS, SEED = "cifar10-embedded", 64, 3
RUNS = {"one thread": 1, "one thread again": 1, "two threads": 2}
MOST_POINTS = 3.0  # that mAP of one training may move on another number of threads


def fitted(method: str, epochs: int) -> BaseHasher:
    """Fit a method, with at most so many epochs where it trains; 0 leaves it as it is."""
    data = load_features(DATA)
    hasher = make_hasher(method, N_BITS, seed=SEED, **({"preset": "release"} if method == "sdc" else {}))
    if epochs and "epochs" in hasher.get_params():
        hasher.set_params(epochs=epochs)
    more: dict[str, Any] = {}
    if hasher.needs_views:
        more["views"] = load_views(DATA).features
    if hasher.needs_tokens:
        shape = (len(more["views"]), len(data.train), 4, 16)
        more["tokens"] = np.random.default_rng(SEED).standard_normal(shape, dtype=np.float32)
    if hasher.needs_labels:
        more["y"] = data.database_labels[data.train_index]
    return hasher.fit(data.train, **more)


def compare(codes: dict[str, dict[str, np.ndarray]]) -> dict[str, Any]:
    """Whether repeated codes are the same; bits and mAP that move with the number of threads."""
    data = load_features(DATA)
    first, again, threads = (codes[name] for name in RUNS)
    protocol: Any = {"top_k": data.top_k, "denominator": data.denominator}
    points = [
        100 * evaluate_codes(c["query"], c["database"], data.relevant, **protocol)[0]["map_expected"]
        for c in (first, threads)
    ]
    return {
        "repeated_the_same": all(np.array_equal(first[part], again[part]) for part in first),
        "bits_that_differ": float(np.mean(first["database"] != threads["database"])),
        "map_points": points[1] - points[0],
    }


def main() -> None:
    parser = arguments_of(__doc__, "check_determinism.json")
    parser.add_argument("--epochs", type=int, default=20, help="of methods that train; 0: their own")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS, metavar="METHOD")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        data, hasher = load_features(DATA), fitted(arguments.methods[0], arguments.epochs)
        np.savez(
            arguments.child, query=hasher.transform(data.query), database=hasher.transform(data.database)
        )
        return
    found = {}
    bar = tqdm(total=len(arguments.methods) * len(RUNS), unit="fit")
    with tempfile.TemporaryDirectory() as folder:
        for method in arguments.methods:
            codes = {}
            for name, threads in RUNS.items():
                path = Path(folder) / f"{method}-{name}.npz"
                options = ["--child", str(path), "--methods", method, "--epochs", str(arguments.epochs)]
                subprocess.run(
                    [sys.executable, "-m", "benchmarks.check_determinism", *options],
                    env={**os.environ, "OMP_NUM_THREADS": str(threads)},
                    check=True,
                )
                codes[name] = dict(np.load(path))
                bar.update()
            found[method] = compare(codes)
            tqdm.write(f"{method}: {found[method]}")
    bar.close()
    report = {
        "data": DATA,
        "n_bits": N_BITS,
        "seed": SEED,
        "epochs": arguments.epochs,
        "tolerance_points": MOST_POINTS,
        "methods": found,
    }
    publish(arguments.out, report)
    bad = [
        name
        for name, row in found.items()
        if not row["repeated_the_same"] or abs(row["map_points"]) > MOST_POINTS
    ]
    if bad:
        sys.exit(f"codes differ between repeated fits, or mAP between numbers of threads: {', '.join(bad)}")


if __name__ == "__main__":
    main()
