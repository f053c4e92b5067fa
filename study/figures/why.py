"""The last epochs of trainings side by side."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from study.figures.effects import MAP_LABEL, draw_epochs

__all__ = ["plot_last_epochs"]


def plot_last_epochs(tables: Mapping[str, pd.DataFrame], fall: int, ylabel: str = MAP_LABEL) -> Figure:
    """One metric by epoch, a panel a training, a line a seed.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        By the title of the panel; index epochs, a seed a column, percent, see `study.chapters.why.by_epoch`.
    fall : int
        Epoch after which the learning rate may fall: a dotted line.
    ylabel : str
    """
    figure, grid = plt.subplots(
        1, len(tables), figsize=(6.6, 3.2), sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    for axes, (title, table) in zip(grid[0], tables.items(), strict=True):
        draw_epochs(axes, table, fall, markersize=3)
        axes.set_title(title, fontsize="medium")
    grid[0][0].set_ylabel(ylabel)
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize="small"
    )
    sns.despine(figure)
    return figure
