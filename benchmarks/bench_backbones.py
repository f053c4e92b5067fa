"""Speed of both CPU paths of a backbone: `python -m benchmarks.bench_backbones [--images FOLDER]`, about a minute.

ONNX Runtime and eager PyTorch run the same batches in one process, in turn, and medians are given, because other work
may share the cores. Without a folder the images are random. Writes results/bench_backbones.json.

Eager PyTorch allocates much; set MALLOC_MMAP_THRESHOLD_ and MALLOC_TRIM_THRESHOLD_ high, as the Makefile does, or it
looks up to three times slower than it is.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.bench_metrics import machine
from sdclib.extract.backbones import RUNTIMES, Backbone, load_backbone
from sdclib.files import write_json
from study.provenance import git_commit


def read_images(folder: Path | None, count: int, size: int) -> list[Image.Image]:
    """Up to `count` image files of a folder and its subfolders, evenly spaced; or random images."""
    if folder is None:
        rng = np.random.default_rng(0)
        return [Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8)) for _ in range(count)]
    suffixes = {".bmp", ".jpeg", ".jpg", ".png", ".webp"}
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in suffixes)
    if not files:
        raise SystemExit(f"{folder}: expected a folder with images, found none")
    chosen = np.unique(np.linspace(0, len(files) - 1, min(count, len(files))).round().astype(int))
    return [Image.open(files[i]).convert("RGB") for i in chosen]


def prepare(backbone: Backbone, images: list[Image.Image]) -> tuple[NDArray[np.float32], float]:
    """Prepared images, and images/s of preparing them in one thread."""
    start = time.perf_counter()
    prepared = np.stack([backbone.preprocess(image) for image in images])
    return prepared, len(images) / (time.perf_counter() - start)


def interleaved(
    backbones: dict[str, Backbone], prepared: NDArray[np.float32], batch_size: int, repeats: int
) -> tuple[dict[str, list[float]], dict[str, NDArray[np.float32]]]:
    """Images/s of each path in each round, after a first round that does not count; and the features."""
    rates: dict[str, list[float]] = {name: [] for name in backbones}
    features = {}
    for turn in range(repeats + 1):
        for name, backbone in backbones.items():
            start = time.perf_counter()
            features[name] = np.concatenate(
                [backbone.extract(prepared[i : i + batch_size]) for i in range(0, len(prepared), batch_size)]
            )
            if turn:
                rates[name].append(len(prepared) / (time.perf_counter() - start))
    return rates, features


def bench(arguments: argparse.Namespace) -> dict[str, Any]:
    torch.set_num_threads(arguments.threads)
    backbones = {
        runtime: load_backbone(
            arguments.backbone, runtime=runtime, n_threads=arguments.threads, weights=arguments.weights
        )
        for runtime in RUNTIMES
    }
    size = backbones["onnx"].image_size
    prepared, preparing = prepare(backbones["onnx"], read_images(arguments.images, arguments.count, size))
    rates, features = interleaved(backbones, prepared, arguments.batch_size, arguments.repeats)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    return {
        "backbone": arguments.backbone,
        "image_size": size,
        "images": "random" if arguments.images is None else arguments.images.name,
        "n_images": len(prepared),
        "batch_size": arguments.batch_size,
        "threads": arguments.threads,
        "malloc": {name: value for name, value in sorted(os.environ.items()) if name.startswith("MALLOC_")},
        "images_per_second": medians,
        "images_per_second_by_round": rates,
        "onnx_over_torch": medians["onnx"] / medians["torch"],
        "preparing_images_per_second": preparing,
        "largest_difference": float(np.abs(features["onnx"] - features["torch"]).max()),
        "mean_feature": float(features["torch"].mean()),
    }


def report(result: dict[str, Any]) -> str:
    """The result as a table."""
    rows = [
        f"{result['backbone']}, {result['image_size']} px, {result['n_images']} {result['images']} images, "
        f"batches of {result['batch_size']}, {result['threads']} threads",
        f"  {'':<16}{'ONNX Runtime':>14}{'PyTorch eager':>16}{'ratio':>8}",
        f"  {'images/s':<16}{result['images_per_second']['onnx']:>14.1f}"
        f"{result['images_per_second']['torch']:>16.1f}{result['onnx_over_torch']:>8.2f}",
        f"  preparing, one thread: {result['preparing_images_per_second']:.0f} images/s",
        f"  largest difference of a feature: {result['largest_difference']:.1e} "
        f"(mean feature {result['mean_feature']:.3f})",
    ]
    return "\n".join(rows)


def main() -> None:
    root = Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", default="efficientnet-lite0", help="default: %(default)s")
    parser.add_argument("--weights", help="weight file, or 'random'")
    parser.add_argument("--images", type=Path, help="folder of real images")
    parser.add_argument("--count", type=int, default=128, help="images a round (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=32, help="default: %(default)s")
    parser.add_argument("--repeats", type=int, default=5, help="rounds (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=root / "results" / "bench_backbones.json")
    arguments = parser.parse_args()
    result = bench(arguments)
    versions = {name: version(name) for name in ("numpy", "onnxruntime", "pillow", "torch")}
    write_json(
        arguments.out,
        result
        | {
            "commit": git_commit(),
            "machine": machine(),
            "versions": {"python": platform.python_version()} | versions,
        },
    )
    print(report(result))


if __name__ == "__main__":
    main()
