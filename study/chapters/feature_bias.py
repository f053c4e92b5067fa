"""Whether the bias of features goes with similarity collapse and with SDC's gain: one row a data set."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from sdclib.figures.style import MARKERS
from study.figures.plots import STYLE, colors_of
from study.stats import by_sign, compared, interval_text, mean_interval
from study.tables import Config, set_name, where

__all__ = ["bias_table", "by_verdict", "collapse_table", "gain_of", "gain_table", "plot_bias"]


def bias_table(results: pd.DataFrame, first: Config, second: Config, n_bits: int) -> pd.DataFrame:
    """Put bias of the features, collapse of features and codes, and gains of one method over another side by side.

    Parameters
    ----------
    results : DataFrame
        Of every data set float cosine, plain and centred, and both methods with at least two seeds each.
    first, second : Config
    n_bits : int

    Returns
    -------
    DataFrame
        Index: names of the sets. all_mean, negative_mean (bias: mean cosine of all and of negative pairs of plain
        features); float, centred, first, second (intersection, percent) with first_ci and second_ci; the same with
        ``auc_`` before them (overlap AUC, percent); and with _low and _high (95 % intervals over seeds, points of
        expected mAP) gain (first less second), gain_float (first less plain float cosine, which has no seeds) and
        drop (intersection of second less that of first).
    """
    rows = {}
    for data, group in results.groupby("data", sort=False):
        plain, centred = (where(group, method="cosine", center=center).iloc[0] for center in (False, True))
        runs = {
            name: where(group, config=of, n_bits=n_bits)
            for name, of in (("first", first), ("second", second))
        }
        row = {"all_mean": plain["all_mean"], "negative_mean": plain["negative_mean"]}
        for prefix, metric in (("", "intersection"), ("auc_", "overlap_auc")):
            row |= {f"{prefix}float": 100 * plain[metric], f"{prefix}centred": 100 * centred[metric]}
            for name, of in runs.items():
                row[f"{prefix}{name}"], row[f"{prefix}{name}_ci"] = mean_interval(100 * of[metric])
        mean, half = mean_interval(100 * (runs["first"]["map_expected"] - plain["map_expected"]))
        both = pd.concat(runs.values())
        for name, gain in (
            ("gain", compared(both, [(first, second)]).iloc[0]),
            ("gain_float", {"mean": mean, "low": mean - half, "high": mean + half}),
            ("drop", compared(both, [(second, first)], "intersection").iloc[0]),
        ):
            row |= {name: gain["mean"], f"{name}_low": gain["low"], f"{name}_high": gain["high"]}
        rows[set_name(str(data))] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("set")


def gain_of(row: pd.Series, name: str) -> dict[str, float]:
    """Mean and interval of one of the differences of a set: "gain", "gain_float" or "drop"."""
    return {"mean": row[name], "low": row[f"{name}_low"], "high": row[f"{name}_high"]}


def collapse_table(table: pd.DataFrame, first: Config, second: Config) -> pd.DataFrame:
    """Lay out bias and collapse of `bias_table` for readers, the smallest bias first."""
    columns = {
        "all_mean": "mean cosine: all pairs",
        "negative_mean": "mean cosine: negative pairs",
        "float": "intersection: float",
        "centred": "intersection: float, centred",
        "second": f"intersection: {second}",
        "first": f"intersection: {first}",
    }
    digits = {name: 2 if "cosine" in name else 1 for name in columns.values()}
    return table.sort_values("negative_mean")[list(columns)].rename(columns=columns).round(digits)


def gain_table(table: pd.DataFrame, first: Config, second: Config) -> pd.DataFrame:
    """Lay out overlap AUC and differences of `bias_table` for readers."""
    parts = {"float": "float", "second": str(second), "first": str(first)}
    shown = pd.DataFrame({f"AUC {label}": table[f"auc_{name}"].round(1) for name, label in parts.items()})
    titles = {
        "gain": f"{first} less {second}",
        "gain_float": f"{first} less float",
        "drop": f"intersection: {second} less {first}",
    }
    for name, title in titles.items():
        shown[title] = [interval_text(gain_of(row, name)) for _, row in table.iterrows()]
    return shown


def by_verdict(table: pd.DataFrame, name: str) -> dict[str, list[str]]:
    """Sort sets by what the interval of a difference says, "above", "below" or "neither", the largest mean first."""
    found: dict[str, list[str]] = {"above": [], "below": [], "neither": []}
    for place, row in table.sort_values(name, ascending=False).iterrows():
        found[by_sign(gain_of(row, name), *found)].append(str(place))
    return found


@STYLE
def plot_bias(table: pd.DataFrame, first: Config, second: Config) -> Figure:
    """Intersections, and gains of one method, against the bias of the features: one column of points a data set.

    Parameters
    ----------
    table : DataFrame
        See `bias_table`.
    first, second : Config
    """
    figure, (above, below) = plt.subplots(2, 1, figsize=(5.6, 5.6), sharex=True)
    x = table["negative_mean"].to_numpy()
    floats = Config("cosine")
    colors, beside = colors_of([floats, second, first]), 0.0022  # so that points do not cover each other
    for i, (config, name) in enumerate(((floats, "float"), (second, "second"), (first, "first"))):
        style: dict[str, Any] = {"color": colors[config], "marker": MARKERS[i], "linestyle": ""}
        half = table[f"{name}_ci"] if name != "float" else None
        above.errorbar(x + beside * (i - 1), table[name], yerr=half, label=config, **style)
        if config != first:
            gain = {floats: "gain_float", second: "gain"}[config]
            ends = np.array([table[gain] - table[f"{gain}_low"], table[f"{gain}_high"] - table[gain]])
            below.errorbar(x + beside * (i - 0.5), table[gain], yerr=ends, label=f"less {config}", **style)
    below.axhline(0, color="0.7", linewidth=1, zorder=0)
    names = above.secondary_xaxis("top")
    names.set_xticks(x, list(table.index), fontsize="small")
    names.tick_params(length=0)
    names.spines["top"].set_visible(False)
    above.set_ylabel("intersection (%)")
    below.set_xlabel("bias: mean cosine of negative pairs of features")
    below.set_ylabel(f"{first}: gain in\nexpected mAP@R (points)")
    above.legend(fontsize="small", loc="upper left", bbox_to_anchor=(0.05, 1))
    below.legend(fontsize="small", loc="lower right")
    return figure
