"""Results of runs: training history, metrics by method and code length."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sdclib.figures.style import MARKERS, POSITIVE_COLOR, bits_axis, legend_below, method_colors

__all__ = ["plot_by_bits", "plot_curves", "plot_history", "plot_intersections", "plot_tie_bounds"]


def plot_history(history: pd.DataFrame) -> Figure:
    """Training losses by epoch, one panel a term, the total first.

    Parameters
    ----------
    history : DataFrame
        epoch, loss and its terms, see `sdclib.methods.trained.train`.
    """
    terms = [name for name in history if name not in ("epoch", "learning_rate", "seconds")]
    figure, grid = plt.subplots(
        1, len(terms), figsize=(0.3 + 2 * len(terms), 2.4), squeeze=False, layout="constrained"
    )
    for axes, term in zip(grid.flat, terms, strict=True):
        axes.plot(history["epoch"], history[term], color=POSITIVE_COLOR)
        axes.set(xlabel="epoch", title=str(term).replace("_", " "))
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(4))
    grid.flat[0].set_ylabel("mean over batches")
    sns.despine(figure)
    return figure


def plot_intersections(summary: pd.DataFrame) -> Figure:
    """Intersection against mAP, one point a method and code length.

    Parameters
    ----------
    summary : DataFrame
        label, n_bits, map_expected, intersection and their half intervals in percent, see `study.tables.summarise`.
    """
    lengths = sorted(summary["n_bits"].dropna().unique())
    figure, grid = plt.subplots(
        1,
        len(lengths),
        figsize=(max(5.5, 3 * len(lengths)), 3.2),
        squeeze=False,
        sharey=True,
        layout="constrained",
    )
    colors = method_colors(list(summary["label"]))
    markers = dict(zip(summary["label"].unique(), itertools.cycle(MARKERS), strict=False))
    for axes, n_bits in zip(grid.flat, lengths, strict=True):
        for row in summary[summary["n_bits"] == n_bits].to_dict("records"):
            axes.errorbar(
                row["intersection"],
                row["map_expected"],
                xerr=np.nan_to_num(row["intersection_ci"]),
                yerr=np.nan_to_num(row["map_expected_ci"]),
                color=colors[row["label"]],
                marker=markers[row["label"]],
                linestyle="",
                label=row["label"],
            )
        axes.set(title=f"{n_bits} bits", xlabel="intersection (%)")
    grid.flat[0].set_ylabel("expected mAP@R (%)")
    legend_below(grid.flat[-1])
    sns.despine(figure)
    return figure


def plot_by_bits(
    summary: pd.DataFrame, metric: str = "map_expected", ylabel: str = "expected mAP@R (%)"
) -> Figure:
    """One metric against code length, one line a method, with 95 % intervals; float features as horizontal lines.

    Parameters
    ----------
    summary : DataFrame
        Of one data set, see `study.tables.summarise`.
    metric : str
    ylabel : str
    """
    figure, axes = plt.subplots(figsize=(6, 4.2), layout="constrained")
    codes = summary[summary["n_bits"].notna()]
    colors = method_colors(list(summary["label"]))
    last = codes[codes["n_bits"] == codes["n_bits"].max()].sort_values(metric, ascending=False)
    for i, label in enumerate(last["label"]):
        rows = codes[codes["label"] == label].sort_values("n_bits")
        axes.errorbar(
            rows["n_bits"].astype(float),
            rows[metric],
            yerr=np.nan_to_num(rows[f"{metric}_ci"]),
            color=colors[label],
            marker=MARKERS[i % len(MARKERS)],
            linestyle=("-", "--", ":", "-.")[i // 4 % 4],
            linewidth=1.2,
            markersize=5,
            label=label,
        )
    for row, style in zip(summary[summary["n_bits"].isna()].to_dict("records"), ("-", "--"), strict=False):
        axes.axhline(row[metric], color="black", linewidth=1, linestyle=style, label=row["label"])
    bits_axis(axes, codes["n_bits"])
    axes.set_ylabel(ylabel)
    legend_below(axes)
    sns.despine(figure)
    return figure


def plot_curves(
    curves: Mapping[str, pd.DataFrame], x: str, y: str, xlabel: str, ylabel: str, *, log: bool = False
) -> Figure:
    """One quantity against another, one line a method.

    Parameters
    ----------
    curves : mapping
        By label: a table with the columns `x` and `y`; shares from 0 to 1 but for x where `log` is set.
    x, y : str
    xlabel, ylabel : str
    log : bool
        Whether x is a count on a logarithmic axis rather than a share.
    """
    figure, axes = plt.subplots(figsize=(6, 4.2), layout="constrained")
    colors = method_colors(list(curves))
    for i, (label, table) in enumerate(curves.items()):
        axes.plot(
            table[x] if log else 100 * table[x],
            100 * table[y],
            color=colors[label],
            linestyle=("-", "--", ":", "-.")[i // 4 % 4],
            marker=MARKERS[i % len(MARKERS)],
            markevery=max(1, len(table) // 8),
            linewidth=1.2,
            markersize=4,
            label=label,
        )
    if log:
        axes.set_xscale("log")
    axes.set(xlabel=xlabel, ylabel=ylabel)
    legend_below(axes)
    sns.despine(figure)
    return figure


def plot_tie_bounds(results: pd.DataFrame) -> Figure:
    """Show mAP between the worst and the best order of ties, one row a run.

    Parameters
    ----------
    results : DataFrame
        label, n_bits, map_expected, map_optimistic, map_pessimistic (in [0, 1]), see `study.tables.read_results`.
    """
    table = results.sort_values(["n_bits", "map_expected"])
    colors = method_colors(list(table["label"]))
    figure, axes = plt.subplots(figsize=(6, 0.3 * len(table) + 0.8), layout="constrained")
    for height, row in enumerate(table.to_dict("records")):
        bounds = 100 * row["map_pessimistic"], 100 * row["map_optimistic"]
        axes.plot(bounds, (height, height), color=colors[row["label"]], linewidth=3, alpha=0.5)
        axes.plot(100 * row["map_expected"], height, color=colors[row["label"]], marker="o")
    axes.set_yticks(
        range(len(table)), [f"{row['label']}, {row['n_bits']} bits" for row in table.to_dict("records")]
    )
    axes.set_xlabel("mAP@R (%)")
    sns.despine(figure)
    return figure
