"""Speed and memory of encoding: `python -m benchmarks.bench_encoding [--rows 1000000] [--threads 1]`, some minutes.

A million vectors of 1,280 values are encoded to 64 bits by the head of SDC's preset release, which is as wide as the
features, and by a linear map. For each there are three figures, all of one run on one machine:

- the seconds of the bare matrix products of the same shape, and of `sdclib.search.encoding.encode` with all that it
  does (checks, activations, signs, packing), on vectors in memory: part by part in turn, because other work may share
  the cores;
- the ratio of both, 1 where encoding costs nothing but the products: at least 0.5 is wanted;
- the seconds and the peak memory of a process of its own that encodes an .npy of all vectors from the disk.

Vectors are random numbers: their values do not matter for speed. The file takes 5 GB for a while, in the folder for
temporary files. Writes results/bench_encoding.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.harness import arguments_of, in_fresh_process, load_average, publish, seconds_of, threads
from sdclib.data.vectors import load_npy
from sdclib.methods import BaseHasher, make_hasher
from sdclib.search.encoding import encode, load_hasher
from study.provenance import peak_memory_mb

WANTED_RATIO = 0.5
PRODUCT_ROWS = 4096  # of a bare product of the wide head; what is between both stays in the cache


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    n_rows: int = 1_000_000
    n_features: int = 1280
    n_bits: int = 64
    n_parts: int = 10
    n_train: int = 512
    threads: int = 1
    seed: int = 0


def hashers(plan: Plan) -> dict[str, BaseHasher]:
    """Heads that are hardly trained: what they learned does not matter for speed."""
    rng = np.random.default_rng(plan.seed)
    train = rng.standard_normal((plan.n_train, plan.n_features), dtype=np.float32)
    return {
        "release": make_hasher(
            "sdc", plan.n_bits, preset="release", epochs=1, batch_size=64, device="cpu"
        ).fit(train),
        "linear": make_hasher("lsh", plan.n_bits, center=True).fit(train),
    }


def widths(plan: Plan) -> dict[str, list[int]]:
    """Widths of the layers, from features to bits."""
    d, k = plan.n_features, plan.n_bits
    return {"release": [d, d, k], "linear": [d, k]}


def parts(plan: Plan) -> Iterator[NDArray[np.float32]]:
    """Draw the vectors, a part at a time."""
    rng = np.random.default_rng(plan.seed + 1)
    for n in np.diff(np.linspace(0, plan.n_rows, plan.n_parts + 1).astype(int)):
        yield rng.standard_normal((n, plan.n_features), dtype=np.float32)


def bare_products(layers: list[int]) -> Callable[[NDArray[np.float32]], None]:
    """Make what multiplies vectors by random matrices of these shapes, and does nothing else."""
    generator = torch.Generator().manual_seed(0)
    matrices = [torch.randn(n, m, generator=generator) for n, m in pairwise(layers)]

    def multiply(vectors: NDArray[np.float32]) -> None:
        for rows in torch.from_numpy(vectors).split(len(vectors) if len(layers) == 2 else PRODUCT_ROWS):
            for matrix in matrices:
                rows = rows @ matrix

    return multiply


def bench_memory_resident(plan: Plan, heads: dict[str, BaseHasher], file: Path) -> dict[str, dict[str, Any]]:
    """Time products and encoding in turn, part by part, and write the vectors to a file on the way."""
    bare = {name: bare_products(layers) for name, layers in widths(plan).items()}
    seconds: dict[str, dict[str, list[float]]] = {name: {"products": [], "encode": []} for name in heads}
    with file.open("wb") as out:
        shape = plan.n_rows, plan.n_features
        np.lib.format.write_array_header_1_0(out, {"descr": "<f4", "fortran_order": False, "shape": shape})
        for part in parts(plan):
            for name, hasher in heads.items():
                if not seconds[name]["encode"]:  # libraries set themselves up on the first call
                    bare[name](part[:PRODUCT_ROWS])
                    encode(hasher, part[:PRODUCT_ROWS])
                seconds[name]["products"].append(seconds_of(lambda b=bare[name], x=part: b(x)))
                seconds[name]["encode"].append(seconds_of(lambda h=hasher, x=part: encode(h, x)))
            part.astype("<f4", copy=False).tofile(out)
    return {
        name: {
            "seconds_of_parts": times,
            "products_seconds": sum(times["products"]),
            "encode_seconds": sum(times["encode"]),
            "ratio": sum(times["products"]) / sum(times["encode"]),
            "median_ratio": float(np.median(np.divide(times["products"], times["encode"]))),
        }
        for name, times in seconds.items()
    }


def child(model: Path, file: Path) -> None:
    """Encode a file, and print seconds and peak memory."""
    hasher = load_hasher(model)
    imports_mb = peak_memory_mb()
    codes = []
    found = {
        "seconds": seconds_of(lambda: codes.append(encode(hasher, load_npy(file)))),
        "peak_mb": peak_memory_mb(),
        "peak_mb_of_imports": imports_mb,
        "codes_mb": codes[0].nbytes / 1e6,
        "file_mb": file.stat().st_size / 1e6,
    }
    print(json.dumps(found))


def measure(plan: Plan) -> dict[str, Any]:
    load = [load_average()]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "vectors.npy"
        heads = hashers(plan)
        rows = bench_memory_resident(plan, heads, file)
        load.append(load_average())
        for name, hasher in heads.items():
            options = ["--threads", plan.threads, "--child", hasher.save(Path(folder) / name), file]
            rows[name] |= {
                "method": hasher.method,
                "widths": widths(plan)[name],
                "file": in_fresh_process("benchmarks.bench_encoding", *options),
            }
    return {
        "threads": plan.threads,
        "load_average": [
            *load,
            load_average(),
        ],  # start, after the timing, end; above 1: other work was running
        "plan": asdict(plan),
        "wanted_ratio": WANTED_RATIO,
        "heads": rows,
    }


def main(arguments: list[str] | None = None) -> None:
    parser = arguments_of(__doc__, "bench_encoding.json")
    parser.add_argument("--rows", type=int, default=Plan.n_rows)
    parser.add_argument("--threads", type=int, default=Plan.threads)
    parser.add_argument("--child", type=Path, nargs=2, metavar=("MODEL", "FILE"), help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    with threads(given.threads):
        if given.child:
            child(*given.child)
            return
        results = measure(Plan(n_rows=given.rows, threads=given.threads))
    for name, row in results["heads"].items():
        print(
            f"{name}: products {row['products_seconds']:.2f} s, encoding {row['encode_seconds']:.2f} s, ratio "
            f"{row['ratio']:.2f} (>= {WANTED_RATIO}), median of parts {row['median_ratio']:.2f}; from the disk "
            f"{row['file']['seconds']:.2f} s, peak {row['file']['peak_mb']:.0f} MB"
        )
    publish(given.out, results)


if __name__ == "__main__":
    main()
