"""What the library's report shows, and the book too: distributions of similarities, recall by code length."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from sdclib.figures.style import (
    MARKERS,
    NEGATIVE_COLOR,
    POSITIVE_COLOR,
    bits_axis,
    legend_below,
    method_colors,
)

__all__ = ["plot_pair_histogram", "plot_pair_histograms", "plot_recall_by_bits"]


def plot_pair_histogram(histogram: pd.DataFrame, axes: Axes, title: str = "") -> None:
    """Distributions of the similarity of positive and negative pairs, their intersection shaded.

    The table is that of `sdclib.evaluation.evaluate_codes`: similarity (ascending), positive, negative (pair counts).
    """
    similarity = histogram["similarity"].to_numpy()
    positive, negative = (
        histogram[kind].to_numpy() / histogram[kind].sum() for kind in ("positive", "negative")
    )
    for share, color, label in (
        (positive, POSITIVE_COLOR, "positive pairs"),
        (negative, NEGATIVE_COLOR, "negative pairs"),
    ):
        axes.step(similarity, share, where="mid", color=color, label=label)
    axes.fill_between(
        similarity, np.minimum(positive, negative), step="mid", color="0.6", alpha=0.5, label="intersection"
    )
    axes.set(
        xlabel="cosine similarity", ylabel="share of pairs (%)", xlim=(-1, 1), ylim=(0, None), title=title
    )
    axes.set_xticks([-1, -0.5, 0, 0.5, 1])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g}"))


def plot_pair_histograms(histograms: Mapping[str, pd.DataFrame], n_columns: int = 2) -> Figure:
    """Small multiples of `plot_pair_histogram`, one panel a title."""
    n_rows = -(-len(histograms) // n_columns)
    figure, grid = plt.subplots(
        n_rows,
        n_columns,
        figsize=(max(4.2, 3 * n_columns), 2.3 * n_rows),
        squeeze=False,
        layout="constrained",
    )
    for i, (axes, (title, histogram)) in enumerate(zip(grid.flat, histograms.items(), strict=False)):
        plot_pair_histogram(histogram, axes, title)
        if i + n_columns < len(histograms):
            axes.set_xlabel("")
        if i % n_columns:
            axes.set_ylabel("")
    for axes in grid.flat[len(histograms) :]:
        axes.remove()
    legend_below(grid.flat[0], 3)
    sns.despine(figure)
    return figure


def plot_recall_by_bits(recall: pd.DataFrame, k: int) -> Figure:
    """Recall@k of float neighbours against code length, one colour a method.

    Parameters
    ----------
    recall : DataFrame
        label, n_bits, depth (candidates that float vectors re-score; 0: none), recall in [0, 1].
    k : int
    """
    figure, axes = plt.subplots(figsize=(6, 3.8), layout="constrained")
    labels = list(dict.fromkeys(recall["label"]))
    colors = method_colors(labels)
    depths = sorted(recall["depth"].unique())
    styles = dict(zip(depths, ("--", "-", ":", "-."), strict=False))
    looks: dict[Any, Any] = {
        label: {"color": colors[label], "marker": MARKERS[i % len(MARKERS)]} for i, label in enumerate(labels)
    }
    for (label, depth), rows in recall.sort_values("n_bits").groupby(["label", "depth"], sort=False):
        axes.plot(rows["n_bits"].astype(float), 100 * rows["recall"], linestyle=styles[depth], **looks[label])
    methods = [Line2D([], [], label=label, **look) for label, look in looks.items()]
    names = {
        depth: f"{depth} candidates re-scored" if depth else "Hamming distance alone" for depth in depths
    }
    lines = [
        Line2D([], [], color="black", linestyle=styles[depth], label=names[depth])
        for depth in reversed(depths)
    ]
    bits_axis(axes, recall["n_bits"])
    axes.set(ylabel=f"recall@{k} of float neighbours (%)", ylim=(0, 102))
    legend_below(axes, handles=[*methods, *lines])
    sns.despine(figure)
    return figure
