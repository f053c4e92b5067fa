"""Vectors, a model of them, and the command `sdc` run in this process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sdclib.cli import main
from sdclib.methods import ITQHasher


def rows(n: int = 300, d: int = 24, seed: int = 0) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((6, d)) * 2
    return (centres[rng.integers(0, 6, n)] + rng.standard_normal((n, d)) + 0.5).astype(np.float32)


def model_folder(folder: Path) -> Path:
    """Vectors in data.npy and query.npy, and ITQ of 20 bits in model."""
    np.save(folder / "data.npy", rows())
    np.save(folder / "query.npy", rows(17, seed=1))
    ITQHasher(20).fit(rows()).save(folder / "model")
    return folder


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])
