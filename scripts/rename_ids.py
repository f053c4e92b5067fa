"""Give the rows of all tables of runs the ids that follow from data, settings and versions, in place of older ids.

python scripts/rename_ids.py

All that an id is made of stands in the columns of a table of runs, so nothing is run and no data are read. Numbers and
origins stay as they are. Tables that have ids of such runs beside other columns (histograms, curves, classes) follow.
"""

from __future__ import annotations

import io
import json

import pandas as pd

from sdclib.evaluation import EVALUATION_VERSION
from sdclib.experiment import RunSpec
from sdclib.files import write_text
from sdclib.provenance import RESULTS
from sdclib.tables import read_results

OLD = "code_sha256"  # the column that ids depended on


def new_ids(path: str) -> dict[str, str]:
    """Old id to new id of a table of runs."""
    table = read_results(path)
    return {
        row["id"]: RunSpec(
            row["data"],
            row["method"],
            None if pd.isna(row["n_bits"]) else int(row["n_bits"]),
            int(row["seed"]),
            json.loads(row["parameters"]),
        ).make_id(str(row["data_sha256"]))
        for row in table.to_dict("records")
    }


def main() -> None:
    """Rename all ids and put versions in the place of the hash of the code."""
    # Text as it stands in the files: no number is read and written again.
    tables = {
        path: pd.read_csv(path, dtype=str, keep_default_na=False) for path in sorted(RESULTS.glob("*.csv"))
    }
    ids: dict[str, str] = {}
    for path, table in tables.items():
        if {"id", "data_sha256", "fit_seconds", OLD} <= set(table.columns):
            ids |= new_ids(str(path))
    for path, table in tables.items():
        if "id" in table and table["id"].isin(ids).any():
            table["id"] = table["id"].map(ids)
            assert table["id"].notna().all(), f"{path}: an id that no table of runs has"
        elif OLD not in table:
            continue
        if OLD in table:
            table[OLD] = "1"
            table = table.rename(columns={OLD: "results_version"})
            if "map_expected" in table:
                place = table.columns.get_loc("results_version") + 1
                table.insert(place, "evaluation_version", str(EVALUATION_VERSION))
        buffer = io.StringIO()
        table.to_csv(buffer, index=False)
        print(write_text(path, buffer.getvalue()))


if __name__ == "__main__":
    main()
