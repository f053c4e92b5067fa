"""Speed of both CPU paths of a backbone: `python -m benchmarks.bench_backbones [--images FOLDER]`, about a minute.

ONNX Runtime and eager PyTorch run the same batches in one process, in turn, and medians are given, because other work
may share the cores. Without a folder the images are random. Writes results/bench_backbones.json.

Eager PyTorch allocates much; set MALLOC_MMAP_THRESHOLD_ and MALLOC_TRIM_THRESHOLD_ high, as the Makefile does, or it
looks up to three times slower than it is.
"""

from __future__ import annotations

import argparse
import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.harness import arguments_of, in_turn, medians, publish, seconds_of
from sdclib.extract.backbones import RUNTIMES, Backbone, load_backbone

SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".webp"}


def read_images(folder: Path | None, count: int, size: int) -> list[Image.Image]:
    """Up to `count` image files of a folder and its subfolders, evenly spaced; or random images."""
    if folder is None:
        rng = np.random.default_rng(0)
        return [Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8)) for _ in range(count)]
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not files:
        raise SystemExit(f"{folder}: expected a folder with images, found none")
    chosen = np.unique(np.linspace(0, len(files) - 1, min(count, len(files))).round().astype(int))
    return [Image.open(files[i]).convert("RGB") for i in chosen]


def bench(given: argparse.Namespace) -> dict[str, Any]:
    torch.set_num_threads(given.threads)
    options = {"n_threads": given.threads, "weights": given.weights}
    backbones = {runtime: load_backbone(given.backbone, runtime=runtime, **options) for runtime in RUNTIMES}
    size = backbones["onnx"].image_size
    images = read_images(given.images, given.count, size)
    rows: list[NDArray[np.float32]] = []
    preparing = seconds_of(lambda: rows.extend(backbones["onnx"].preprocess(image) for image in images))
    prepared = np.stack(rows)
    features: dict[str, NDArray[np.float32]] = {}

    def extract(name: str, backbone: Backbone) -> None:
        starts = range(0, len(prepared), given.batch_size)
        features[name] = np.concatenate(
            [backbone.extract(prepared[i : i + given.batch_size]) for i in starts]
        )

    calls = {name: partial(extract, name, backbone) for name, backbone in backbones.items()}
    seconds = in_turn(calls, given.repeats)
    rates = {name: [len(prepared) / value for value in values] for name, values in seconds.items()}
    speed = medians(rates)
    return {
        "backbone": given.backbone,
        "image_size": size,
        "images": "random" if given.images is None else given.images.name,
        "n_images": len(prepared),
        "batch_size": given.batch_size,
        "threads": given.threads,
        "malloc": {name: value for name, value in sorted(os.environ.items()) if name.startswith("MALLOC_")},
        "images_per_second": speed,
        "images_per_second_by_round": rates,
        "onnx_over_torch": speed["onnx"] / speed["torch"],
        "preparing_images_per_second": len(images) / preparing,
        "largest_difference": float(np.abs(features["onnx"] - features["torch"]).max()),
        "mean_feature": float(features["torch"].mean()),
    }


def main() -> None:
    parser = arguments_of(__doc__, "bench_backbones.json")
    parser.add_argument("--backbone", default="efficientnet-lite0", help="default: %(default)s")
    parser.add_argument("--weights", help="weight file, or 'random'")
    parser.add_argument("--images", type=Path, help="folder of real images")
    parser.add_argument("--count", type=int, default=128, help="images a round (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=32, help="default: %(default)s")
    parser.add_argument("--repeats", type=int, default=5, help="rounds (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="default: %(default)s")
    given = parser.parse_args()
    result = bench(given)
    speed = result["images_per_second"]
    print(
        f"{result['backbone']}, {result['image_size']} px: {speed['onnx']:.1f} images/s by ONNX Runtime, "
        f"{speed['torch']:.1f} by PyTorch, {result['onnx_over_torch']:.2f} times; prepared by one thread: "
        f"{result['preparing_images_per_second']:.0f}; features differ by {result['largest_difference']:.1e} at most"
    )
    publish(given.out, result, "onnxruntime", "pillow")


if __name__ == "__main__":
    main()
