"""Write expected mAP by class of a sweep's runs on long-tailed sets, from the codes of their run records.

    python scripts/by_class_size.py config/imbalanced.yaml

writes results/imbalanced_classes.csv: one row a run and class, with the class's training rows. The sweep must have run
on this machine (`make sweep CONFIG=config/imbalanced.yaml`), as codes are in the run records alone; it takes a minute.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import yaml

from sdclib.files import write_text
from study.chapters.class_precision import collect_classes
from study.provenance import RESULTS
from study.runs import expand_config


def main() -> None:
    """Read the configuration that the command line names, collect, write; print the path."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path, help="a sweep, such as config/imbalanced.yaml")
    parser.add_argument("--runs", type=Path, help="folder of the run records, results/local/runs by default")
    arguments = parser.parse_args()
    config = yaml.safe_load(arguments.config.read_text(encoding="utf-8"))
    table = collect_classes(expand_config(config), arguments.runs)
    print(write_text(RESULTS / f"{config['table']}_classes.csv", table.to_csv(index=False)))


if __name__ == "__main__":
    main()
