"""Searches at scale: recall of neighbours against time and memory."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sdclib.figures.style import legend_below, method_colors
from study.figures.plots import STYLE

__all__ = ["plot_recall_by_memory", "plot_recall_by_time"]

INDEX_STYLES: dict[str, dict[str, Any]] = {
    "flat": {"marker": "o", "linestyle": "-", "markersize": 7},
    "IVF": {"marker": "s", "linestyle": "--", "markersize": 4.5},
    "HNSW": {"marker": "^", "linestyle": ":", "markersize": 5.5},
}


@STYLE
def plot_recall_by_time(table: pd.DataFrame, k: int) -> Figure:
    """Recall@k of float neighbours against time: a row a set, a column a code length, a line an index.

    Parameters
    ----------
    table : DataFrame
        See `study.chapters.search_table.search_table`, of one order (Hamming distance or one number of candidates
        re-scored).
    k : int
    """
    codes = table[table["n_bits"].notna()]
    sets, lengths = list(codes["set"].unique()), sorted(codes["n_bits"].unique())
    size = 3.1 * len(lengths), 2.5 * len(sets)
    figure, grid = plt.subplots(
        len(sets), len(lengths), figsize=size, squeeze=False, sharex="row", sharey=True
    )
    colors = method_colors(list(table["label"]))
    for i, name in enumerate(sets):
        floats = table[(table["set"] == name) & table["n_bits"].isna()]
        for axes, n_bits in zip(grid[i], lengths, strict=True):
            chosen = codes[(codes["set"] == name) & (codes["n_bits"] == n_bits)]
            for (label, index), rows in chosen.groupby(["label", "index"], sort=False):
                rows = rows.sort_values("setting")
                axes.plot(rows["ms"], 100 * rows["recall"], color=colors[label], **INDEX_STYLES[index])
            axes.plot(floats["ms"], 100 * floats["recall"], color="black", marker="*", markersize=11)
            axes.set_xscale("log")
            axes.set(title=f"{name}, {n_bits} bits", ylim=(0, 104))
        grid[i][0].set_ylabel(f"recall@{k} (%)")
    for axes in grid[-1]:
        axes.set_xlabel("time a query (ms)")
    legend_below(grid[0][-1], 3, handles=_legend(colors))
    return figure


@STYLE
def plot_recall_by_memory(table: pd.DataFrame, k: int) -> Figure:
    """Best recall@k of float neighbours that an index of some size reaches: a column a set, a row an order.

    Parameters
    ----------
    table : DataFrame
        See `study.chapters.search_table.search_table`.
    k : int
    """
    codes = table[table["n_bits"].notna()]
    sets, orders = list(codes["set"].unique()), sorted(codes["rescored"].unique())
    size = 3.1 * len(sets), 2 * len(orders)
    figure, grid = plt.subplots(len(orders), len(sets), figsize=size, squeeze=False, sharex=True, sharey=True)
    colors = method_colors(list(table["label"]))
    for column, name in zip(grid.T, sets, strict=True):
        floats = table[(table["set"] == name) & table["n_bits"].isna()]
        for axes, rescored in zip(column, orders, strict=True):
            chosen = codes[(codes["set"] == name) & (codes["rescored"] == rescored)]
            best = chosen.sort_values("recall").drop_duplicates(["label", "n_bits", "index"], keep="last")
            for (label, index), rows in best.groupby(["label", "index"], sort=False):
                rows = rows.sort_values("bytes_per_item")
                axes.plot(
                    rows["bytes_per_item"], 100 * rows["recall"], color=colors[label], **INDEX_STYLES[index]
                )
            axes.plot(floats["bytes_per_item"], 100, color="black", marker="*", markersize=11)
            axes.set_xscale("log")
            order = f"{rescored} re-scored" if rescored else "Hamming alone"
            axes.set_title(f"{name}, {order}", fontsize="medium")
            axes.set_ylim(0, 106)
    for axes in grid[:, 0]:
        axes.set_ylabel(f"recall@{k} (%)")
    for axes in grid[-1]:
        axes.set_xlabel("index size (bytes an item)")
    legend_below(grid[0][-1], 3, handles=_legend(colors))
    return figure


def _legend(colors: dict[str, str]) -> list[Line2D]:
    methods = [
        Line2D([], [], color=color, linewidth=3, label=label)
        if label != "Float cosine"
        else Line2D([], [], color="black", marker="*", markersize=11, linestyle="", label=label)
        for label, color in colors.items()
    ]
    return methods + [Line2D([], [], color="0.4", label=index, **s) for index, s in INDEX_STYLES.items()]
