"""Tables of the chapter on all methods at every code length, as readers see them."""

from __future__ import annotations

import pandas as pd

from study.stats import format_summary, interval_text, summarise
from study.tables import kernels_of, set_name

__all__ = ["cost", "differences", "labels", "other_sets"]


def labels(results: pd.DataFrame) -> pd.Series:
    """Name configurations without underscores and equals signs: "learning rate 0.01"."""
    return results["config"].map(str).str.replace("[_=]", " ", regex=True)


def differences(rows: pd.DataFrame, n_bits: int) -> pd.DataFrame:
    """Lay `study.stats.compared` with one second configuration out at a code length, the largest mean first."""
    here = rows[rows["n_bits"] == n_bits].sort_values("mean", ascending=False)
    column = f"above {rows['second'].iloc[0]}, {n_bits} bits" if len(rows) else "difference"
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
    """Give runs, mean seconds of a fit and peak memory (MB) by configuration and kernels, the quickest first."""
    groups = codes.groupby(["config", kernels_of(codes).rename("kernels")]).agg(
        runs=("id", "size"), fit=("fit_seconds", "mean"), memory=("peak_memory_mb", "max")
    )
    groups = groups.sort_values("fit").rename_axis(["method", "kernels"]).reset_index("kernels")
    shown = groups.assign(fit=groups["fit"].map("{:.1f}".format))
    return shown.rename(columns={"fit": "fit (seconds)", "memory": "memory (MB)"})
