"""Is it the teacher or the objective? Objectives with features averaged over neighbours as teacher, and without."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from sdclib.methods import METHOD_LABELS
from study.figures.plots import STYLE
from study.tables import set_name

__all__ = ["name_objectives", "plot_teacher"]

WITHOUT, WITH = "#D55E00", "#0072B2"


def name_objectives(runs: pd.DataFrame) -> pd.DataFrame:
    """Add columns: objective, by name; teacher, whether features averaged over neighbours are what is learned from."""
    names = []
    for row in runs.to_dict("records"):
        name = METHOD_LABELS[row["method"]].removesuffix(" by neighbours")
        if row["method"] == "neighbour-sdc":
            name = {"similarities": "Cosine", "linear": "Linear map"}.get(row["target"], name)
            name = "Order alone" if row["match_by"] == "rank" else name
            name += ", linear head" if row["n_hidden_layers"] == 0 else ""
        names.append(name)
    steps = runs["n_steps"].fillna(0).astype(int) > 0
    return runs.assign(
        objective=names, teacher=steps | (runs["n_neighbors"].notna() & runs["n_steps"].isna())
    )


@STYLE
def plot_teacher(named: pd.DataFrame) -> Figure:
    """Draw the mAP of `name_objectives` without and with the teacher: a panel a set and code length."""
    by = ["data", "n_bits", "teacher"]
    means = 100 * named.pivot_table(index="objective", columns=by, values="map_expected", sort=False)
    means = means.sort_index(axis=1)  # what pandas wants of nested columns
    sets, lengths = named["data"].unique(), sorted(named["n_bits"].unique())
    order = list(means.mean(axis=1).sort_values().index)
    size = (2.5 * len(sets) + 0.5, (0.24 * len(order) + 0.8) * len(lengths))
    figure, panels = plt.subplots(
        len(lengths), len(sets), sharey=True, sharex="col", squeeze=False, figsize=size
    )
    for n_bits, row in zip(lengths, panels, strict=True):
        for data, axes in zip(sets, row, strict=True):
            at = means.loc[order, (data, n_bits)]
            y = range(len(order))
            axes.hlines(y, at.min(axis=1), at.max(axis=1), color="0.7", linewidth=1)
            for teacher, color, marker, label in (
                (False, WITHOUT, "o", "features"),
                (True, WITH, "s", "neighbours as teacher"),
            ):
                if teacher in at:
                    axes.plot(at[teacher], y, marker, color=color, markersize=5, label=label)
            axes.set_title(f"{set_name(data)}, {n_bits} bits", fontsize="medium")
            axes.grid(axis="x", color="0.9")
    panels[0, 0].set_yticks(range(len(order)), order)
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    figure.supxlabel("expected mAP@R (%)", fontsize="medium")
    return figure
