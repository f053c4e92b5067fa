"""Run the sweep of a configuration, or take it up again where it was stopped; one sweep at a time.

python scripts/sweep.py config/main.yaml [more.yaml ...] [-- options of snakemake]
"""

from __future__ import annotations

import argparse
import fcntl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from sdclib.experiment import RunSpec, expand_config
from sdclib.files import write_text
from sdclib.provenance import RESULTS
from sdclib.records import collect_histograms, collect_records, failed_runs, read_record, runs_folder
from sdclib.tables import method_label

SNAKEMAKE = [sys.executable, "-m", "snakemake"]
LEFT = Path(".snakemake")  # Snakemake's own records, in the working folder
DRY = {"-n", "--dry-run", "--dryrun"}


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


def run_folder(spec: RunSpec) -> Path:
    """Folder of a run's record."""
    return runs_folder() / spec.id


def is_whole(folder: Path) -> bool:
    """Whether a record is there and undamaged."""
    try:
        read_record(folder)
    except (OSError, ValueError):
        return False
    return True


def run_sweep(config: Path, specs: list[RunSpec], options: list[str], lock: int) -> int:
    """Run one configuration by Snakemake; return its exit code. The caller holds the lock, and Snakemake with it."""

    def snakemake(*more: str, quiet: bool = False) -> int:
        command = [*SNAKEMAKE, "--configfile", str(config), *more]
        return subprocess.run(command, capture_output=quiet, check=False, pass_fds=(lock,)).returncode

    # What is left in the working folder is a killed sweep's: a living one would hold `only_sweep`.
    if any(LEFT.glob("locks/*")):
        snakemake("--unlock", quiet=True)
    if any(LEFT.glob("incomplete/*")):
        # A run that had written its record whole when its process was killed is not to run again.
        whole = [str(folder / "record.json") for folder in map(run_folder, specs) if is_whole(folder)]
        snakemake("--cleanup-metadata", *whole, quiet=True)
    return snakemake("--quiet", "rules", *options)


def collect_tables(table: str, specs: list[RunSpec]) -> None:
    """Write the tables of a sweep from its records; the caller holds the lock."""
    tables = {table: collect_records(specs), f"{table}_histograms": collect_histograms(specs)}
    for name, rows in tables.items():
        for path in RESULTS.glob(f".{name}.csv.*.tmp"):  # what a killed sweep was just writing
            path.unlink(missing_ok=True)
        write_text(RESULTS / f"{name}.csv", rows.to_csv(index=False))


def report_failures(specs: list[RunSpec], runs: Path) -> None:
    """Name the runs that have failed: settings, error, executed notebook; printed, and with links in `failures.md`."""
    failures = failed_runs(specs, runs)
    lines = [f"{len(failures)} of {len(specs)} runs failed", ""]
    for spec, error, notebook in failures:
        label = method_label(spec.method, spec.parameters)
        lines.append(
            f"- [{spec.id}]({notebook.relative_to(runs)}): {label}, {spec.n_bits} bits, seed {spec.seed}, {spec.data};"
            f" {error}"
        )
    named = {spec.id for spec, _, _ in failures}
    others = [s.id for s in specs if s.id not in named and not (runs / s.id / "record.json").is_file()]
    if others:  # such as one that the system killed for its memory
        lines += ["", f"{len(others)} more have no record and no error of their own: killed, or not started"]
        lines += [f"- [{name}]({name}/train.log)" for name in others]
    print("\n".join(["", *lines]))
    print(f"\nnotebooks with their errors: {write_text(runs / 'failures.md', chr(10).join(lines) + chr(10))}")


def main() -> None:
    """Parse the command line and run; the exit code is not 0 if a run failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("configs", nargs="+", type=Path)
    arguments, options = parser.parse_known_args()
    options = [option for option in options if option != "--"]
    worst = 0
    for config in arguments.configs:
        settings = yaml.safe_load(config.read_text(encoding="utf-8"))
        table, specs = settings["table"], expand_config(settings)
        try:
            _ = [spec.id for spec in specs]  # finds out whether all data are here
        except (OSError, ValueError, ImportError) as error:
            print(f"{config}: cannot run, as data are missing: {error}", flush=True)
            worst = max(worst, 1)
            continue
        try:
            with only_sweep(runs_folder()) as lock:
                code = run_sweep(config, specs, options, lock)
                if not code and not DRY.intersection(options):
                    collect_tables(table, specs)
            if code:
                report_failures(specs, runs_folder())
        except (OSError, ValueError) as error:
            print(f"{config}: stopped, older tables in {RESULTS} are kept: {error}", flush=True)
            code = 1
        worst = max(worst, code)
    sys.exit(worst)


if __name__ == "__main__":
    main()
