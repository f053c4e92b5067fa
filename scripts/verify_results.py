"""Check committed tables: which rows are stale, and whether a random part of them comes out again.

python scripts/verify_results.py config/main.yaml [--seed 0]

A row is stale if its data or settings, or one of the numbers `results_version` and `EVALUATION_VERSION`, have changed
since. Of the others a tenth of those that were fitted in ten seconds, and one in fifty of those that took longer, are
run again, at least one of each of a table. A row comes out again if every mAP and the intersection are within a
tolerance. Training amplifies rounding as it does seeds, so it is three standard deviations of the difference of two
runs: by the seeds of the row's own settings, or the median over all settings of its method, whichever is more. It is
at least 0.005, as rounding may flip a bit on another processor. As many tables are checked side by side as there are
cores.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import itertools
import math
import multiprocessing
import os
import random
import sys
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from sdclib.kernels import use_portable_kernels

use_portable_kernels()  # before NumPy is loaded

import numpy as np
import pandas as pd

from study.provenance import RESULTS, machine, write_manifest
from study.runs import RunSpec, read_config, run_experiment, stale_rows
from study.tables import published

METRICS = ("map_authors", "map_expected", "map_optimistic", "map_pessimistic", "intersection")
LEAST = 0.005
CHEAP_SECONDS = 10.0
SHARES = {True: 0.1, False: 0.02}  # of the rows to run again, by whether they are cheap


@functools.cache
def all_tables() -> pd.DataFrame:
    """Read the runs of all published tables, each once."""
    return published().drop_duplicates("id")


def tolerance(every: pd.DataFrame, row: Mapping[Any, Any], metric: str) -> float:
    """Give three standard deviations of the difference of two runs like a row by all tables, but at least `LEAST`."""
    settings = ["data", "n_bits", "parameters"]
    deviations = every[every["method"] == row["method"]].groupby(settings)[metric].std()
    own = deviations.get(tuple(row[name] for name in settings), 0.0)
    return max(LEAST, 3 * math.sqrt(2) * float(np.nanmax([own, deviations.median(), 0.0])))


def choose(table: pd.DataFrame, rng: random.Random) -> list[str]:
    """Choose the ids of rows to run again: shares of the cheap ones and of the others, one of each at least."""
    chosen = []
    for cheap, rows in table.groupby(table["fit_seconds"] <= CHEAP_SECONDS):
        ids = sorted(rows["id"])
        chosen += rng.sample(ids, max(1, round(SHARES[bool(cheap)] * len(ids))))
    return chosen


def compare(spec: RunSpec, row: Mapping[Any, Any], every: pd.DataFrame) -> tuple[float, list[str]]:
    """Run again; return by how many points expected mAP moves, and name the metrics that are out of tolerance."""
    now = run_experiment(spec, progress=False).metrics
    wrong = [
        f"{name}: {row[name]:.4f} in the table, {now[name]:.4f} now"
        for name in METRICS
        if abs(row[name] - now[name]) > tolerance(every, row, name)
    ]
    return 100 * (now["map_expected"] - row["map_expected"]), wrong


def verify(config: Path, seed: int | None) -> tuple[int, dict[str, Any]]:
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
    fresh = table[~table["id"].isin(stale["id"])].drop_duplicates("id")
    every = all_tables()
    verified: dict[str, Any] = {}
    for key in choose(fresh, random.Random(seed)):
        spec = specs[key]
        (row,) = fresh[fresh["id"] == key].to_dict("records")
        moved, wrong = compare(spec, row, every)
        verified[key] = {"comes_out_again": not wrong, "points_moved": round(moved, 3)}
        outcome = "differs" if wrong else "comes out again"
        line = f"{name}: {key} {spec.method} {spec.n_bits} seed {spec.seed} {outcome}, mAP moves by {moved:.2f} points"
        print("\n  ".join([line, *wrong]), flush=True)
    return len(stale) + n_missing, verified


def main() -> None:
    """Parse the command line and check; the exit code is 1 if a row is stale, missing or does not come out again."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("configs", nargs="+", type=Path)
    parser.add_argument("--seed", type=int, default=None, help="of the choice of rows; random by default")
    arguments = parser.parse_args()
    bad = 0
    verified: dict[str, Any] = {}
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        for n_bad, found in pool.map(verify, arguments.configs, itertools.repeat(arguments.seed)):
            bad, verified = bad + n_bad, verified | found
    if verified:
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        print(write_manifest({"date": today, "machine": machine(), "rows": verified}))
    sys.exit(bool(bad) or not all(row["comes_out_again"] for row in verified.values()))


if __name__ == "__main__":
    main()
