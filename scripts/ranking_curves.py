"""Write precision@k, recall@k and hit rate@k of a sweep's runs, from the codes of their run records.

    python scripts/ranking_curves.py config/neighbours.yaml

writes results/neighbours_curves.csv: one row a run and k. The sweep must have run on this machine
(`make sweep CONFIG=config/neighbours.yaml`), as codes are in the run records alone; it takes a minute.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import yaml

from sdclib.files import write_text
from study.chapters.ranking_curves import collect_curves
from study.provenance import RESULTS
from study.runs import expand_config


def main() -> None:
    """Read the configuration that the command line names, collect, write; print the path."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path, help="a sweep, such as config/neighbours.yaml")
    parser.add_argument("--runs", type=Path, help="folder of the run records, results/local/runs by default")
    arguments = parser.parse_args()
    config = yaml.safe_load(arguments.config.read_text(encoding="utf-8"))
    table = collect_curves(expand_config(config), arguments.runs)
    print(write_text(RESULTS / f"{config['table']}_curves.csv", table.to_csv(index=False)))


if __name__ == "__main__":
    main()
