"""Ways to store vectors at equal bytes: what ``results/bench_bytes.json`` has, over several sets."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from sdclib.files import read_json
from sdclib.search.compare import choice_label, decisions, label_of
from study.figures.plots import SERIES_COLORS, STYLE
from study.provenance import RESULTS
from study.tables import set_name

__all__ = ["decide_over_sets", "decision_table", "means_of", "plot_methods", "read_parts"]

SAME = ["seed", "method", "query", "goal", "k", "depth", "n_bits", "n_bytes"]


def read_parts(path: Path = RESULTS / "bench_bytes.json") -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read scores and costs, see `sdclib.search.compare.compare`, with columns data and seed."""
    parts = read_json(path)["parts"]
    scores, costs = (
        pd.concat([pd.DataFrame(part[name]).assign(data=part["data"], seed=part["seed"]) for part in parts])
        for name in ("scores", "costs")
    )
    return scores, costs


def decide_over_sets(scores: pd.DataFrame, costs: pd.DataFrame, *, k: int, depth: int) -> pd.DataFrame:
    """Find what is best on average over sets, each with the same weight, for each goal and number of bytes.

    Parameters
    ----------
    scores, costs : DataFrame
        Of `read_parts`.
    k, depth : int
        As in `sdclib.search.compare.decisions`.

    Returns
    -------
    DataFrame
        As of `decisions`. Methods that some set lacks at some length are left out of it.
    """
    scores = scores.assign(
        k=scores["k"].where(scores["goal"] == "neighbours", 0)
    )  # R of mAP@R differs by set
    groups = scores.groupby(SAME, dropna=False)
    means = groups.agg(
        value=("value", "mean"),
        error=("error", lambda e: np.sqrt((e**2).mean() / len(e))),
        n=("data", "nunique"),
    ).reset_index()
    return decisions(means[means["n"] == scores["data"].nunique()], costs, k=k, depth=depth)


def decision_table(decided: pd.DataFrame) -> pd.DataFrame:
    """Lay decisions out: goal, bytes, what to take, its value with a 95 % interval, what is as good, and costs."""
    goals = decided["goal"].map({"classes": "same class", "neighbours": "nearest"})
    rows = pd.DataFrame(
        {
            "goal": goals.where(decided["depth"] == 0, "re-scored"),
            "bytes": decided["n_bytes"],
            "take": decided["method"].combine(decided["query"], choice_label),
            "%": [
                f"{100 * v:.1f} ± {196 * e:.1f}"
                for v, e in zip(decided["value"], decided["error"], strict=True)
            ],
            "as good": decided["level"],
            "fit, encode a million": [
                f"{fit:.0f} s, {encode:.0f} s"
                for fit, encode in zip(decided["fit_seconds"], decided["encode_us"], strict=True)
            ],
        }
    )
    return rows.set_index(["goal", "bytes"])


def means_of(scores: pd.DataFrame, *, k: int, depth: int) -> pd.DataFrame:
    """Percent by set and method: a row for each set, method, kind of query and number of bytes, a column a goal."""
    kept = scores[((scores["goal"] == "classes") | (scores["k"] == k)) & scores["depth"].isin([0, depth])]
    names = {"classes": "mAP", "neighbours": f"recall@{k}"}
    goal = kept["goal"].map(names).where(kept["depth"] == 0, f"recall@{k}, {depth} re-scored")
    rows = kept.assign(
        goal=goal,
        set=kept["data"].map(set_name),
        method=kept["method"].map(label_of),
        percent=100 * kept["value"],
    )
    return rows.pivot_table(
        index=["set", "method", "query", "n_bytes"], columns="goal", values="percent", sort=False
    )


@STYLE
def plot_methods(means: pd.DataFrame, n_bytes: int) -> Figure:
    """Draw `means_of` at one number of bytes: a panel a goal, a row a method, a colour and shape a set.

    Filled markers are float queries, hollow ones are codes alone.
    """
    at = means[means.index.get_level_values("n_bytes") == n_bytes].reset_index("n_bytes", drop=True)
    order = at[at.columns[0]].groupby("method").max().sort_values().index
    figure, panels = plt.subplots(1, at.shape[1], sharey=True, figsize=(9, 0.42 * len(order) + 1.2))
    for axes, goal in zip(panels, at.columns, strict=True):
        for number, name in enumerate(at.index.unique("set")):
            place = pd.Series(np.arange(len(order)) + 0.22 * (1 - number), index=order)
            look = {
                "color": SERIES_COLORS[number],
                "marker": "osD"[number],
                "linestyle": "none",
                "markersize": 5,
            }
            by_query = at.loc[name].pivot_table(index="method", columns="query", values=goal)
            y = place[by_query.index]
            axes.hlines(y, by_query.min(axis=1), by_query.max(axis=1), color=look["color"], linewidth=1)
            axes.plot(by_query["codes"], y, markerfacecolor="white", **look)
            axes.plot(by_query["float"], y, label=name, **look)
        axes.set_xlabel(f"{goal} (%)")
        axes.grid(axis="x", color="0.9")
    panels[0].set_yticks(range(len(order)), order)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure
