"""A toy backbone and a set of images for it, for tests of the feature cache."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from sdclib.data.images import ImageSet

SIZE = 6


@dataclass(frozen=True)
class Network:
    """A backbone that averages colours over a 2 x 2 grid, by matrix products as networks do."""

    name: str = "toy/net"
    weights_sha256: str = "0" * 64
    preprocessing: str = "v1"
    image_size: int = SIZE
    n_features: int = 8
    runtime: str = "numpy"
    seconds: float = 0

    def preprocess(self, image: Image.Image) -> np.ndarray:
        return np.asarray(image, dtype=np.float32).transpose(2, 0, 1) / np.float32(255)

    def extract(self, batch: Any) -> np.ndarray:
        time.sleep(self.seconds)
        batch = np.asarray(batch).reshape(len(batch), -1)
        weights = np.random.default_rng(0).standard_normal((batch.shape[1], self.n_features))
        return batch @ weights.astype(np.float32)


class Idle(Network):
    """A network that must not run, since all features are there."""

    def extract(self, batch: Any) -> np.ndarray:
        raise LookupError("ran the network")


def image_set(n: int = 50, *, seed: int = 0, broken: tuple[int, ...] = (), name: str = "toy") -> ImageSet:
    pixels = np.random.default_rng(seed).integers(0, 256, (n, SIZE, SIZE, 3), dtype=np.uint8)

    def read(i: int) -> Image.Image:
        if i in broken:
            raise ValueError(f"/images/{i}.png: missing or broken image (truncated)")
        return Image.fromarray(pixels[i])

    return ImageSet(
        name=name,
        ids=tuple(f"image{i}" for i in range(n)),
        read=read,
        labels=np.arange(n) % 2,
        query=np.arange(2),
        database=np.arange(2, n),
        train_index=np.arange(4),
        top_k=5,
        licence="none",
        citation="none",
        class_names=("even", "odd"),
    )
