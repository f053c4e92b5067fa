"""Check committed tables: which rows are stale, and whether a random handful comes out again.

python scripts/verify_results.py config/main.yaml [--rows 4] [--seed 0]

A row is stale if its data or settings, or one of the numbers `results_version` and `EVALUATION_VERSION`, have changed
since. A row comes out again if every mAP and the intersection are within a tolerance: 0.005 for methods that do not
train (rounding may flip a bit on another processor), 0.03 for methods that do (training amplifies rounding; seeds alone
move mAP by about 0.01).
"""

from __future__ import annotations

import argparse
import datetime
import random
import sys
from pathlib import Path

from sdclib.kernels import use_portable_kernels

use_portable_kernels()  # before NumPy is loaded

import pandas as pd

from study.provenance import RESULTS, machine, write_manifest
from study.runs import RunSpec, read_config, run_experiment, stale_rows

METRICS = ("map_authors", "map_expected", "map_optimistic", "map_pessimistic", "intersection")
TOLERANCE = {True: 0.03, False: 0.005}  # by whether the method trains


def compare(spec: RunSpec, row: pd.Series) -> list[str]:
    """Run again and name the metrics that are out of tolerance."""
    experiment = run_experiment(spec, progress=False)
    tolerance = TOLERANCE[experiment.history is not None]
    return [
        f"{name}: {row[name]:.4f} in the table, {experiment.metrics[name]:.4f} now"
        for name in METRICS
        if abs(row[name] - experiment.metrics[name]) > tolerance
    ]


def verify(config: Path, n_rows: int, seed: int | None) -> tuple[int, dict[str, str]]:
    """Check a configuration's table; return how many rows are stale or missing, and what came of those run again."""
    try:
        settings, runs = read_config(config)
    except ValueError as error:
        print(error)
        return 1, {}
    name = settings["table"]
    try:
        specs = {spec.id: spec for spec in runs}
    except (OSError, ValueError, ImportError) as error:
        print(f"{name}: not checked, as data are missing: {error}")
        return 0, {}
    path = RESULTS / f"{name}.csv"
    if not path.is_file():
        print(f"{name}: no table yet, nothing to check; make sweep CONFIG={config} makes it")
        return 0, {}
    table = pd.read_csv(path, dtype={"id": str})
    stale = stale_rows(table, specs.values())
    for row in stale.to_dict("records"):
        print(f"stale: {row['id']} {row['method']} {row['n_bits']} seed {row['seed']} {row['parameters']}")
    n_missing = len(set(specs) - set(table["id"]))
    print(f"{name}: {len(table)} rows, {len(stale)} stale, {n_missing} runs without a row")
    fresh = table[~table["id"].isin(stale["id"])].drop_duplicates("id").set_index("id")
    verified: dict[str, str] = {}
    for key in random.Random(seed).sample(sorted(fresh.index), min(n_rows, len(fresh))):
        spec = specs[key]
        wrong = compare(spec, fresh.loc[key])
        verified[key] = "differs" if wrong else "comes out again"
        print("\n  ".join([f"{verified[key]}: {key} {spec.method} {spec.n_bits} seed {spec.seed}", *wrong]))
    return len(stale) + n_missing, verified


def main() -> None:
    """Parse the command line and check; the exit code is 1 if a row is stale, missing or does not come out again."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("configs", nargs="+", type=Path)
    parser.add_argument("--rows", type=int, default=4, help="rows a table to run again")
    parser.add_argument("--seed", type=int, default=None, help="of the choice of rows; random by default")
    arguments = parser.parse_args()
    bad = 0
    verified: dict[str, str] = {}
    for config in arguments.configs:
        n_bad, found = verify(config, arguments.rows, arguments.seed)
        bad, verified = bad + n_bad, verified | found
    if verified:
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        print(write_manifest({"date": today, "machine": machine(), "rows": verified}))
    sys.exit(bool(bad or "differs" in verified.values()))


if __name__ == "__main__":
    main()
