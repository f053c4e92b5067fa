"""Effects of settings: differences to a base, results by the value of a setting, by time and by epoch."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sdclib.figures.style import MARKERS, NEGATIVE_COLOR, POSITIVE_COLOR

__all__ = ["draw_epochs", "plot_cost", "plot_effects", "plot_epochs", "plot_ladders"]

SERIES_COLORS = (POSITIVE_COLOR, NEGATIVE_COLOR, "#009E73", "#CC79A7")
MAP_LABEL = "expected mAP@R (%)"


def plot_effects(effects: pd.DataFrame, xlabel: str = "difference in expected mAP@R (points)") -> Figure:
    """Differences with their 95 % intervals, one row a change, groups apart, one colour and marker a base.

    Parameters
    ----------
    effects : DataFrame
        group, change, base (as the legend is to name it), mean, low, high; rows of a group follow each other. With
        p_holm, markers of rows at or above 0.05 are hollow. See `study.chapters.training_effects.effects`.
    xlabel : str
    """
    gaps = (effects["group"] != effects["group"].shift()).cumsum().to_numpy() - 1
    heights = np.arange(len(effects)) + 0.6 * gaps
    figure, axes = plt.subplots(figsize=(6.2, 0.25 * (heights[-1] + 1) + 1.3), layout="constrained")
    axes.axvline(0, color="0.6", linewidth=1)
    bases = list(dict.fromkeys(effects["base"]))
    sure = effects["p_holm"] < 0.05 if "p_holm" in effects else pd.Series(True, index=effects.index)
    for i, base in enumerate(bases):
        color = SERIES_COLORS[i % len(SERIES_COLORS)]
        here = (effects["base"] == base).to_numpy()
        axes.hlines(heights[here], effects["low"][here], effects["high"][here], color=color, linewidth=1.8)
        for filled in (True, False):
            chosen = here & (sure.to_numpy() == filled)
            axes.plot(
                effects["mean"][chosen],
                heights[chosen],
                linestyle="",
                marker=MARKERS[i],
                color=color,
                markerfacecolor=color if filled else "white",
                markersize=6,
            )
        axes.plot([], [], color=color, marker=MARKERS[i], label=base)
    axes.set_yticks(heights, list(effects["change"]))
    axes.set_ylim(heights[-1] + 0.7, -0.7)
    axes.grid(axis="x", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel(xlabel)
    if len(bases) > 1:
        figure.legend(loc="outside upper center", ncols=2, frameon=False)
    sns.despine(figure)
    return figure


def plot_ladders(
    ladders: Mapping[str, pd.DataFrame], metric: str = "map_expected", ylabel: str = MAP_LABEL
) -> Figure:
    """One metric by the value of a setting, one panel a setting: a dot a run, a line through the means.

    Parameters
    ----------
    ladders : mapping of str to DataFrame
        By the name of the axis; value, seed and the metric in percent, see
        `study.chapters.training_effects.ladder`. Values are drawn at equal distances.
    metric : str
    ylabel : str
    """
    n_rows = -(-len(ladders) // 2)
    figure, grid = plt.subplots(
        n_rows, 2, figsize=(6.2, 2.5 * n_rows), sharey=True, squeeze=False, layout="constrained"
    )
    for axes, (name, steps) in zip(grid.flat, ladders.items(), strict=False):
        values = sorted(steps["value"].unique())
        places = steps["value"].map({value: i for i, value in enumerate(values)})
        axes.plot(places, steps[metric], linestyle="", marker="o", color=POSITIVE_COLOR, alpha=0.7)
        means = steps.groupby("value")[metric].mean()
        axes.plot(range(len(values)), means[values], color=POSITIVE_COLOR, linewidth=1.2)
        axes.set_xticks(range(len(values)), [f"{value:g}" for value in values])
        axes.set_xlabel(name)
        axes.grid(axis="y", color="0.9", linewidth=0.8)
    for axes in grid.flat[len(ladders) :]:
        axes.set_visible(False)
    figure.supylabel(ylabel, fontsize="medium")
    sns.despine(figure)
    return figure


def plot_cost(
    costs: pd.DataFrame, names: Mapping[str, str], metric: str = "map_expected", ylabel: str = MAP_LABEL
) -> Figure:
    """One metric against seconds of training on a logarithmic axis, one point a setting, the best of their time joined.

    Parameters
    ----------
    costs : DataFrame
        See `study.chapters.training_effects.costs`.
    names : mapping of str to str
        What the legend is to call these labels; the others are grey.
    metric : str
    ylabel : str
    """
    figure, axes = plt.subplots(figsize=(6.2, 5), layout="constrained")
    best = costs[costs["best_for_its_time"]]
    axes.plot(best["seconds"], best[metric], color="0.4", linewidth=1, linestyle="--", zorder=1)
    others = costs[~costs.index.isin(list(names))]
    axes.plot(
        others["seconds"], others[metric], "o", color="0.6", markerfacecolor="white", label="other settings"
    )
    for i, (label, name) in enumerate(names.items()):
        color = SERIES_COLORS[i % len(SERIES_COLORS)]
        row = costs.loc[[label]]
        axes.errorbar(
            row["seconds"],
            row[metric],
            yerr=np.nan_to_num(row[f"{metric}_ci"]),
            color=color,
            marker=MARKERS[i % len(MARKERS)],
            markerfacecolor=color if row["best_for_its_time"].all() else "white",
            linestyle="",
            elinewidth=1,
            markersize=8,
            label=name,
        )
    axes.set_xscale("log")
    axes.set(xlabel="training time (s)", ylabel=ylabel)
    ticks = [n for n in (1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 500) if _spans(costs["seconds"], n)]
    axes.set_xticks(ticks, [str(n) for n in ticks])
    axes.minorticks_off()
    axes.grid(axis="y", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize="small")
    sns.despine(figure)
    return figure


def _spans(values: pd.Series, n: float) -> bool:
    return bool(0.8 * values.min() <= n <= 1.25 * values.max())


def plot_epochs(table: pd.DataFrame, fall: int, ylabel: str = MAP_LABEL) -> Figure:
    """One metric by epoch, a line a seed: the whole training, and from shortly before the rate falls on.

    Parameters
    ----------
    table : DataFrame
        Index epochs, a seed a column, percent, see `study.chapters.epochs.by_epoch`.
    fall : int
        Epoch after which the learning rate falls.
    ylabel : str
    """
    figure, grid = plt.subplots(1, 2, figsize=(6.6, 3.2), layout="constrained")
    for axes, rows in zip(grid, (table, table.loc[0.9 * fall :]), strict=True):
        draw_epochs(axes, rows, fall, markersize=4)
    grid[0].set_ylabel(ylabel)
    grid[0].legend(frameon=False, fontsize="small")
    sns.despine(figure)
    return figure


def draw_epochs(axes: Axes, table: pd.DataFrame, fall: int, markersize: float) -> None:
    """Draw one metric by epoch, a line a seed, and a dotted line after the epoch when the learning rate may fall.

    Parameters
    ----------
    axes : Axes
    table : DataFrame
        Index epochs, a seed a column, percent.
    fall : int
    markersize : float
        Points.
    """
    for i, seed in enumerate(table):
        axes.plot(
            table.index,
            table[seed],
            color=SERIES_COLORS[i % len(SERIES_COLORS)],
            marker=MARKERS[i % len(MARKERS)],
            markersize=markersize,
            linewidth=1,
            label=f"seed {seed}",
        )
    axes.axvline(fall + 0.5, color="0.5", linewidth=1, linestyle=":")
    axes.grid(axis="y", color="0.9", linewidth=0.8)
    axes.set_xlabel("epoch")
