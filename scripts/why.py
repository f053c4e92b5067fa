"""Train variants of SDC on the packaged features and write what each part of it does: for the chapter `why`.

    python scripts/why.py [--data cifar10-embedded cifar10-embedded+holdout] [--seeds 0 1 2]

writes results/why.csv, one row a data set, variant and seed, and results/why_epochs.csv, one row an epoch of two of
them. Every training ends in a row at once, and trainings whose rows are there, made by the same versions from the
same data, are not run again; ten minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import pandas as pd

from sdclib import load_features
from sdclib.data.features import FeatureSet
from sdclib.data.vectors import read_csv
from sdclib.evaluation import EVALUATION_VERSION
from sdclib.files import write_text
from sdclib.progress import tqdm
from study.provenance import RESULTS, git_commit, machine, versions
from study.variants import EpochsHasher, measure

DATA = ("cifar10-embedded",)
TEXT: dict[str, type] = {"variant": str, "data_sha256": str}  # also where all of a column is digits
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
KEY = ["data", "study", "variant", "seed"]
VERSIONS = {"results_version": EpochsHasher.results_version, "evaluation_version": EVALUATION_VERSION}


def run(
    data: FeatureSet, changed: dict[str, Any], n_bits: int, seed: int
) -> tuple[dict[str, Any], pd.DataFrame]:
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
    return row, pd.DataFrame(epochs)


def read(path: Path, data_sha256: dict[str, str]) -> pd.DataFrame:
    """Rows of a table that these versions made from this data; none where there is no table."""
    if not path.is_file():
        return pd.DataFrame(columns=[*KEY, *VERSIONS, "data_sha256"])
    table = read_csv(path, dtype=TEXT)
    stale = table["data"].map(data_sha256).fillna(table["data_sha256"]) != table["data_sha256"]
    return table[(table[list(VERSIONS)] == list(VERSIONS.values())).all(axis=1) & ~stale]


def write(path: Path, table: pd.DataFrame) -> None:
    """Write a table in the order of data sets, seeds and variants."""
    places = {(study, variant): i for i, (study, variant, _) in enumerate(VARIANTS)}
    place = table[["study", "variant"]].apply(lambda row: places.get(tuple(row), len(places)), axis=1)
    ordered = table.assign(place=place).sort_values(["data", "seed", "place"], kind="stable")
    columns = [*KEY, *(column for column in table if column not in KEY)]
    write_text(path, ordered[columns].to_csv(index=False))


def main() -> None:
    """Train all that is missing, write both tables after every training, print their paths."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", default=list(DATA))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--n-bits", type=int, default=64)
    arguments = parser.parse_args()
    paths = RESULTS / "why.csv", RESULTS / "why_epochs.csv"
    made_by = {
        "commit": git_commit(),
        **VERSIONS,
        "versions": json.dumps(versions(), sort_keys=True),
        "machine": json.dumps(machine(), sort_keys=True),
    }
    sets = {name: load_features(name) for name in arguments.data}
    data_sha256 = {name: data.sha256[:16] for name, data in sets.items()}
    runs, epochs = (read(path, data_sha256) for path in paths)
    done = set(runs[KEY].itertuples(index=False, name=None))
    jobs = [
        (name, seed, study, variant, changed)
        for name in sets
        for seed in arguments.seeds
        for study, variant, changed in VARIANTS
        if (name, study, variant, seed) not in done
    ]
    for name, seed, study, variant, changed in tqdm(jobs, unit="training"):
        row, by_epoch = run(sets[name], changed, arguments.n_bits, seed)
        key: dict[str, Any] = dict(zip(KEY, (name, study, variant, seed), strict=True))
        source: dict[str, Any] = {"data_sha256": data_sha256[name], **made_by}
        runs = pd.concat([runs, pd.DataFrame([key | row | source])], ignore_index=True)
        if len(by_epoch):
            epochs = pd.concat([epochs, by_epoch.assign(**key, **source)], ignore_index=True)
            write(paths[1], epochs.drop_duplicates([*KEY, "epoch", "averaged"], keep="last"))
        write(paths[0], runs)
    print(*paths, sep="\n")


if __name__ == "__main__":
    main()
