"""What bias does to collapse and ranking: features with more or less of their mean, and networks with more or less."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from sdclib.data.variants import parse_bias
from study.figures.plots import DASHES, MAP_LABEL, STYLE, colors_of
from study.stats import compared, difference, interval_text
from study.tables import find, renamed, set_name, where

__all__ = ["METRICS", "change", "change_table", "network_table", "plot_dial", "with_dial"]

METRICS = {"intersection": "intersection (%)", "map_expected": MAP_LABEL}
NETWORKS = {
    "sscd": "SSCD",
    "sscd-distilled": "SSCD's student",
    "efficientnet-lite0": "EfficientNet-Lite0",
    "efficientnet-lite2": "EfficientNet-Lite2",
}


def with_dial(runs: pd.DataFrame) -> pd.DataFrame:
    """Take names such as ``"NAME+bias(3)"`` apart: `set`, as readers know it, and `dial`; short names of methods."""
    parts = [parse_bias(name) for name in runs["data"]]
    if None in parts:
        raise ValueError(f"runs: expected data sets NAME+bias(NUMBER), got {sorted(set(runs['data']))}")
    names = runs["config"].astype(str).str.partition(" (")[0]
    if "contrastive_weight" in runs:
        names += np.where(runs["contrastive_weight"] > 0, ", contrastive", "")
    sets, dials = zip(*parts, strict=True)
    return renamed(runs, names).assign(set=list(map(set_name, sets)), dial=dials)


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
    colors = colors_of(runs["config"])
    taken = list(colors.values())
    dashes = {config: DASHES[taken[:i].count(color)] for i, (config, color) in enumerate(colors.items())}
    for metric, row in zip(METRICS, grid, strict=True):
        for name, axes in zip(sets, row, strict=True):
            here = runs[runs["set"] == name]
            means = 100 * here.pivot_table(index="dial", columns="config", values=metric, sort=False)
            means = means.reindex(dials)
            ends = means.iloc[-1].sort_values()
            apart = 0.055 * (np.nanmax(means) - np.nanmin(means))
            places = np.maximum.accumulate(ends - apart * np.arange(len(ends))) + apart * np.arange(len(ends))
            for config, place in places.items():
                style = {"color": colors[config], "linestyle": dashes[config]}
                axes.plot(range(len(dials)), means[config], marker=".", linewidth=1.2, **style)
                end = len(dials) - 1
                axes.annotate(str(config), (end + 0.15, place), color=colors[config], fontsize=8, va="center")
            axes.set_xticks(range(len(dials)), [f"{dial:g}" for dial in dials])
            axes.margins(y=0.08)
    for name, above, below in zip(sets, *grid, strict=True):
        above.set_title(name, fontsize="medium")
        below.set_xlabel("λ: features + λ · mean")
    for axes, label in zip(grid[:, 0], METRICS.values(), strict=True):
        axes.set_ylabel(label)
    return figure


def change(runs: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Change of a metric from one end of the dial to the other, in points, with Welch's 95 % interval over seeds.

    Returns
    -------
    DataFrame
        set, config, mean, low, high; see `study.stats.difference`.
    """
    ends = runs["dial"].max(), runs["dial"].min()
    rows = []
    for (name, config), here in runs.groupby(["set", "config"], sort=False):
        groups = [100 * here.loc[here["dial"] == dial, metric].astype(float) for dial in ends]
        rows.append({"set": name, "config": config, **difference(*groups)})
    return pd.DataFrame(rows)


def change_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Lay `change` of both metrics out, a row a set and method."""
    columns = {}
    for metric, title in {"intersection": "intersection", "map_expected": "expected mAP"}.items():
        rows = change(runs, metric).set_index(["set", "config"]).rename_axis(["set", "method"])
        columns[title] = pd.Series([interval_text(row) for row in rows.to_dict("records")], rows.index)
    return pd.DataFrame(columns)


def network_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Lay out the bias of networks' features and what SDC is above ITQ there, the least bias first.

    Parameters
    ----------
    runs : DataFrame
        Float cosine, ITQ and the preset release of SDC on data sets SET/NETWORK, one code length; sets that have but
        one network are left out.

    Returns
    -------
    DataFrame
        By set and network: bias (mean cosine of negative pairs), and differences in intersection and expected mAP in
        points, see `study.stats.interval_text`.
    """
    rows = []
    for data, here in runs.groupby("data", sort=False):
        name, network = str(data).split("/")
        if runs.loc[runs["data"].str.startswith(f"{name}/"), "data"].nunique() == 1:
            continue
        pair = find(here, method="sdc", preset="release"), find(here, method="itq")
        less = {metric: interval_text(compared(here, [pair], metric).iloc[0]) for metric in METRICS}
        bias = where(here, method="cosine", center=False)["negative_mean"].iloc[0]
        row = {
            "set": set_name(f"{name}/efficientnet-lite0"),
            "network": NETWORKS.get(network, network),
            "bias": bias,
        }
        rows.append(row | less)
    names = {"intersection": "intersection", "map_expected": "expected mAP"}
    return pd.DataFrame(rows).sort_values("bias").set_index(["set", "network"]).round(2).rename(columns=names)
