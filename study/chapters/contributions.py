"""What spread, shape and alignment of targets each add to the result, and what labels add: tables of differences."""

from __future__ import annotations

import pandas as pd

from study.stats import compared, difference_table
from study.tables import find, renamed, setting_name

__all__ = [
    "STEPS",
    "TARGET_NAMES",
    "contributions",
    "pair_table",
    "with_settings",
    "with_targets",
]

TARGET_NAMES = {
    "cosine": "cosine as it is",
    "standardised": "linear map",
    "mapped": "quantile map",
    "calibrated": "SDC",
    "rank": "order alone",
}
# What is added at each step from similarity-preserving hashing to SDC: name, with it, without it.
STEPS = (
    ("mean and spread", "standardised", "cosine"),
    ("shape", "mapped", "standardised"),
    ("alignment in the batch", "calibrated", "mapped"),
    ("all of SDC", "calibrated", "cosine"),
)


def with_targets(results: pd.DataFrame) -> pd.DataFrame:
    """Complete the columns target and features of SDC's runs, and name runs by them, or by what labels decide.

    For tables in which SDC, similarity matching and supervised SDC share their other settings. The columns are missing
    for other methods, which keep their names.
    """
    sdc = results["method"] == "sdc"
    features = results["center"].map({True: "centred", False: "raw"})
    table = results.reindex(columns=list(dict.fromkeys([*results, "target", "features"])))
    table["target"] = table["target"].astype(object).mask(sdc, "calibrated")
    table["features"] = table["features"].astype(object).mask(sdc, features)
    return renamed(table, map(_name, table.to_dict("records")))


def _name(run: dict) -> str | None:
    if run["method"] == "supervised-sdc":
        return f"Supervised SDC ({run['labels']})"
    if run["target"] not in TARGET_NAMES:
        return None
    return TARGET_NAMES[run["target"]] + ("" if run["features"] == "raw" else f" ({run['features']})")


def contributions(results: pd.DataFrame) -> pd.DataFrame:
    """Take SDC's gain over similarity-preserving hashing apart, for every data set and code length.

    Parameters
    ----------
    results : DataFrame
        See `with_targets`; those of raw features are compared.

    Returns
    -------
    DataFrame
        step (see `STEPS`) and the columns of `study.stats.compared`; the first three steps of a setting add up to the
        fourth.
    """
    runs = {target: find(results, target=target, features="raw") for _, *pair in STEPS for target in pair}
    return pd.concat(
        [compared(results, [(runs[first], runs[second])]).assign(step=step) for step, first, second in STEPS],
        ignore_index=True,
    )


def with_settings(summary: pd.DataFrame) -> pd.DataFrame:
    """Name the setting of each row of a summary, see `study.tables.setting_name`."""
    return summary.assign(setting=list(map(setting_name, summary["data"], summary["n_bits"])))


def pair_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Lay differences out, a pair a column and a setting a row."""
    return difference_table(
        rows.assign(pair=list(map("{} above {}".format, rows["first"], rows["second"]))), "pair"
    )
