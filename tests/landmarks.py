"""Small landmark sets as their files are published: GLDv2, Revisited Oxford and Paris."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

N_DATABASE = 30


def vectors(n: int, seed: int, d: int = 12) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


SOLUTION = """id,images,Usage
q0,i3 i4 i5,Public
q1,None,Ignored
q2,i0,Private
q3,i29 i7,Private
"""


def write_gldv2(root: Path, *, train: bool = True, n: int = N_DATABASE) -> None:
    root.mkdir(parents=True, exist_ok=True)
    np.savez(root / "query.npz", features=vectors(5, 0), ids=np.array(["q3", "q2", "other", "q0", "q1"]))
    np.save(root / "index.npy", vectors(n, 1))
    (root / "index_ids.txt").write_text("".join(f"i{i}\n" for i in range(n)))
    if train:
        save_file({"features": vectors(40, 2)}, root / "train.safetensors")
    (root / "retrieval_solution_v2.1.csv").write_text(SOLUTION)


def gnd(n: int = N_DATABASE, **changes: Any) -> dict[str, Any]:
    """Ground truth of three queries in the form of revisitop's files."""
    return {
        "imlist": [f"all_souls_{i:06}" for i in range(n)],
        "qimlist": ["q_a", "q_b", "q_c"],
        "gnd": [
            {"bbx": [1.5, 2.0, 30.0, 40.0], "easy": [0, 1], "hard": [2, 3, 4], "junk": [5]},
            {"bbx": np.array([1.5, 2.0]), "easy": [], "hard": [7], "junk": []},
            {"bbx": (1, 2), "easy": np.array([9]), "hard": np.array([], int), "junk": np.arange(10, 13)},
        ],
    } | changes


def write_revisited(
    root: Path, name: str = "roxford5k", protocol: int = 2, n: int = N_DATABASE, **changes: Any
) -> None:
    root.mkdir(parents=True, exist_ok=True)
    np.save(root / "query.npy", vectors(3, 3))
    np.save(root / "database.npy", vectors(n, 4))
    (root / f"gnd_{name}.pkl").write_bytes(pickle.dumps(gnd(n, **changes), protocol=protocol))


QUERY = {"easy": [0], "hard": [], "junk": []}
