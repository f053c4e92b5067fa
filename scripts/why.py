"""Train variants of SDC on the packaged features and write what each part of it does: for the chapter `why`.

    python scripts/why.py [--data cifar10-embedded cifar10-embedded+holdout] [--seeds 0 1 2]

writes results/why.csv, one row a data set, variant and seed, and results/why_epochs.csv, one row an epoch of two of
them, in place of what is there; ten minutes a data set on one core.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from typing import Any

import pandas as pd

from sdclib import load_features
from sdclib.data.features import FeatureSet
from sdclib.evaluation import EVALUATION_VERSION
from sdclib.files import write_text
from sdclib.progress import tqdm
from study.provenance import RESULTS, git_commit, machine, versions
from study.variants import EpochsHasher, measure

DATA = ("cifar10-embedded",)
SETTINGS: dict[str, Any] = {"preset": "release", "center": True, "batch_size": 256, "learning_rate": 4e-4}
# Of a training; when its rate falls; epochs that are measured before and after that.
EPOCHS, FALL, WINDOW = 100, 80, 20
# What is changed: study, variant, and settings of SDC; all else is that of the base.
VARIANTS: list[tuple[str, str, dict[str, Any]]] = [
    ("base", "base", {"keep_from": FALL - WINDOW + 1}),
    *(("end of the head", norm, {"norm": norm}) for norm in ("plain", "fixed", "none")),
    *(("quantiles", str(n), {"n_quantiles": n}) for n in (1, 2, 4, 8, 32)),
    ("rate", "kept", {"step_epoch": EPOCHS, "keep_from": FALL + 1}),
    *(
        (
            "teacher and head",
            f"{teacher}, {head}",
            {"order_features": teacher, "center": head == "centred", "whiten": head == "whitened"},
        )
        for teacher, head in (
            ("raw", "raw"),
            ("centred", "raw"),
            ("raw", "centred"),
            ("whitened", "centred"),
            ("centred", "whitened"),
            ("whitened", "whitened"),
        )
    ),
]
VERSIONS = {"results_version": EpochsHasher.results_version, "evaluation_version": EVALUATION_VERSION}


def run(
    data: FeatureSet, changed: dict[str, Any], n_bits: int, seed: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Train a variant; give what is measured of it, and expected mAP after the epochs that it keeps."""
    start = time.perf_counter()
    hasher = EpochsHasher(n_bits, **{**SETTINGS, "random_state": seed, **changed}).fit(data.train)
    seconds = time.perf_counter() - start
    row: dict[str, Any] = {"n_bits": n_bits, "top_k": data.top_k}
    row |= measure(hasher.transform(data.query), hasher.transform(data.database), data) | {
        "fit_seconds": seconds
    }
    wanted = [(epoch, 1) for epoch in hasher.kept_]
    wanted += [(epoch, WINDOW) for epoch in (FALL, EPOCHS) if epoch - WINDOW + 1 in hasher.kept_]
    epochs = []
    for epoch, averaged in wanted:
        then = hasher.after(epoch, data.train, averaged)
        value = measure(then.transform(data.query), then.transform(data.database), data)["map_expected"]
        epochs.append({"epoch": epoch, "averaged": averaged, "map_expected": value})
    return row, epochs


def main() -> None:
    """Train all variants, write both tables, print their paths."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", default=list(DATA))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--n-bits", type=int, default=64)
    arguments = parser.parse_args()
    made_by = {
        "commit": git_commit(),
        "versions": json.dumps(versions(), sort_keys=True),
        "machine": json.dumps(machine(), sort_keys=True),
    }
    jobs = list(itertools.product(arguments.data, arguments.seeds, VARIANTS))
    rows, epochs = [], []
    for name, seed, (study, variant, changed) in tqdm(jobs, unit="training"):
        data = load_features(name)
        row, by_epoch = run(data, changed, arguments.n_bits, seed)
        key: dict[str, Any] = {"data": name, "study": study, "variant": variant, "seed": seed, **VERSIONS}
        source = {"data_sha256": data.sha256[:16], **made_by}
        rows.append(key | row | source)
        epochs += [key | then | source for then in by_epoch]
    for name, table in (("why.csv", rows), ("why_epochs.csv", epochs)):
        print(write_text(RESULTS / name, pd.DataFrame(table).to_csv(index=False)))


if __name__ == "__main__":
    main()
