"""Write how well the teacher of SDC by neighbours ranks training rows, by its numbers of neighbours and steps.

    SDC_DATA=FOLDER python scripts/teacher_quality.py

writes results/teacher.csv: one row a feature set, number of neighbours and number of steps; a minute a set on one core.
"""

from __future__ import annotations

import argparse
import json

import pandas as pd

from sdclib import load_features
from sdclib.files import write_text
from study.chapters.measures import teacher_quality
from study.provenance import RESULTS, git_commit, machine

SETS = (
    "cifar10/efficientnet-lite0",
    "caltech101/efficientnet-lite0",
    "corel5k/efficientnet-lite0",
    "coil20/efficientnet-lite0",
    "cifar10-embedded",
)


def main() -> None:
    """Measure every set, write the table, print its path."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0, help="draws the rows that are ranked")
    seed = parser.parse_args().seed
    tables = []
    for name in SETS:
        features = load_features(name)
        table = teacher_quality(features, seed=seed)
        table.insert(0, "data", name)
        tables.append(table.assign(seed=seed, data_sha256=features.sha256))
    whole = pd.concat(tables, ignore_index=True).assign(commit=git_commit(), machine=json.dumps(machine()))
    print(write_text(RESULTS / "teacher.csv", whole.to_csv(index=False)))


if __name__ == "__main__":
    main()
