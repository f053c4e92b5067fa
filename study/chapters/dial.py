"""The dial of bias: what becomes of collapse and ranking where features have more or less of their mean."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from sdclib.data.variants import parse_bias
from study.figures.plots import MAP_LABEL, STYLE
from study.stats import contrast, interval_text
from study.tables import set_name

__all__ = ["METRICS", "change", "change_table", "plot_dial", "with_dial"]

METRICS = {"intersection": "intersection (%)", "map_expected": MAP_LABEL}
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito's


def with_dial(runs: pd.DataFrame) -> pd.DataFrame:
    """Take names such as ``"NAME+bias(3)"`` apart: `set`, as readers know it, and `dial`; `config` as short text."""
    parts = [parse_bias(name) for name in runs["data"]]
    if None in parts:
        raise ValueError(f"runs: expected data sets NAME+bias(NUMBER), got {sorted(set(runs['data']))}")
    names = runs["config"].astype(str).str.partition(" (")[0]
    if "contrastive_weight" in runs:
        names += np.where(runs["contrastive_weight"] > 0, ", contrastive", "")
    sets, dials = zip(*parts, strict=True)
    return runs.assign(set=list(map(set_name, sets)), dial=dials, name=names)


@STYLE
def plot_dial(runs: pd.DataFrame) -> Figure:
    """Intersection and expected mAP against the dial, means over seeds: a column a set, a line a method.

    Parameters
    ----------
    runs : DataFrame
        See `with_dial`.
    """
    sets, dials = list(dict.fromkeys(runs["set"])), sorted(runs["dial"].unique())
    figure, grid = plt.subplots(2, len(sets), figsize=(3.6 * len(sets), 5.6), sharex=True, squeeze=False)
    colors = dict(zip(dict.fromkeys(runs["name"]), COLORS, strict=False))
    for metric, row in zip(METRICS, grid, strict=True):
        for name, axes in zip(sets, row, strict=True):
            here = runs[runs["set"] == name]
            means = 100 * here.pivot_table(index="dial", columns="name", values=metric, sort=False)
            means = means.reindex(dials)
            ends = means.iloc[-1].sort_values()
            apart = 0.055 * (np.nanmax(means) - np.nanmin(means))
            places = np.maximum.accumulate(ends - apart * np.arange(len(ends))) + apart * np.arange(len(ends))
            for method, place in places.items():
                axes.plot(range(len(dials)), means[method], ".-", color=colors[method], linewidth=1.2)
                end = len(dials) - 1
                axes.annotate(method, (end + 0.15, place), color=colors[method], fontsize=8, va="center")
            axes.set_xticks(range(len(dials)), [f"{dial:g}" for dial in dials])
            axes.margins(y=0.08)
    for name, above, below in zip(sets, *grid, strict=True):
        above.set_title(name, fontsize="medium")
        below.set_xlabel("λ: features + λ · mean")
    for axes, label in zip(grid[:, 0], METRICS.values(), strict=True):
        axes.set_ylabel(label)
    return figure


def change(runs: pd.DataFrame, metric: str, ends: tuple[float, float] | None = None) -> pd.DataFrame:
    """Change of a metric from one end of the dial to the other, in points, with Welch's 95 % interval over seeds.

    Returns
    -------
    DataFrame
        set, name, mean, low, high; the last two are NaN where there is one seed.
    """
    first, last = ends or (runs["dial"].min(), runs["dial"].max())
    rows = []
    for (name, method), here in runs.groupby(["set", "name"], sort=False):
        groups = [100 * here.loc[here["dial"] == dial, metric].astype(float) for dial in (last, first)]
        if min(map(len, groups)) < 2:
            mean = float(groups[0].mean() - groups[1].mean())
            row = {"mean": mean, "low": np.nan, "high": np.nan}
        else:
            row = contrast(groups, [1, -1])
        rows.append({"set": name, "name": method, **row})
    return pd.DataFrame(rows)


def change_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Lay `change` of both metrics out, a row a set and method."""
    columns = {}
    for metric, title in {"intersection": "intersection", "map_expected": "expected mAP"}.items():
        rows = change(runs, metric).set_index(["set", "name"]).rename_axis(["set", "method"])
        columns[title] = pd.Series([interval_text(row) for row in rows.to_dict("records")], rows.index)
    return pd.DataFrame(columns)
