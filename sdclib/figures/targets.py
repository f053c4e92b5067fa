"""Targets of pairs, and what trainings towards them come to."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from sdclib.contributions import PairTargets
from sdclib.figures.style import MARKERS, NEGATIVE_COLOR, POSITIVE_COLOR, method_colors

__all__ = ["plot_pair_targets", "plot_settings"]

METRIC_LABELS = {"map_expected": "expected mAP@R (%)", "intersection": "intersection (%)"}


def plot_pair_targets(targets: PairTargets, n_bins: int = 60) -> Figure:
    """Distribution of each target over training pairs, positive and negative, one panel a target.

    Parameters
    ----------
    targets : PairTargets
    n_bins : int
        On [-1, 1].
    """
    names = {"cosine": "cosine as it is", "standardised": "linear map", "mapped": "quantile map"}
    bins = np.linspace(-1, 1, n_bins + 1)
    figure, grid = plt.subplots(
        1, len(names), figsize=(3.1 * len(names), 2.8), sharey=True, layout="constrained"
    )
    for axes, (name, title) in zip(grid.flat, names.items(), strict=True):
        values = getattr(targets, name)
        for kind, color, label in (
            (targets.positive, POSITIVE_COLOR, "positive pairs"),
            (~targets.positive, NEGATIVE_COLOR, "negative pairs"),
        ):
            axes.hist(
                values[kind],
                bins=bins,
                density=True,
                histtype="step",
                color=color,
                linewidth=1.4,
                linestyle="-" if label.startswith("pos") else "--",
                label=label,
            )
        axes.set(title=title, xlim=(-1, 1))
        axes.set_xlabel("target (cosine similarity)")
    grid.flat[0].set_ylabel("density")
    grid.flat[0].legend(frameon=False, fontsize="small", loc="upper left")
    sns.despine(figure)
    return figure


def plot_settings(
    summary: pd.DataFrame,
    order: Sequence[str],
    settings: Sequence[tuple[str, str]],
    *,
    metrics: Sequence[str] = ("map_expected", "intersection"),
    hollow: Callable[[str], bool] = lambda name: False,
    colors: dict[str, str] | None = None,
) -> Figure:
    """Means with 95 % intervals, one row of dots a name, one column of panels a setting, one row of panels a metric.

    Parameters
    ----------
    summary : DataFrame
        setting, name, the metrics and their half intervals in percent (``METRIC_ci``), see `sdclib.tables.summarise`.
    order : sequence of str
        Names from top to bottom.
    settings : sequence of (setting, title)
        Panels from left to right.
    metrics : sequence of str
        Of `METRIC_LABELS`.
    hollow : callable
        Which names have hollow dots.
    colors : dict, optional
        By name; by default those of the methods, see `sdclib.figures.method_colors`.
    """
    colors = method_colors(list(order)) if colors is None else colors
    height = 0.27 * len(order) + 0.75
    figure, grid = plt.subplots(
        len(metrics),
        len(settings),
        figsize=(2.2 + 1.9 * len(settings), height * len(metrics)),
        squeeze=False,
        sharey=True,
        layout="constrained",
    )
    for line, metric in enumerate(metrics):
        for column, (setting, title) in enumerate(settings):
            axes = grid[line, column]
            rows = summary[(summary["setting"] == setting) & summary["name"].isin(order)]
            for row in rows.to_dict("records"):
                name = row["name"]
                y = order.index(name)
                axes.errorbar(
                    row[metric],
                    y,
                    xerr=np.nan_to_num(row[f"{metric}_ci"]),
                    color=colors[name],
                    marker=MARKERS[y % len(MARKERS)],
                    markerfacecolor="white" if hollow(name) else colors[name],
                    markersize=6,
                    linestyle="",
                )
            axes.set_xlabel(METRIC_LABELS[metric])
            axes.grid(axis="y", color="0.9")
            axes.margins(x=0.12)
            axes.set_axisbelow(True)
            if not line:
                axes.set_title(title, fontsize="medium")
        grid[line, 0].set_yticks(range(len(order)), order)
        grid[line, 0].set_ylim(len(order) - 0.5, -0.5)
    sns.despine(figure)
    return figure
