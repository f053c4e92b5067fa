"""Imbalance of classes: sizes of long-tailed classes, and what imbalance does by ratio and by class size."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sdclib.figures.style import MARKERS, method_colors

__all__ = ["plot_by_ratio", "plot_class_sizes", "plot_contrasts"]


def plot_class_sizes(sizes: pd.DataFrame) -> Figure:
    """Training rows of each class, one line a set, on a logarithmic axis.

    Parameters
    ----------
    sizes : DataFrame
        Index: names of the classes in their order; one column a set, named as the legend is to name it.
    """
    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for i, name in enumerate(sizes):
        axes.plot(
            range(len(sizes)),
            sizes[name],
            color=sns.color_palette("colorblind")[i],
            marker=MARKERS[i % len(MARKERS)],
            label=name,
        )
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xticks(range(len(sizes)), sizes.index, rotation=30, ha="right")
    axes.set(xlabel="class", ylabel="training rows of the class")
    axes.legend(frameon=False, fontsize="small", loc="lower left")  # long tails leave that corner free
    sns.despine(figure)
    return figure


def plot_by_ratio(
    summary: pd.DataFrame, metric: str = "map_expected", ylabel: str = "expected mAP@R (%)"
) -> Figure:
    """One metric against the imbalance ratio, long tails beside controls, one line a method, with 95 % intervals.

    Parameters
    ----------
    summary : DataFrame
        label, ratio, control, and the metric with its half interval in percent (``METRIC_ci``).
    metric : str
    ylabel : str
    """
    figure, grid = plt.subplots(1, 2, figsize=(6.4, 4.6), sharey=True, sharex=True, layout="constrained")
    ratios = sorted(summary["ratio"].unique())
    for axes, control, title in zip(
        grid, (False, True), ("long tail", "control: equal classes"), strict=True
    ):
        _lines(axes, summary[summary["control"] == control], metric)
        axes.set_xscale("log")
        axes.set_xticks(ratios, [f"{ratio:g}" for ratio in ratios])
        axes.minorticks_off()
        axes.set(xlabel="imbalance ratio (of as many rows)" if control else "imbalance ratio", title=title)
    grid[0].set_ylabel(ylabel)
    handles = dict(zip(*reversed(grid[0].get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles, frameon=False, ncols=2, loc="outside lower center")
    sns.despine(figure)
    return figure


def _lines(axes: Axes, summary: pd.DataFrame, metric: str) -> None:
    colors = method_colors(list(summary["label"]))
    for i, label in enumerate(dict.fromkeys(summary["label"])):
        rows = summary[summary["label"] == label].sort_values("ratio")
        axes.errorbar(
            rows["ratio"],
            rows[metric],
            yerr=np.nan_to_num(rows[f"{metric}_ci"]),
            color=colors[label],
            marker=MARKERS[i % len(MARKERS)],
            linestyle=("-", "--", ":", "-.")[i % 4],
            linewidth=1.2,
            markersize=5,
            label=label,
        )


def plot_contrasts(contrasts: pd.DataFrame, xlabel: str) -> Figure:
    """Contrasts with their 95 % intervals, one panel a group, one row a method.

    Parameters
    ----------
    contrasts : DataFrame
        group, label, mean, low, high; panels and rows in the order in which they come.
    xlabel : str
        What is shown, with its unit.
    """
    groups, labels = list(dict.fromkeys(contrasts["group"])), list(dict.fromkeys(contrasts["label"]))
    colors = method_colors(labels)
    figure, grid = plt.subplots(
        1,
        len(groups),
        figsize=(min(6.6, 2.4 * len(groups) + 2), 0.3 * len(labels) + 1.2),
        squeeze=False,
        sharex=True,
        sharey=True,
        layout="constrained",
    )
    for axes, group in zip(grid.flat, groups, strict=True):
        axes.axvline(0, color="0.6", linewidth=1)
        for row in contrasts[contrasts["group"] == group].to_dict("records"):
            height = labels.index(row["label"])
            axes.plot((row["low"], row["high"]), (height, height), color=colors[row["label"]], linewidth=2)
            axes.plot(row["mean"], height, color=colors[row["label"]], marker=MARKERS[height % len(MARKERS)])
        axes.set(title=group)
    grid.flat[0].set_yticks(range(len(labels)), labels)
    grid.flat[0].set_ylim(len(labels) - 0.4, -0.6)
    figure.supxlabel(xlabel, fontsize="medium")
    sns.despine(figure)
    return figure
