"""Calibration step by step: targets of a batch, distributions, stages of training."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from sdclib.figures.style import NEGATIVE_COLOR, POSITIVE_COLOR, legend_below
from sdclib.losses.calibration import CalibrationDistribution
from study.figures.plots import STYLE

__all__ = ["plot_alignment", "plot_calibration", "plot_stages"]


@STYLE
def plot_calibration(distributions: Mapping[str, CalibrationDistribution]) -> Figure:
    """Quantile functions of calibration distributions.

    Parameters
    ----------
    distributions : mapping of str to CalibrationDistribution
        By the label that the legend shows.
    """
    u = np.linspace(0, 1, 401)
    figure, axes = plt.subplots(figsize=(6, 3.2))
    for (label, distribution), color in zip(
        distributions.items(), sns.color_palette("colorblind", len(distributions)), strict=True
    ):
        axes.plot(u, distribution.quantile(u), color=color, label=label)
    axes.set(xlabel="probability u", ylabel="quantile (cosine similarity)", xlim=(0, 1), ylim=(-1, 1))
    axes.legend()
    return figure


@STYLE
def plot_alignment(
    feature_similarities: ArrayLike, code_similarities: ArrayLike, targets: ArrayLike
) -> Figure:
    """Show the calibration loss of one batch: pairs in the order of their features, with their targets.

    Parameters
    ----------
    feature_similarities, code_similarities : array-like, shapes (n_pairs,)
    targets : array-like, shape (n_pairs,)
        Ascending, see `sdclib.losses.calibration.target_quantiles`.
    """
    order = np.argsort(feature_similarities, kind="stable")
    t, s, c = (np.asarray(x) for x in (feature_similarities, code_similarities, targets))
    rank = np.arange(1, len(order) + 1)
    figure, axes = plt.subplots(figsize=(6, 3.6))
    axes.vlines(rank, s[order], c, color="0.6", linewidth=2, label="what the loss adds up")
    axes.plot(rank, t[order], color="black", marker=".", linewidth=1, label="features, t")
    axes.plot(rank, c, color=POSITIVE_COLOR, marker="_", markersize=12, linestyle="", label="targets, C")
    axes.plot(rank, s[order], color=NEGATIVE_COLOR, marker="o", linestyle="", label="codes, s")
    axes.set(xlabel="pair, in ascending order of t", ylabel="cosine similarity", ylim=(-1.05, 1.05))
    legend_below(axes, 4)
    return figure


@STYLE
def plot_stages(
    stages: Mapping[str, ArrayLike], calibration: CalibrationDistribution, n_bins: int = 41
) -> Figure:
    """Small multiples: similarities at stages of training, with the distribution they are to have.

    Parameters
    ----------
    stages : mapping of str to array-like, shape (n_pairs,)
        By the title of the panel.
    calibration : CalibrationDistribution
    n_bins : int
    """
    n_columns = min(3, len(stages))
    n_rows = -(-len(stages) // n_columns)
    figure, grid = plt.subplots(
        n_rows,
        n_columns,
        figsize=(2 * n_columns, 2.1 * n_rows + 0.2),
        squeeze=False,
        sharey=True,
    )
    wanted = calibration.quantile((np.arange(20_000) + 0.5) / 20_000)
    bins = np.linspace(-1, 1, n_bins)
    for axes, (title, similarities) in zip(grid.flat, stages.items(), strict=False):
        axes.hist(similarities, bins=bins, density=True, color=NEGATIVE_COLOR, alpha=0.7)
        axes.hist(wanted, bins=bins, density=True, histtype="step", color=POSITIVE_COLOR, linewidth=1.5)
        axes.set(title=title, xlim=(-1, 1), xticks=(-1, 0, 1))
    for axes in grid.flat[len(stages) :]:
        axes.remove()
    for axes in grid[:, 0]:
        axes.set_ylabel("density")
    figure.supxlabel("cosine similarity", fontsize="medium")
    return figure
