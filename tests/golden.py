"""Golden codes: what every method and preset gives on a small part of the packaged data, to be the same for ever.

    python -m tests.golden           writes what is missing in tests/golden.npz
    python -m tests.golden itq sdc   writes the named cases anew: raise `results_version` of these methods first

A case is fitted on 320 training rows, with two epochs where the method trains, and its continuous codes of 64 queries
are kept. Portable kernels (`sdclib.kernels`) and the same versions of all libraries give the same bits on every x86-64
processor with AVX2; elsewhere at least 98 % of the bits agree, and no value is off by more than a tenth of their root
mean square. On a processor with AVX-512 that uses its own kernels, 99.8 % and 2 % were seen at worst.
"""

from __future__ import annotations

import dataclasses
import io
import json
import platform
import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    from sdclib.kernels import use_portable_kernels

    use_portable_kernels()

import numpy as np
import torch
from numpy.typing import NDArray

from sdclib import load_features
from sdclib.data.features import FeatureSet
from sdclib.extract.views import VIEWS_VERSION, Views, load_views
from sdclib.files import write_bytes
from sdclib.kernels import kernels_in_use
from sdclib.methods import METHODS
from study.provenance import PACKAGES, versions
from study.runs import RunSpec, fit_hasher

GOLDEN = Path(__file__).with_name("golden.npz")
N_BITS, SEED = 16, 0
ONCE: dict[str, Any] = {"epochs": 2}
FALL: dict[str, Any] = {"epochs": 2, "step_epoch": 1}
SMALL: dict[str, Any] = {**FALL, "hidden_features": 512}

# Name of the case: method and parameters.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "sign": ("sign", {}),
    "sign centred": ("sign", {"center": True}),
    "rotation": ("rotation", {}),
    "lsh": ("lsh", {}),
    "lsh centred": ("lsh", {"center": True}),
    "pcah": ("pcah", {}),
    "sh": ("sh", {}),
    "itq": ("itq", {}),
    "neighbour-itq": ("neighbour-itq", {}),
    "sdc paper-no-contrastive": ("sdc", {"preset": "paper-no-contrastive", **FALL}),
    "sdc paper-instance": ("sdc", {"preset": "paper-instance", **FALL}),
    "sdc release": ("sdc", {"preset": "release", **FALL}),
    "sdc paper": ("sdc", {"preset": "paper", **SMALL}),
    "sdc release-simclr": ("sdc", {"preset": "release-simclr", **FALL}),
    "sdc two views": (
        "sdc",
        {"preset": "release", "contrastive_weight": 1.0, "clip_targets": True, "view_pairs": True, **FALL},
    ),
    "sdc centred, all pairs": ("sdc", {"preset": "release", "center": True, "pairs": "all", **FALL}),
    "sdc empirical": ("sdc", {"preset": "release", "calibration": "empirical", **FALL}),
    "sdc gaussian": ("sdc", {"preset": "release", "calibration": "truncated_gaussian(0, 0.3)", **FALL}),
    "neighbour-sdc": ("neighbour-sdc", FALL),
    "greedyhash": ("greedyhash", ONCE),
    "bihalf": ("bihalf", FALL),
    "ssdh": ("ssdh", ONCE),
    "tbh": ("tbh", {**ONCE, "batch_size": 100}),
    "tbh stochastic": ("tbh", {**ONCE, "batch_size": 100, "stochastic": True}),
    "cibhash": ("cibhash", ONCE),
    "nsh": ("nsh", ONCE),
    "wch": ("wch", ONCE),
    "crovca": ("crovca", ONCE),
    "matching cosine": ("matching", FALL),
    "matching standardised": ("matching", {"target": "standardised", "features": "centred", **FALL}),
    "matching mapped": ("matching", {"target": "mapped", "features": "whitened", **FALL}),
    "matching calibrated": ("matching", {"target": "calibrated", **FALL}),
    "matching rank": ("matching", {"target": "rank", **FALL}),
    "supervised-sdc order": ("supervised-sdc", FALL),
    "supervised-sdc target": ("supervised-sdc", {"labels": "target", **FALL}),
    "orthohash": ("orthohash", FALL),
    "logits": ("logits", FALL),
}


