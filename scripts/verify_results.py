"""Check committed tables: which rows are stale, and whether a random handful comes out again.

python scripts/verify_results.py config/main.yaml [--rows 4] [--seed 0]

A row is stale if its data or settings, or one of the numbers `results_version` and `EVALUATION_VERSION`, have changed
since. A row comes out again if every
mAP and the intersection are within a tolerance: 0.005 for methods that do not train (rounding may flip a bit on another
processor), 0.03 for methods that do (training amplifies rounding; seeds alone move mAP by about 0.01).
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
import yaml

from study.provenance import RESULTS, machine, write_manifest
from study.runs import RunSpec, expand_config, run_experiment, stale_rows

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


def main() -> None:
    """Parse the command line and check; the exit code is 1 if a row is stale, missing or does not come out again."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("configs", nargs="+", type=Path)
    parser.add_argument("--rows", type=int, default=4, help="rows a table to run again")
    parser.add_argument("--seed", type=int, default=None, help="of the choice of rows; random by default")
    arguments = parser.parse_args()
    bad, verified = 0, {}
    for config in arguments.configs:
        settings = yaml.safe_load(config.read_text(encoding="utf-8"))
        try:
            specs = {spec.id: spec for spec in expand_config(settings)}
        except (OSError, ValueError, ImportError) as error:
            print(f"{settings['table']}: not checked, as data are missing: {error}")
            continue
        path = RESULTS / f"{settings['table']}.csv"
        if not path.is_file():
            print(f"{settings['table']}: no table yet, nothing to check; make sweep CONFIG={config} makes it")
            continue
        table = pd.read_csv(path, dtype={"id": str})
        stale = stale_rows(table, specs.values())
        missing = [spec for key, spec in specs.items() if key not in set(table["id"])]
        for row in stale.to_dict("records"):
            print(
                f"stale: {row['id']} {row['method']} {row['n_bits']} seed {row['seed']} {row['parameters']}"
            )
        print(
            f"{settings['table']}: {len(table)} rows, {len(stale)} stale, {len(missing)} runs without a row"
        )
        bad += len(stale) + len(missing)
        fresh = table[~table["id"].isin(stale["id"])].set_index("id")
        chosen = random.Random(arguments.seed).sample(sorted(fresh.index), min(arguments.rows, len(fresh)))
        for key in chosen:
            spec = specs[key]
            wrong = compare(spec, fresh.loc[key])
            print(
                f"{'differs' if wrong else 'comes out again'}: {key} {spec.method} {spec.n_bits} seed {spec.seed}"
            )
            for line in wrong:
                print(f"  {line}")
            bad += bool(wrong)
            verified[key] = "differs" if wrong else "comes out again"
    if verified:
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        print(write_manifest({"date": today, "machine": machine(), "rows": verified}))
    sys.exit(int(bad > 0))


if __name__ == "__main__":
    main()
