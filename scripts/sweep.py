"""Run the sweep of a configuration, or take it up again where it was stopped; one sweep at a time.

    python scripts/sweep.py config/main.yaml [more.yaml ...] [--publish] [-- options of snakemake]

Records and tables go to results/local, or where SDC_RESULTS says: the runs, their histograms of pairs, and what else
the configuration wants to be measured of the codes. With --publish the tables go to results, beside a manifest that
says where they come from; that needs a checkout without changes that are not committed. With --resume the rows that
results has of these runs are kept and not run again, as on another machine whose records are gone, and what is recorded
is published although other runs are missing; with --resume and ``-- --dry-run`` nothing is run at all.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import io
import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sdclib.kernels import use_portable_kernels

use_portable_kernels()  # before anything loads NumPy or torch; the notebooks that are started inherit them
os.environ.setdefault("OMP_NUM_THREADS", "1")  # notebooks that run side by side share the cores

import pandas as pd

from sdclib.checks import check_name
from sdclib.files import write_bytes, write_json, write_text
from study.chapters.measures import (
    collect_classes,
    collect_curves,
    collect_draws,
    collect_neighbours,
    collect_queries,
    collect_unseen,
)
from study.claims import claims_of, decide, draws_text
from study.provenance import OWN_RESULTS, RESULTS, uncommitted, write_manifest
from study.runs import (
    RunSpec,
    collect_histograms,
    collect_records,
    expand_config,
    failed_runs,
    is_whole,
    measure_again,
    read_config,
    runs_folder,
    stale_rows,
)
from study.tables import method_label

SNAKEMAKE = [sys.executable, "-m", "snakemake"]
LEFT = Path(".snakemake")  # Snakemake's own records, in the working folder
DRY = {"-n", "--dry-run", "--dryrun"}
# Runs of a method that trains in one execution: starting is cheap then, and cores still share the runs.
BATCH = 4
# Further tables that a configuration may name under `measures`: TABLE_classes.csv and so on; or .parquet, with a row a
# query. Draws of queries are those of the claims that want them.
MEASURES = {
    "classes": collect_classes,
    "curves": collect_curves,
    "neighbours": collect_neighbours,
    "unseen": collect_unseen,
}
BY_QUERY = {"queries": collect_queries, "draws": collect_draws}


@contextmanager
def only_sweep(runs: Path) -> Iterator[int]:
    """Hold the lock of a folder of run records; wait while another sweep holds it.

    The system lets go of the lock when this process and those that were handed the lock's file (whose number is
    given) have ended in whatever way, so a killed sweep blocks nobody.
    """
    runs.mkdir(parents=True, exist_ok=True)
    with (runs / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"another sweep is at work on {runs}: waiting for it", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock.fileno()


def make_batches(specs: list[RunSpec]) -> dict[str, dict[str, Any]]:
    """Share runs among executions of the notebook: those of one method and data set together.

    Returns
    -------
    dict
        Parameters of ``notebooks/train.ipynb`` by a name that follows from the runs.
    """
    batches = {}
    groups = itertools.groupby(
        sorted(specs, key=lambda spec: (spec.data, spec.method)), key=lambda spec: (spec.data, spec.method)
    )
    for (data, method), group in groups:
        runs = list(group)
        trains = "batch_size" in runs[0].determinants()["parameters"]
        n_batches = -(-len(runs) // BATCH) if trains else 1
        for chosen in (runs[i::n_batches] for i in range(n_batches)):
            name = hashlib.sha256(" ".join(spec.id for spec in chosen).encode()).hexdigest()[:16]
            batches[name] = {
                "data": data,
                "method": method,
                "batch": [
                    {"n_bits": spec.n_bits, "seed": spec.seed, "parameters": dict(spec.parameters)}
                    for spec in chosen
                ],
            }
    return batches


def run_sweep(specs: list[RunSpec], options: list[str], lock: int) -> int:
    """Run what is not recorded yet by Snakemake; return its exit code. The caller holds the lock, and Snakemake too."""
    runs = runs_folder()
    missing = []
    for spec in specs:
        if not is_whole(runs / spec.id):
            missing.append(spec)
        elif not is_whole(runs / spec.id, measured=True):
            measure_again(spec, runs)
    if not missing:
        return 0
    batches = make_batches(missing)
    for name in batches:
        (runs / "batches" / f"{name}.done").unlink(missing_ok=True)  # its records are gone
    config = write_json(runs / "batches" / "sweep.json", {"runs": str(runs), "batches": batches})

    def snakemake(*more: str, quiet: bool = False) -> int:
        command = [*SNAKEMAKE, "--configfile", str(config), *more]
        return subprocess.run(command, capture_output=quiet, check=False, pass_fds=(lock,)).returncode

    # What is left in the working folder is a killed sweep's: a living one would hold `only_sweep`.
    if any(LEFT.glob("locks/*")):
        snakemake("--unlock", quiet=True)
    return snakemake("--quiet", "rules", *options)


def collect_tables(
    settings: dict[str, Any], specs: list[RunSpec], folder: Path, resume: bool = False
) -> pd.DataFrame:
    """Write the tables of a sweep from its records, give that of the runs; the caller holds the lock.

    With `resume` those of the runs that are recorded, beside the rows that the folder's tables have of others.
    """
    table, order = settings["table"], [spec.id for spec in specs]
    if resume:
        specs = [spec for spec in specs if is_whole(runs_folder() / spec.id, measured=True)]
    measures = set(settings.get("measures", ()))
    by_query: dict[str, Any] = {}
    for name in sorted(measures & BY_QUERY.keys()):
        chosen = specs
        if name == "draws" and "claims" in settings:
            claims = [claim for claim in settings["claims"] if claim.get("draws")]
            drawn = expand_config({**settings, "runs": [], "claims": claims})
            chosen = [spec for spec in drawn if spec in specs]
        path = folder / f"{table}_{name}.parquet"
        rows = BY_QUERY[name](chosen) if chosen else pd.DataFrame()
        if resume and path.is_file():
            rows = _beside(pd.read_parquet(path), rows, order)
        by_query[name] = rows
        # Values of queries all differ, so a dictionary of them would be longer.
        repeated: Any = [column for column in rows if column not in ("ap", "overlap")]
        _write(path, rows.to_parquet(index=False, compression="zstd", use_dictionary=repeated))
    if "claims" in settings and "queries" in by_query:
        words = decide(claims_of(settings), **by_query)
        words["by_draw"] = words["by_draw"].map(draws_text)
        _write(folder / f"{table}_words.csv", words.to_csv(index=False).encode())
    collect = {f"{table}_{name}": MEASURES[name] for name in sorted(measures & MEASURES.keys())}
    # The runs themselves come last: a row there says that all other tables have the run.
    collect |= {f"{table}_histograms": collect_histograms, table: collect_records}
    for name, of in collect.items():
        path = folder / f"{name}.csv"
        rows = pd.DataFrame() if resume and not specs else _as_text(of(specs).to_csv(index=False))
        if resume and path.is_file():
            rows = _beside(_as_text(path.read_text()), rows, order)
        _write(path, rows.to_csv(index=False).encode())
    return rows


def _as_text(csv: str) -> pd.DataFrame:
    """Read a table without touching what stands in it."""
    return pd.read_csv(io.StringIO(csv), dtype=str, keep_default_na=False)


def _beside(old: pd.DataFrame, new: pd.DataFrame, order: list[str]) -> pd.DataFrame:
    """Rows of the runs in `order`: the new ones, and old ones of other runs."""
    kept = old[old["id"].isin(order) & ~old["id"].isin(new.get("id", ()))]
    categories = old.select_dtypes("category").columns
    rows = pd.concat([kept, new], ignore_index=True)
    place = rows["id"].map({name: i for i, name in enumerate(order)})
    rows = rows.iloc[place.argsort(kind="stable")].reset_index(drop=True)
    return rows.astype(dict.fromkeys(categories, "category"))


def published_runs(table: str, specs: list[RunSpec], folder: Path) -> set[str]:
    """Ids of the runs that a folder's tables have as they would be made today."""
    path = folder / f"{table}.csv"
    if not path.is_file():
        return set()
    rows = pd.read_csv(path, dtype={"id": str})
    return set(rows["id"]) - set(stale_rows(rows, specs)["id"])


