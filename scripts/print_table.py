"""Print a table of results: one row a method and code length, mean over seeds and 95 % interval.

python scripts/print_table.py results/main.csv
"""

from __future__ import annotations

import argparse

import pandas as pd

from study.tables import format_summary, read_results, summarise


def main() -> None:
    """Read the table that the command line names, summarise, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", help="a table of runs, such as results/main.csv")
    path = parser.parse_args().table
    results = read_results(path)
    summary = summarise(results, ["map_authors", "map_expected", "intersection"])
    with pd.option_context("display.width", 200, "display.max_columns", None):
        print(format_summary(summary, top_k=int(results["top_k"].iloc[0])).to_string(index=False))
    print(f"\npercent, mean over seeds ± half the 95 % interval; {len(results)} runs in {path}")


if __name__ == "__main__":
    main()
