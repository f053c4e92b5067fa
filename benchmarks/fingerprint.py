"""Fit nine small models with portable kernels and keep hashes of their codes by processor, to see whether they agree.

python -m benchmarks.fingerprint

Adds this processor to results/fingerprints.json and prints which models are the same on all that are in it.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from sdclib.kernels import kernels_in_use, use_portable_kernels

use_portable_kernels()  # before NumPy is loaded

import numpy as np

from sdclib import load_features, make_hasher
from sdclib.files import read_json, write_json
from study.provenance import RESULTS, machine, versions

MODELS: list[tuple[str, dict[str, Any]]] = [
    ("itq", {}),
    ("pcah", {}),
    ("sh", {}),
    ("lsh", {"center": True}),
    ("sdc", {"preset": "release", "epochs": 3, "step_epoch": 2}),
    ("sdc", {"preset": "release", "hidden_features": 4096, "epochs": 1, "step_epoch": 1}),
    ("neighbour-sdc", {"epochs": 4}),
    ("bihalf", {"epochs": 2, "step_epoch": 1}),
    ("greedyhash", {"epochs": 2}),
]


def sha256(array: np.ndarray) -> str:
    """First 16 digits of the hash of an array's bytes."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


def main() -> None:
    """Fit, hash, write, compare."""
    data = load_features("cifar10-embedded")
    models = {"features": {"continuous": sha256(data.train)}}
    for method, parameters in MODELS:
        hasher = make_hasher(method, 32, seed=0, **parameters).fit(data.train)
        models[f"{method} {json.dumps(parameters)}"] = {
            "continuous": sha256(hasher.decision_function(data.query)),
            "packed": sha256(hasher.pack(data.query)),
        }
    path, here = RESULTS / "fingerprints.json", machine()
    known = read_json(path) if path.is_file() else {}
    known[here["processor"]] = {"kernels": kernels_in_use(), "versions": versions(), "models": models}
    print(write_json(path, known))
    for name in models:
        found = {json.dumps(entry["models"].get(name), sort_keys=True) for entry in known.values()}
        print("same" if len(found) == 1 else "DIFFERENT", name)


if __name__ == "__main__":
    main()
