"""Run the paper's own experiments on what is here of their data, and set the paper's figures beside yours.

    python -m scripts.paper [--list] [config/paper/main.yaml ...] [-- options of snakemake]

Says what is missing and where to put it, and runs the rest. Data are read from the folder SDC_DATA, weights of networks
and extracted features from SDC_CACHE. Records, tables and the page with the figures go to results/local, or where
SDC_RESULTS says. The exit code is 0 if everything has run (with --list: can run), 3 if something is missing and the
rest has run, 1 if a run has failed.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

from scripts.sweep import DRY, collect_tables, only_sweep, report_failures, run_sweep, split_options
from sdclib.data.image_sets import COMMITTED_SETS, has_images, load_image_set
from sdclib.data.images import data_root
from sdclib.data.instances import missing_files
from sdclib.extract.backbones import missing_weights
from sdclib.files import cache_dir
from study.chapters.paper import OWN_TABLES
from study.provenance import PROJECT_ROOT
from study.runs import COSINE, RunSpec, is_whole, read_config, runs_folder

MISSING = 3  # exit code
HELP = """\
Weights, and CIFAR-10 where SDC_DATA names no folder, are downloaded if there is a network. Lists of images are those of
the paper's authors. notebooks/instances.ipynb says how features of landmarks are made; train.npy of ROxford and RParis
is a link to that of GLDv2."""
ERRORS = (OSError, ValueError, ImportError, RuntimeError)


@functools.cache
def missing_images(image_set: str) -> list[str]:
    """Say what is wrong with an image set; nothing is downloaded."""
    try:
        load_image_set(image_set, **({"download": False} if image_set in COMMITTED_SETS else {}))
    except ERRORS as error:
        return [f"{image_set}: {error}"]
    return []


def missing_parts(data: str) -> list[str]:
    """Say what a feature set lacks: images and weights, or files of features; nothing is downloaded or extracted."""
    name, _, backbone = data.partition("/")
    if has_images(data):
        weights = missing_weights(backbone)
        return missing_images(name) + ([f"{backbone}: {weights}"] if weights else [])
    return [f"{name.partition('-')[0]}: {path}" for path in missing_files(data)]


def loads(data: str, missing: list[str]) -> bool:
    """Load a feature set, for which images and weights are downloaded where that works, and features extracted.

    Where that fails though nothing was known to be missing, print why.
    """
    if missing and not has_images(data):
        return False
    try:
        _ = RunSpec(data, COSINE).id
        return True
    except ERRORS as error:
        if not missing:
            print(f"missing: {data}: {error}", flush=True)
        return False


def run(tables: list[tuple[dict[str, Any], list[RunSpec]]], options: list[str]) -> int:
    """Run all tables in one sweep, and write of each the runs that are recorded; give the exit code."""
    specs, runs = [spec for _, specs in tables for spec in specs], runs_folder()
    with only_sweep(runs) as lock:
        code = run_sweep(list({spec.id: spec for spec in specs}.values()), options, lock)
        if DRY.intersection(options):
            return code
        for settings, of_table in tables:
            if whole := [spec for spec in of_table if is_whole(runs / spec.id, measured=True)]:
                collect_tables(settings, whole, OWN_TABLES)
    if code:
        report_failures(specs, runs)
    return code


def fill_page() -> None:
    """Execute the chapter on one's own tables."""
    source, page = PROJECT_ROOT / "notebooks" / "paper.ipynb", OWN_TABLES / "paper.ipynb"
    command = [sys.executable, "-m", "papermill", source, page, "--cwd", source.parent, "--no-progress-bar"]
    subprocess.run([*map(str, command), "--log-level", "ERROR"], check=True)
    print(f"the paper's figures beside yours: {page}")


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, list, run; give the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("configs", nargs="*", type=Path, help="by default all of config/paper")
    parser.add_argument("--list", action="store_true", help="only say what is missing")
    words, options = split_options(sys.argv[1:] if arguments is None else arguments)
    given = parser.parse_args(words)
    configs = given.configs or sorted((PROJECT_ROOT / "config" / "paper").glob("*.yaml"))
    try:
        tables = [read_config(path) for path in configs]
    except ValueError as error:
        print(error)
        return 1
    names = dict.fromkeys(spec.data for _, specs in tables for spec in specs)
    missing = {data: missing_parts(data) for data in names}
    print(f"data: {data_root()}; weights: {cache_dir() / 'weights'}")
    for problem in dict.fromkeys(itertools.chain(*missing.values())):
        print(f"missing: {problem}")
    if any(missing.values()):
        print(HELP, flush=True)
    there = {data for data in names if (not missing[data] if given.list else loads(data, missing[data]))}
    here = [(settings, [spec for spec in specs if spec.data in there]) for settings, specs in tables]
    n_runs, n_here = (sum(len(specs) for _, specs in some) for some in (tables, here))
    print(f"{len(there)} of {len(names)} data sets are here, for {n_here} of {n_runs} runs", flush=True)
    code = run(here, options) if n_here and not given.list else 0
    if any(OWN_TABLES.glob("*.csv")) and not given.list:
        fill_page()
    return code or (MISSING if len(there) < len(names) else 0)


if __name__ == "__main__":
    sys.exit(main())
