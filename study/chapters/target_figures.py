"""Calibration distributions: what targets come to, by their values and by their properties."""

from __future__ import annotations

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
    "plot_reached",
    "plot_spread",
    "plot_target_differences",
]

# Okabe and Ito's palette
FAMILIES = {
    "symmetric Beta": ("#0072B2", "o"),
    "asymmetric Beta": ("#D55E00", "D"),
    "other": ("#009E73", "s"),
}
SETTING_COLORS = ("#0072B2", "#56B4E9", "#D55E00", "#009E73", "#CC79A7", "#000000")


@STYLE
def plot_target_differences(differences: pd.DataFrame) -> Figure:
    """Heat map of targets by settings, see `study.chapters.targets.default_differences`; what did not run is white."""
    size = 1.8 + 0.95 * differences.shape[1], 0.29 * len(differences) + 1.1
    figure, axes = plt.subplots(figsize=size)
    limit = float(np.nanmax(np.abs(differences.to_numpy(dtype=float))))
    names = [str(name).replace(" (", "\n(").replace(", ", "\n") for name in differences]
    style = {"annot": True, "fmt": "+.1f", "cmap": "RdBu", "center": 0, "cbar": False}
    sns.heatmap(differences.set_axis(names, axis=1), ax=axes, vmin=-limit, vmax=limit, **style)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.set(xlabel="", ylabel="")
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
    grid.flat[0].set_ylabel("mAP less that of Beta(5, 5) (points)")
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
