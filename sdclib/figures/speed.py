"""Rates of training beside what the machine could do."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from sdclib.figures.style import NEGATIVE_COLOR, POSITIVE_COLOR

__all__ = ["plot_rates"]

RATE_COLORS = {"this library": POSITIVE_COLOR, "plain loop": NEGATIVE_COLOR}


def plot_rates(rates: pd.DataFrame, least: float) -> Figure:
    """Rates of the products of a training step as bars, with the share of the peak, and the bar as a dashed line.

    Parameters
    ----------
    rates : DataFrame
        See `sdclib.analysis.check_reports.training_rates`.
    least : float
        The share of the peak that is wanted, in [0, 1].
    """
    peak = float(rates["rate"].to_numpy()[0])
    figure, axes = plt.subplots(figsize=(6.2, 2.9), layout="constrained")
    names = list(rates.index)
    bars = axes.barh(names, rates["rate"], color=[RATE_COLORS.get(name, "0.75") for name in names])
    shares = [f"{100 * share:.0f} %" for share in rates["share"]]
    axes.bar_label(bars, shares, padding=4, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})
    axes.axvline(least * peak, color="black", linestyle="--", linewidth=1.2)
    axes.text(least * peak, -0.62, f" wanted: {100 * least:.0f} %", va="bottom", fontsize="small")
    axes.invert_yaxis()
    axes.set_ylim(top=-1.0)
    axes.set_xlim(0, 1.12 * peak)
    axes.set_xlabel("rate of products ($10^9$ operations a second)")
    sns.despine(figure)
    return figure
