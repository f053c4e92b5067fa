"""Kill a sweep of 24 runs three times with SIGKILL, take it up each time with the same command, compare the tables.

python -m benchmarks.check_resume [--kills 3] [--seed 0]

Prints what was found and ends with exit code 1 if the table differs from that of an undisturbed sweep in any row, or
if a run that was finished before a kill was run again. It works in a temporary folder and touches no results.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from study.provenance import PROJECT_ROOT

CONFIG = """\
table: resumed
data: cifar10-embedded
n_bits: [8, 16, 32, 64]
seeds: [0, 1, 2]
runs:
  - {method: lsh}
  - {method: itq, parameters: {n_iterations: 500}}
"""
MEASURED = ["id", "data", "method", "n_bits", "seed", "parameters", "top_k", "results_version", "data_sha256"]


def start(config: Path, results: Path, *options: str, folder: Path = PROJECT_ROOT) -> subprocess.Popen:
    """Start the sweep in a process group of its own; Snakemake's records go into `folder`, see `working_folder`."""
    return subprocess.Popen(
        [sys.executable, str(PROJECT_ROOT / "scripts/sweep.py"), str(config), *options],
        cwd=folder,
        env={**os.environ, "SDC_RESULTS": str(results)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def working_folder(folder: Path) -> Path:
    """Make a folder that sweeps can be started from, apart from those of the checkout."""
    folder.mkdir(parents=True)
    for name in ("notebooks", "workflow"):
        (folder / name).symlink_to(PROJECT_ROOT / name)
    return folder


def finished(results: Path) -> dict[str, int]:
    """Time of writing of every whole record, in nanoseconds."""
    return {path.parent.name: path.stat().st_mtime_ns for path in results.glob("runs/*/record.json")}


def measured(table: pd.DataFrame) -> pd.DataFrame:
    """Columns of a table of runs that are the same whenever a run is done: no times, commit or machine."""
    metrics = [
        name for name in table if name.startswith(("map_", "intersection", "overlap", "bit_", "unique"))
    ]
    return table[MEASURED + metrics]


def sweep(folder: Path, name: str, moments: Sequence[float]) -> tuple[pd.DataFrame, int]:
    """Run one sweep, killed after each of `moments` in seconds; give its table, and how many runs were run twice."""
    results, work = folder / name, working_folder(folder / f"{name}-work")
    config = folder / f"{name}.yaml"
    config.write_text(CONFIG)
    repeated = 0
    before: dict[str, int] = {}
    for moment in moments:
        process = start(config, results, folder=work)
        time.sleep(moment)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        repeated += sum(finished(results).get(key) != value for key, value in before.items())
        before = finished(results)
        print(f"{name}: killed with {len(before)} runs finished", flush=True)
    begun = time.perf_counter()
    code = start(config, results, folder=work).wait()
    print(f"{name}: last call took {time.perf_counter() - begun:.0f} s, exit code {code}", flush=True)
    repeated += sum(finished(results).get(key) != value for key, value in before.items())
    return pd.read_csv(results / "resumed.csv", dtype={"id": str}), repeated


def main() -> None:
    """Run both sweeps and compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=None, help="of the moments; random by default")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="check-resume-"))
    rng = random.Random(arguments.seed)
    try:
        begun = time.perf_counter()
        undisturbed, _ = sweep(folder, "undisturbed", [])
        whole = time.perf_counter() - begun
        moments = [rng.uniform(0.4, 0.9) * whole for _ in range(arguments.kills)]
        killed, repeated = sweep(folder, "killed", moments)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    same = measured(undisturbed).equals(measured(killed))
    print(
        f"{len(undisturbed)} and {len(killed)} rows, equal row for row: {same}; finished runs run again: {repeated}"
    )
    sys.exit(0 if same and repeated == 0 else 1)


if __name__ == "__main__":
    main()