def small_data() -> FeatureSet:
    """Part of the packaged features: 320 training rows, 64 queries, a database of 2,000."""
    data = load_features("cifar10-embedded")
    return dataclasses.replace(
        data,
        query=data.query[:64],
        query_labels=data.query_labels[:64],
        database=data.database[:2000],
        database_labels=data.database_labels[:2000],
        train_index=data.train_index[:320],
        top_k=200,
    )


def fit_case(name: str, data: FeatureSet) -> NDArray[np.float32]:
    """Fit a case; continuous codes of the queries, shape (64, N_BITS)."""
    method, parameters = CASES[name]
    views = load_views(data.name)
    views = Views(views.features[:, : len(data.train)], views.sha256)
    tokens = np.random.default_rng(SEED).standard_normal((2, len(data.train), 9, 12), dtype=np.float32)
    spec = RunSpec(data.name, method, N_BITS, SEED, parameters)
    hasher = fit_hasher(spec, data, views=views, tokens=Views(tokens, ""), progress=False)
    return hasher.decision_function(data.query)


def read_golden() -> tuple[dict[str, NDArray[np.float32]], dict[str, Any]]:
    """Continuous codes by case; and ``made_by``, versions of libraries, with ``results_version`` by method,
    and ``views_version``."""
    if not GOLDEN.is_file():
        return {}, {"made_by": {}, "results_version": {}}
    with np.load(GOLDEN, allow_pickle=False) as file:
        arrays = dict(file)
    return arrays, json.loads(str(arrays.pop("versions")))


def difference(codes: NDArray[np.float32], golden: NDArray[np.float32], same_bits: bool) -> str:
    """What is wrong with codes, or an empty text; `same_bits` as `same_bits_expected` says."""
    if same_bits:
        return "" if np.array_equal(codes, golden) else "other bits than the golden codes"
    off = np.abs(codes - golden).max() / np.sqrt(np.mean(golden**2))
    agreeing = np.mean((codes >= 0) == (golden >= 0))
    return (
        ""
        if off <= 0.1 and agreeing >= 0.98
        else f"off by {off:.3f} of the golden codes' size, {agreeing:.1%} agree"
    )


def same_bits_expected(made_by: dict[str, str]) -> bool:
    """Whether this process must give the same bits as the file: kernels, processor and versions are as they were."""
    return (
        kernels_in_use() == "portable"
        and platform.machine() in {"x86_64", "AMD64"}
        and torch.backends.cpu.get_cpu_capability() == "AVX2"
        and made_by == _libraries()
    )


def _libraries() -> dict[str, str]:
    return {name: versions()[name] for name in PACKAGES}


def main(names: list[str]) -> None:
    """Fit the named cases and those that are missing; write the file unless a version is to be raised first."""
    (golden, about), data = read_golden(), small_data()
    for name, (method, _) in CASES.items():
        if name in golden and name not in names and method not in names:
            continue
        codes = fit_case(name, data)
        raised = METHODS[method].results_version > about["results_version"].get(method, 0)
        raised |= about.get("views_version", 0) < VIEWS_VERSION
        if name in golden and not raised and difference(codes, golden[name], same_bits=False):
            raise SystemExit(
                f"{name}: other codes than before, so raise results_version of {METHODS[method].__name__}"
            )
        golden[name] = codes
        print(name, codes.shape)
    about = {
        "made_by": _libraries(),
        "results_version": {method: METHODS[method].results_version for method, _ in CASES.values()},
        "views_version": VIEWS_VERSION,
    }
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer, versions=np.array(json.dumps(about)), **{name: golden[name] for name in CASES}
    )
    write_bytes(GOLDEN, buffer.getvalue())


if __name__ == "__main__":
    main(sys.argv[1:])
