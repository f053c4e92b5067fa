"""Run the main job, the tests and the notebooks with the kernels that other processors would choose.

python -m benchmarks.check_processors [--only tests ...] [--kernels "without AVX2, 1 thread" ...]

Prints each outcome and how far mAP moved from the first combination by method, adds both to
results/local/check_processors.json, and ends with exit code 1 if anything failed. When nothing did, that file becomes
results/check_processors.json; not before, since a chapter among the notebooks shows it. An hour on two cores; it works
in temporary folders.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

from benchmarks.harness import arguments_of
from sdclib.files import read_json, write_json
from sdclib.kernels import NATIVE, PORTABLE
from study.provenance import OWN_RESULTS, PROJECT_ROOT, RESULTS, git_commit, machine
from study.tables import read_results

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
OLD = {"ATEN_CPU_CAPABILITY": "default", "OPENBLAS_CORETYPE": "Nehalem", "MKL_CBWR": "COMPATIBLE"}
AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "OPENBLAS_CORETYPE": "Haswell", "MKL_CBWR": "AVX2"}
COMBINATIONS: dict[str, dict[str, str]] = {
    "portable, 1 thread": {},
    "this processor's own, 1 thread": {"SDC_KERNELS": NATIVE, **dict.fromkeys(THREADS, "1")},
    "this processor's own, 2 threads": {"SDC_KERNELS": NATIVE, **dict.fromkeys(THREADS, "2")},
    "without AVX2, 1 thread": {"SDC_KERNELS": NATIVE, **OLD, **dict.fromkeys(THREADS, "1")},
    "MKL's for AVX2, 2 threads": {"SDC_KERNELS": NATIVE, **AVX2, **dict.fromkeys(THREADS, "2")},
}
WORKERS = ["--numprocesses", "auto", "--maxprocesses", "4", "--dist", "loadscope", "--quiet"]
COMMANDS = {
    "main job": ["scripts/sweep.py", "config/study.yaml"],
    "tests": ["-m", "pytest", *WORKERS],
    "notebooks": ["-m", "pytest", *WORKERS, "--nbval", "notebooks"],
}


def run(command: list[str], variables: dict[str, str], results: Path) -> dict[str, object]:
    """Run one command; give its exit code, seconds and last line."""
    inherited = {name: value for name, value in os.environ.items() if name not in {*PORTABLE, "SDC_KERNELS"}}
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *command],
        cwd=PROJECT_ROOT,
        env={**inherited, **variables, "SDC_RESULTS": str(results)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        print(done.stdout[-5000:])
    last = done.stdout.strip().splitlines()[-1:] or [""]
    return {
        "exit_code": done.returncode,
        "seconds": round(time.perf_counter() - start),
        "last_line": last[0].strip("= "),
    }


def differences(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Greatest difference of mAP from the first table's in points, and share of equal codes, by method and bits."""
    first, *others = tables
    reference = tables[first].set_index("id")
    rows = []
    for name in others:
        table = tables[name].set_index("id").loc[reference.index]
        moved = 100 * (table["map_expected"] - reference["map_expected"]).abs()
        equal = table["codes_sha256"].fillna("") == reference["codes_sha256"].fillna("")
        for (config, n_bits), group in reference.groupby(["config", "n_bits"], sort=False, dropna=False):
            rows.append(
                {
                    "kernels": name,
                    "method": str(config),
                    "n_bits": None if pd.isna(n_bits) else int(n_bits),
                    "runs": len(group),
                    "same_codes": int(equal[group.index].sum()) if not pd.isna(n_bits) else None,
                    "moved": round(float(moved[group.index].max()), 4),
                }
            )
    return pd.DataFrame(rows)


def main() -> None:
    parser = arguments_of(__doc__)
    parser.add_argument("--only", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--kernels", nargs="+", choices=COMBINATIONS, default=list(COMBINATIONS))
    arguments = parser.parse_args()
    work, published = (folder / "check_processors.json" for folder in (OWN_RESULTS, RESULTS))
    report = read_json(work if work.is_file() else published)
    outcomes = {(found["kernels"], found["what"]): found for found in report["outcomes"]}
    tables = {}

    def write(**more: object) -> None:
        found = {"machine": machine(), "variables": COMBINATIONS, "outcomes": list(outcomes.values())}
        report.update(found | more)
        write_json(work, report)

    for name in arguments.kernels:
        with tempfile.TemporaryDirectory(prefix="check-processors-") as folder:
            for what in arguments.only:
                found = run(COMMANDS[what], COMBINATIONS[name], Path(folder))
                outcomes[name, what] = {"kernels": name, "what": what, "commit": git_commit(), **found}
                print(*outcomes[name, what].values(), sep=" | ", flush=True)
                write()
            if (Path(folder) / "study.csv").is_file():
                tables[name] = read_results(Path(folder) / "study.csv")
    if len(tables) > 1:
        moved = differences(tables)
        print(moved.to_string(index=False))
        write(differences=json.loads(moved.to_json(orient="records")))
    if failed := [key for key, outcome in outcomes.items() if outcome["exit_code"]]:
        sys.exit(f"failed: {failed}")
    write_json(published, report)
    work.unlink()


if __name__ == "__main__":
    main()
