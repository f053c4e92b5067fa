"""Whether the bias of features goes with similarity collapse and with SDC's gain: one row a data set."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from sdclib.figures.style import MARKERS
from study.figures.plots import STYLE, colors_of
from study.stats import by_sign, compared, mean_interval
from study.tables import Config, set_name, where

__all__ = ["at_the_ends", "bias_table", "by_verdict", "contradiction", "gain_of", "plot_bias", "verdict_text"]


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


def contradiction(table: pd.DataFrame, column: str, what: str) -> str:
    """Say which two sets contradict an order by bias the most: the one with the larger bias has less of the column."""
    bias, value = table["negative_mean"], table[column]
    pairs = [
        (float(value[b] - value[a]), str(a), str(b))
        for a in table.index
        for b in table.index
        if bias[a] > bias[b] and value[a] < value[b]
    ]
    if not pairs:
        return f"By bias and by {what} the sets are in the same order."
    _, more, less = max(pairs)
    return (
        f"{more} has a larger bias than {less} ({bias[more]:.2f} against {bias[less]:.2f}) but a smaller {what} "
        f"({value[more]:.1f} against {value[less]:.1f} %)."
    )


def by_verdict(table: pd.DataFrame, name: str) -> dict[str, list[str]]:
    """Sort sets by what the interval of a difference says, "above", "below" or "neither", the largest mean first."""
    found: dict[str, list[str]] = {"above": [], "below": [], "neither": []}
    for place, row in table.sort_values(name, ascending=False).iterrows():
        found[by_sign(gain_of(row, name), *found)].append(str(place))
    return found


def verdict_text(table: pd.DataFrame, name: str) -> str:
    """Write `by_verdict` in words, with every mean and interval in points."""
    words = {"above": "above 0 on", "below": "below 0 on", "neither": "not told from 0 on"}
    parts = []
    for kind, places in by_verdict(table, name).items():
        gains = [(place, gain_of(table.T[place], name)) for place in places]
        if gains:
            listed = [f"{p} ({g['mean']:+.1f}, {g['low']:.1f} to {g['high']:.1f})" for p, g in gains]
            parts.append(f"{words[kind]} {', '.join(listed)}")
    return "; ".join(parts)


def at_the_ends(table: pd.DataFrame) -> str:
    """Say what the gain is where the bias is largest and where it is smallest, in a sentence."""
    most, least = str(table["negative_mean"].idxmax()), str(table["negative_mean"].idxmin())
    words = [
        by_sign(gain_of(table.T[place], "gain"), "gains", "loses", "neither gains nor loses for certain")
        for place in (most, least)
    ]
    return (
        f"On the set with the largest bias, {most}, SDC {words[0]}; on the one with the smallest, {least}, it "
        f"{words[1]}."
    )


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
