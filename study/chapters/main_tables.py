"""Tables of the chapter on all methods at every code length, as readers see them."""

from __future__ import annotations

import json

import pandas as pd

from study.stats import format_summary, interval_text, summarise
from study.tables import set_name, settings_text

__all__ = ["cost", "differences", "labels", "origin", "other_sets", "settings"]


def labels(results: pd.DataFrame) -> pd.Series:
    """Name configurations without underscores and equals signs: "learning rate 0.01"."""
    return results["config"].map(str).str.replace("[_=]", " ", regex=True)


def differences(rows: pd.DataFrame, n_bits: int) -> pd.DataFrame:
    """Lay `study.stats.compared` with one second configuration out at a code length, the largest mean first."""
    here = rows[rows["n_bits"] == n_bits].sort_values("mean", ascending=False)
    column = f"less {rows['second'].iloc[0]}, {n_bits} bits" if len(rows) else "difference"
    cells = [interval_text(row) for row in here.to_dict("records")]
    return pd.DataFrame({column: cells}, index=pd.Index(here["first"], name="method"))


def other_sets(results: pd.DataFrame) -> pd.DataFrame:
    """Lay expected mAP@R out, a method a row and a data set a column."""
    columns = {}
    for data, group in results.groupby("data"):
        table = format_summary(summarise(group, ["map_expected"]), top_k=int(group["top_k"].iloc[0]))
        columns[set_name(str(data))] = table.set_index("method").filter(like="mAP").iloc[:, 0]
    return pd.concat(columns, axis=1).fillna("")


def cost(codes: pd.DataFrame) -> pd.DataFrame:
    """Give runs, mean seconds of a fit and peak memory (MB) by configuration, the quickest first."""
    groups = codes.groupby("config").agg(
        runs=("id", "size"), fit=("fit_seconds", "mean"), memory=("peak_memory_mb", "max")
    )
    groups = groups.sort_values("fit").rename_axis("method")
    shown = groups.assign(fit=groups["fit"].map("{:.1f}".format))
    return shown.rename(columns={"fit": "fit (seconds)", "memory": "memory (MB)"})


def settings(codes: pd.DataFrame) -> pd.DataFrame:
    """Spell the settings of each configuration out."""
    pd.set_option("display.max_colwidth", None)
    found = codes.drop_duplicates("config").set_index("config")["parameters"].rename_axis("method")
    return found.map(json.loads).map(settings_text).sort_index().to_frame("settings")


def origin(results: pd.DataFrame) -> pd.DataFrame:
    """Count runs by commit and by the processor that made them."""
    machines = results["machine"].map(json.loads)
    processor = machines.map(lambda machine: f"{machine['processor']}, {machine['cores']} cores")
    groups = results.assign(processor=processor).groupby(["commit", "processor"], dropna=False)
    return groups.size().rename("runs").reset_index().set_index("commit")
