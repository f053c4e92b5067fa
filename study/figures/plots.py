"""Figures of results: metrics by method, code length, setting and epoch, and differences with their intervals."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sdclib.figures.style import MARKERS as SHAPES
from sdclib.figures.style import NEGATIVE_COLOR, POSITIVE_COLOR, bits_axis, legend_below
from sdclib.methods import METHOD_COLORS
from study.tables import Config

__all__ = [
    "MAP_LABEL",
    "STYLE",
    "colors_of",
    "plot_by_bits",
    "plot_by_ratio",
    "plot_contrasts",
    "plot_curves",
    "plot_effects",
    "plot_epochs",
    "plot_history",
    "plot_intersections",
    "plot_settings",
    "plot_tie_bounds",
]

MAP_LABEL = "expected mAP@R (%)"
METRIC_LABELS = {"map_expected": MAP_LABEL, "intersection": "intersection (%)"}
OTHER_COLOR = "#009E73"
SERIES_COLORS = (POSITIVE_COLOR, NEGATIVE_COLOR, OTHER_COLOR, "#CC79A7")
DASHES = ("-", "--", ":", "-.")


STYLE = mpl.rc_context(
    {
        "figure.constrained_layout.use": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
    }
)  # of every figure


def colors_of(keys: Iterable[Hashable]) -> dict[Any, str]:
    """Colour of each configuration by its method, the same in every figure; all else has one colour."""
    return {
        key: METHOD_COLORS.get(key.method, OTHER_COLOR) if isinstance(key, Config) else OTHER_COLOR
        for key in keys
    }


def _styles(keys: Iterable[Hashable]) -> dict[Any, dict[str, Any]]:
    """Colour and marker of each configuration."""
    colors = colors_of(keys)
    return {
        key: {"color": color, "marker": marker}
        for (key, color), marker in zip(colors.items(), itertools.cycle(SHAPES), strict=False)
    }


def _line(axes: Axes, rows: pd.DataFrame, x: str, metric: str, **style: Any) -> None:
    """Draw a metric with its half intervals as one line."""
    half = np.nan_to_num(rows[f"{metric}_ci"])
    axes.errorbar(rows[x].astype(float), rows[metric], yerr=half, linewidth=1.2, markersize=5, **style)


@STYLE
def plot_history(history: pd.DataFrame) -> Figure:
    """Training losses by epoch, one panel a term, the total first; `history` is that of a fitted method."""
    terms = [name for name in history if name not in ("epoch", "learning_rate", "seconds")]
    figure, grid = plt.subplots(1, len(terms), figsize=(0.3 + 2 * len(terms), 2.4), squeeze=False)
    for axes, term in zip(grid.flat, terms, strict=True):
        axes.plot(history["epoch"], history[term], color=POSITIVE_COLOR)
        axes.set(xlabel="epoch", title=str(term).replace("_", " "))
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(4))
    grid.flat[0].set_ylabel("mean over batches")
    return figure


@STYLE
def plot_intersections(summary: pd.DataFrame) -> Figure:
    """Intersection against mAP, a panel a code length and a point a method; see `study.stats.summarise`."""
    lengths = sorted(summary["n_bits"].dropna().unique())
    size = max(5.5, 3 * len(lengths)), 3.2
    figure, grid = plt.subplots(1, len(lengths), figsize=size, squeeze=False, sharey=True)
    styles = _styles(summary["config"])
    for axes, n_bits in zip(grid.flat, lengths, strict=True):
        for row in summary[summary["n_bits"] == n_bits].to_dict("records"):
            axes.errorbar(
                row["intersection"],
                row["map_expected"],
                xerr=np.nan_to_num(row["intersection_ci"]),
                yerr=np.nan_to_num(row["map_expected_ci"]),
                linestyle="",
                label=row["config"],
                **styles[row["config"]],
            )
        axes.set(title=f"{n_bits} bits", xlabel="intersection (%)")
    grid.flat[0].set_ylabel(MAP_LABEL)
    legend_below(grid.flat[-1])
    return figure


@STYLE
def plot_by_bits(summary: pd.DataFrame, metric: str = "map_expected", ylabel: str = MAP_LABEL) -> Figure:
    """One metric of one data set against code length, a line a method; float features as horizontal lines."""
    figure, axes = plt.subplots(figsize=(6, 4.2))
    codes = summary[summary["n_bits"].notna()]
    last = codes[codes["n_bits"] == codes["n_bits"].max()].sort_values(metric, ascending=False)["config"]
    for i, (config, style) in enumerate(_styles(last).items()):
        rows = codes[codes["config"] == config].sort_values("n_bits")
        _line(axes, rows, "n_bits", metric, label=config, linestyle=DASHES[i // 4 % 4], **style)
    for row, dashes in zip(summary[summary["n_bits"].isna()].to_dict("records"), DASHES, strict=False):
        axes.axhline(row[metric], color="black", linewidth=1, linestyle=dashes, label=row["config"])
    bits_axis(axes, codes["n_bits"])
    axes.set_ylabel(ylabel)
    legend_below(axes)
    return figure


@STYLE
def plot_curves(curves: Mapping[Any, pd.DataFrame], x: str, y: str, xlabel: str, ylabel: str) -> Figure:
    """One share against another, a line a method.

    Parameters
    ----------
    curves : mapping
        By configuration: a table with the columns `x` and `y`.
    x, y, xlabel, ylabel : str
    """
    figure, axes = plt.subplots(figsize=(6, 4.2))
    styles = _styles(curves)
    for i, (config, table) in enumerate(curves.items()):
        axes.plot(
            100 * table[x],
            100 * table[y],
            linestyle=DASHES[i // 4 % 4],
            markevery=max(1, len(table) // 8),
            linewidth=1.2,
            markersize=4,
            label=config,
            **styles[config],
        )
    axes.set(xlabel=xlabel, ylabel=ylabel)
    legend_below(axes)
    return figure


@STYLE
def plot_tie_bounds(results: pd.DataFrame) -> Figure:
    """Show mAP between the worst and the best order of ties, a row a run; see `study.tables.read_results`."""
    table = results.sort_values(["n_bits", "map_expected"])
    colors = colors_of(table["config"])
    figure, axes = plt.subplots(figsize=(6, 0.3 * len(table) + 0.8))
    for height, row in enumerate(table.to_dict("records")):
        bounds = 100 * row["map_pessimistic"], 100 * row["map_optimistic"]
        axes.plot(bounds, (height, height), color=colors[row["config"]], linewidth=3, alpha=0.5)
        axes.plot(100 * row["map_expected"], height, color=colors[row["config"]], marker="o")
    names = [
        f"{config}, {n_bits} bits" for config, n_bits in zip(table["config"], table["n_bits"], strict=True)
    ]
    axes.set_yticks(range(len(table)), names)
    axes.set_xlabel("mAP@R (%)")
    return figure


@STYLE
def plot_by_ratio(summary: pd.DataFrame, metric: str = "map_expected", ylabel: str = MAP_LABEL) -> Figure:
    """One metric against the imbalance ratio, long tails beside controls, a line a method.

    Parameters
    ----------
    summary : DataFrame
        config, ratio, control, and the metric with its half interval (``METRIC_ci``) in percent.
    metric, ylabel : str
    """
    figure, grid = plt.subplots(1, 2, figsize=(6.4, 4.6), sharey=True, sharex=True)
    ratios = sorted(summary["ratio"].unique())
    for axes, control in zip(grid, (False, True), strict=True):
        here = summary[summary["control"] == control]
        for i, (config, style) in enumerate(_styles(here["config"]).items()):
            rows = here[here["config"] == config].sort_values("ratio")
            _line(axes, rows, "ratio", metric, label=config, linestyle=DASHES[i % 4], **style)
        axes.set_xscale("log")
        axes.set_xticks(ratios, [f"{ratio:g}" for ratio in ratios])
        axes.minorticks_off()
        axes.set_xlabel("imbalance ratio (of as many rows)" if control else "imbalance ratio")
        axes.set_title("control: equal classes" if control else "long tail")
    grid[0].set_ylabel(ylabel)
    handles = dict(zip(*reversed(grid[0].get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles, ncols=2, loc="outside lower center")
    return figure


@STYLE
def plot_contrasts(contrasts: pd.DataFrame, xlabel: str) -> Figure:
    """Differences with their 95 % intervals, a panel a group and a row a label, in the order in which they come.

    Parameters
    ----------
    contrasts : DataFrame
        group, label (configurations or text), mean, low, high.
    xlabel : str
    """
    groups, labels = list(dict.fromkeys(contrasts["group"])), list(dict.fromkeys(contrasts["label"]))
    styles = _styles(labels)
    size = min(6.6, 2.4 * len(groups) + 2), 0.3 * len(labels) + 1.2
    figure, grid = plt.subplots(1, len(groups), figsize=size, squeeze=False, sharex=True, sharey=True)
    for axes, group in zip(grid.flat, groups, strict=True):
        axes.axvline(0, color="0.6", linewidth=1)
        for row in contrasts[contrasts["group"] == group].to_dict("records"):
            label, height = row["label"], labels.index(row["label"])
            axes.plot((row["low"], row["high"]), (height, height), color=styles[label]["color"], linewidth=2)
            axes.plot(row["mean"], height, **styles[label])
        axes.set_title(group, fontsize="medium")
    grid.flat[0].set_yticks(range(len(labels)), list(map(str, labels)))
    grid.flat[0].set_ylim(len(labels) - 0.4, -0.6)
    figure.supxlabel(xlabel, fontsize="medium")
    return figure


@STYLE
def plot_settings(
    summary: pd.DataFrame,
    order: Sequence[Any],
    metric: str = "map_expected",
    *,
    hollow: Callable[[Any], bool] = lambda config: False,
    n_columns: int = 2,
) -> Figure:
    """Means with 95 % intervals, a panel a setting and a row of dots a configuration.

    Parameters
    ----------
    summary : DataFrame
        setting, config, the metric and its half interval, see `study.stats.summarise`.
    order : sequence
        Configurations from top to bottom; others are not drawn.
    metric : {"map_expected", "intersection"}
    hollow : callable
        Which configurations have hollow dots.
    n_columns : int
    """
    rows = summary[summary["config"].isin(order)]
    settings = list(dict.fromkeys(rows["setting"]))
    styles = _styles(order)
    n_lines = -(-len(settings) // n_columns)
    size = 1.6 + 2.4 * n_columns, (0.25 * len(order) + 0.85) * n_lines + 0.3
    figure, grid = plt.subplots(n_lines, n_columns, figsize=size, squeeze=False, sharey=True)
    for axes in grid.flat[len(settings) :]:
        axes.set_axis_off()
    for axes, setting in zip(grid.flat, settings, strict=False):
        for row in rows[rows["setting"] == setting].to_dict("records"):
            config = row["config"]
            axes.errorbar(
                row[metric],
                list(order).index(config),
                xerr=np.nan_to_num(row[f"{metric}_ci"]),
                markerfacecolor="white" if hollow(config) else styles[config]["color"],
                markersize=6,
                linestyle="",
                **styles[config],
            )
        axes.grid(axis="y", color="0.9")
        axes.margins(x=0.12)
        axes.set_axisbelow(True)
        axes.set_title(setting.replace(", ", "\n", 1), fontsize="medium")
    grid[0, 0].set_yticks(range(len(order)), list(map(str, order)))
    grid[0, 0].set_ylim(len(order) - 0.5, -0.5)
    figure.supxlabel(METRIC_LABELS[metric], fontsize="medium")
    return figure


@STYLE
def plot_effects(effects: pd.DataFrame, xlabel: str = "difference in expected mAP@R (points)") -> Figure:
    """Differences with their 95 % intervals, a row a change, groups apart, one colour and marker a base.

    Parameters
    ----------
    effects : DataFrame
        group, change, base (as the legend is to name it), mean, low, high; rows of a group follow each other. With
        p_holm, markers of rows at or above 0.05 are hollow. With time, a ratio, a second panel shows it.
    xlabel : str
    """
    gaps = (effects["group"] != effects["group"].shift()).cumsum().to_numpy() - 1
    heights = np.arange(len(effects)) + 0.6 * gaps
    widths = [2, 1] if "time" in effects else [1]
    size = 6.2, 0.25 * (heights[-1] + 1) + 1.3
    figure, grid = plt.subplots(1, len(widths), figsize=size, sharey=True, squeeze=False, width_ratios=widths)
    axes = grid[0, 0]
    axes.axvline(0, color="0.6", linewidth=1)
    bases = list(dict.fromkeys(effects["base"]))
    sure = effects["p_holm"] < 0.05 if "p_holm" in effects else pd.Series(True, index=effects.index)
    for base, color, marker in zip(bases, itertools.cycle(SERIES_COLORS), SHAPES, strict=False):
        here = (effects["base"] == base).to_numpy()
        style: dict[str, Any] = {"color": color, "marker": marker, "markersize": 6, "linestyle": ""}
        axes.hlines(heights[here], effects["low"][here], effects["high"][here], color=color, linewidth=1.8)
        for face, chosen in ((color, here & sure), ("white", here & ~sure)):
            axes.plot(effects["mean"][chosen], heights[chosen], markerfacecolor=face, **style)
        if "time" in effects:
            grid[0, 1].plot(effects["time"][here], heights[here], **style)
        axes.plot([], [], color=color, marker=marker, label=base)
    axes.set_yticks(heights, list(effects["change"]))
    axes.set_ylim(heights[-1] + 0.7, -0.7)
    axes.set_xlabel(xlabel)
    if "time" in effects:
        grid[0, 1].axvline(1, color="0.6", linewidth=1, zorder=0)
        grid[0, 1].set(xlabel="training time (ratio)", xlim=(0, None))
    for panel in grid.flat:
        panel.grid(axis="x", color="0.9", linewidth=0.8)
        panel.set_axisbelow(True)
    if len(bases) > 1:
        figure.legend(loc="outside upper center", ncols=2)
    return figure


@STYLE
def plot_epochs(
    tables: Sequence[pd.DataFrame], fall: int, ylabel: str = MAP_LABEL, titles: Sequence[str] = ()
) -> Figure:
    """One metric by epoch, a panel a table, a line a seed, and a dotted line where the learning rate may fall.

    Parameters
    ----------
    tables : sequence of DataFrame
        Index epochs, a seed a column, percent.
    fall : int
        Epoch after which the learning rate may fall.
    ylabel : str
    titles : sequence of str
        Of the panels, which then share their axes.
    """
    share = bool(titles)
    figure, grid = plt.subplots(1, len(tables), figsize=(6.6, 3.2), sharex=share, sharey=share, squeeze=False)
    for axes, table in zip(grid.flat, tables, strict=True):
        for seed, color, marker in zip(table, SERIES_COLORS, SHAPES, strict=False):
            style = {"markersize": 3 if share else 4, "linewidth": 1, "label": f"seed {seed}"}
            axes.plot(table.index, table[seed], color=color, marker=marker, **style)
        axes.axvline(fall + 0.5, color="0.5", linewidth=1, linestyle=":")
        axes.grid(axis="y", color="0.9", linewidth=0.8)
        axes.set_xlabel("epoch")
    grid.flat[0].set_ylabel(ylabel)
    for axes, title in zip(grid.flat, titles, strict=False):
        axes.set_title(title, fontsize="medium")
    if share:
        handles, labels = grid.flat[0].get_legend_handles_labels()
        below: dict[str, Any] = {"loc": "outside lower center", "ncols": len(labels), "fontsize": "small"}
        figure.legend(handles, labels, **below)
    else:
        grid.flat[0].legend(fontsize="small")
    return figure