def _write(path: Path, data: bytes) -> None:
    for left in path.parent.glob(f".{path.name}.*.tmp"):  # what a killed sweep was just writing
        left.unlink(missing_ok=True)
    write_bytes(path, data)


def report_failures(specs: list[RunSpec], runs: Path) -> None:
    """Name the runs that have failed: settings, error, its file; printed, and with links in `failures.md`."""
    failures = failed_runs(specs, runs)
    lines = [f"{len(failures)} of {len(specs)} runs failed", ""]
    for spec, error, path in failures:
        label = method_label(spec.method, spec.parameters)
        lines.append(
            f"- [{spec.id}]({path.relative_to(runs)}): {label}, {spec.n_bits} bits, seed {spec.seed}, {spec.data};"
            f" {error}"
        )
    named = {spec.id for spec, _, _ in failures}
    others = [s.id for s in specs if s.id not in named and not (runs / s.id / "record.json").is_file()]
    if others:  # such as one that the system killed for its memory
        lines += ["", f"{len(others)} more have no record and no error of their own: killed, or not started"]
        lines += [f"- {name}" for name in others]
        lines += ["", "What notebooks printed is in [batches](batches)."]
    print("\n".join(["", *lines]))
    print(f"\nerrors in full: {write_text(runs / 'failures.md', chr(10).join(lines) + chr(10))}")


