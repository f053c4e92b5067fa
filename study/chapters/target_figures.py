"""Calibration distributions: what targets come to, by their values and by their properties."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sdclib.figures.style import MARKERS
from study.chapters.targets import PROPERTIES, target_family
from study.figures.plots import STYLE

__all__ = [
    "plot_planes",
    "plot_reached",
    "plot_spread",
]

# Okabe and Ito's palette
FAMILIES = {
    "symmetric Beta": ("#0072B2", "o"),
    "asymmetric Beta": ("#D55E00", "D"),
    "other": ("#009E73", "s"),
}
SETTING_COLORS = ("#0072B2", "#56B4E9", "#D55E00", "#009E73", "#CC79A7", "#000000")


@STYLE
def plot_planes(grids: Mapping[str, pd.DataFrame]) -> Figure:
    """Show Beta(a, b) as target, a panel a data set: points above or below Beta(5, 5).

    Parameters
    ----------
    grids : mapping of str to DataFrame
        By title, metrics in percent, see `study.chapters.targets.beta_grid`.
    """
    less = {title: grid - grid.loc[5, 5] for title, grid in grids.items()}
    n_lines = -(-len(less) // 2)
    figure, grid = plt.subplots(
        n_lines, 2, figsize=(6.6, 3.2 * n_lines), squeeze=False, sharex=True, sharey=True
    )
    limit = (
        max(np.abs(values).max(axis=None) for values in less.values()) / 2
    )  # lest the worst cell pale the rest
    style = {"annot": True, "fmt": "+.1f", "cmap": "RdBu", "center": 0, "cbar": False, "linewidths": 1}
    for axes, (title, values) in zip(grid.flat, less.items(), strict=False):
        names = values.rename(index="{:g}".format, columns="{:g}".format).iloc[::-1]
        sns.heatmap(names, ax=axes, vmin=-limit, vmax=limit, annot_kws={"size": 8}, **style)
        axes.tick_params(length=0)
        axes.set(title=title, xlabel="b", ylabel="a")
        axes.label_outer()
    for axes in grid.flat[len(less) :]:
        axes.set_axis_off()
    return figure


@STYLE
def plot_spread(spreads: pd.DataFrame, lowest: float | None = None) -> Figure:
    """Show mAP against the standard deviation of symmetric targets, a panel a source and a line a setting.

    Parameters
    ----------
    spreads : DataFrame
        See `study.chapters.targets.spreads`.
    lowest : float, optional
        Lower end of the vertical axis; lines that go on below it leave the panel.
    """
    sources = list(spreads["source"].unique())
    size = 3.5 * len(sources), 4.2
    figure, grid = plt.subplots(1, len(sources), figsize=size, squeeze=False, sharex=True, sharey=True)
    for axes, source in zip(grid.flat, sources, strict=True):
        lines = spreads[spreads["source"] == source].sort_values("std").groupby("setting", sort=False)
        settings = spreads.loc[spreads["source"] == source, "setting"].unique()
        for setting, color, marker in zip(settings, SETTING_COLORS, MARKERS, strict=False):
            rows, style = lines.get_group(setting), {"markersize": 5, "linewidth": 1.2}
            half = np.nan_to_num(rows["ci"])
            axes.errorbar(
                rows["std"], rows["difference"], half, color=color, marker=marker, label=setting, **style
            )
        axes.axhline(0, color="0.7", linewidth=1, zorder=0)
        axes.set_title(source)
        axes.set_xlabel("standard deviation of the target")
        axes.legend(fontsize="small", loc="lower left")
    grid.flat[0].set_ylim(lowest, None)
    grid.flat[0].set_ylabel("mAP above that of Beta(5, 5) (points)")
    return figure


@STYLE
def plot_reached(table: pd.DataFrame) -> Figure:
    """Show mean and standard deviation of code similarities against those of the target; the line is where they agree.

    Parameters
    ----------
    table : DataFrame
        Index: targets; mean and std of the target, all_mean and all_std of query-database pairs of codes, in percent.
    """
    shown = table.assign(all_mean=table["all_mean"] / 100, all_std=table["all_std"] / 100)
    figure, grid = plt.subplots(1, 2, figsize=(6.2, 3.1))
    for axes, name in zip(grid, ("mean", "std"), strict=True):
        _points(axes, shown, name, f"all_{name}")
        both = shown[[name, f"all_{name}"]]
        ends = [both.min(axis=None), both.max(axis=None)]
        axes.plot(ends, ends, color="0.6", linewidth=1, zorder=0)
        axes.set(xlabel=f"{PROPERTIES[name]} of the target", ylabel=f"{PROPERTIES[name]} of the codes")
    _families(figure, grid[0])
    return figure


def _points(axes: Axes, table: pd.DataFrame, x: str, y: str) -> None:
    """Draw one point a target, coloured by its family."""
    families = np.array([target_family(target) for target in table.index])
    for family, (color, marker) in FAMILIES.items():
        rows = table[families == family]
        axes.plot(rows[x], rows[y], color=color, marker=marker, markersize=6, linestyle="", label=family)


def _families(figure: Figure, axes: Axes) -> None:
    """Put the legend of `_points` above all panels."""
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=3)
