"""Targets of pairs, and what trainings towards them come to."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from sdclib.figures.style import MARKERS, method_colors

__all__ = ["plot_settings"]

METRIC_LABELS = {"map_expected": "expected mAP@R (%)", "intersection": "intersection (%)"}


def plot_settings(
    summary: pd.DataFrame,
    order: Sequence[str],
    metric: str = "map_expected",
    *,
    hollow: Callable[[str], bool] = lambda name: False,
    n_columns: int = 2,
) -> Figure:
    """Means with 95 % intervals, one panel a setting and one row of dots a name.

    Parameters
    ----------
    summary : DataFrame
        setting, label, the metric and its half interval in percent (``METRIC_ci``), see `study.tables.summarise`.
        Panels are in the order in which settings come.
    order : sequence of str
        Labels from top to bottom; others are not drawn.
    metric : {"map_expected", "intersection"}
    hollow : callable
        Which labels have hollow dots.
    n_columns : int
        Panels beside each other.
    """
    rows = summary[summary["label"].isin(order)]
    settings = list(dict.fromkeys(rows["setting"]))
    colors = method_colors(list(order))
    n_lines = -(-len(settings) // n_columns)
    figure, grid = plt.subplots(
        n_lines,
        n_columns,
        figsize=(1.6 + 2.4 * n_columns, (0.25 * len(order) + 0.85) * n_lines + 0.3),
        squeeze=False,
        sharey=True,
        layout="constrained",
    )
    for axes in grid.flat[len(settings) :]:
        axes.set_axis_off()
    for axes, setting in zip(grid.flat, settings, strict=False):
        for row in rows[rows["setting"] == setting].to_dict("records"):
            label = row["label"]
            y = list(order).index(label)
            axes.errorbar(
                row[metric],
                y,
                xerr=np.nan_to_num(row[f"{metric}_ci"]),
                color=colors[label],
                marker=MARKERS[y % len(MARKERS)],
                markerfacecolor="white" if hollow(label) else colors[label],
                markersize=6,
                linestyle="",
            )
        axes.grid(axis="y", color="0.9")
        axes.margins(x=0.12)
        axes.set_axisbelow(True)
        axes.set_title(setting.replace(", ", "\n", 1), fontsize="medium")
    grid[0, 0].set_yticks(range(len(order)), order)
    grid[0, 0].set_ylim(len(order) - 0.5, -0.5)
    figure.supxlabel(METRIC_LABELS[metric], fontsize="medium")
    sns.despine(figure)
    return figure