def sweep(config: Path, options: list[str], publish: bool, resume: bool = False) -> int:
    """Run a configuration and collect its tables; return what the exit code is to be."""
    folder = RESULTS if publish else OWN_RESULTS
    try:
        settings, specs = read_config(config)
        for name in settings.get("measures", ()):
            check_name(name, f"{config}: measures", MEASURES | BY_QUERY)
    except ValueError as error:
        print(error, flush=True)
        return 1
    try:
        _ = [spec.id for spec in specs]  # finds out whether all data are here
    except (OSError, ValueError, ImportError) as error:
        print(f"{config}: cannot run: {error}", flush=True)
        return 1
    try:
        with only_sweep(runs_folder()) as lock:
            known = published_runs(settings["table"], specs, folder) if resume else set()
            code = run_sweep([spec for spec in specs if spec.id not in known], options, lock)
            if resume or not (code or DRY.intersection(options)):
                rows = collect_tables(settings, specs, folder, resume)
                path = folder / f"{settings['table']}.csv"
                old = rows["id"].nunique() - len(published_runs(settings["table"], specs, folder))
                note = f", {old} of them measured by an older evaluation" if old else ""
                print(f"{path}: {len(rows)} of {len(specs)} runs{note}", flush=True)
                if publish:
                    write_manifest()
        if code:
            report_failures(specs, runs_folder())
    except (OSError, ValueError) as error:
        print(f"{config}: stopped, older tables in {folder} are kept: {error}", flush=True)
        return 1
    return code


def split_options(words: list[str]) -> tuple[list[str], list[str]]:
    """Cut a command line at the first ``--``, behind which are options of snakemake."""
    end = words.index("--") if "--" in words else len(words)
    return words[:end], words[end + 1 :]


def main() -> None:
    """Parse the command line and run; the exit code is not 0 if a run failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("configs", nargs="+", type=Path)
    parser.add_argument("--publish", action="store_true", help="write the tables to results, with a manifest")
    parser.add_argument(
        "--resume", action="store_true", help="keep the rows that tables have, publish what is there"
    )
    words, after = split_options(sys.argv[1:])
    arguments, options = parser.parse_known_args(words)
    if arguments.publish and (changed := uncommitted()):
        sys.exit(
            f"--publish: expected a checkout with all changes committed, got changes in {', '.join(changed)}"
        )
    options += after
    publish, resume = arguments.publish, arguments.resume
    sys.exit(max(sweep(config, options, publish, resume) for config in arguments.configs))


if __name__ == "__main__":
    main()
