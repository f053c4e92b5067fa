"""Whether what ``sdc fit --goal classes`` takes is the first of all methods without labels, by every rule."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from sdclib.figures.style import MARKERS
from sdclib.methods import GOALS, METHOD_LABELS
from study.figures.plots import SERIES_COLORS, STYLE
from study.provenance import RESULTS
from study.rules import RULES
from study.stats import difference, interval_text, mean_interval
from study.tables import published

__all__ = ["TAKEN", "lead_table", "leads", "plot_lead", "read_runs"]

TAKEN = GOALS["classes"][0]
IMAGES = {"map_expected": "whole database", "map_unseen": "images not trained on"}


def read_runs() -> pd.DataFrame:
    """Read runs as rows for each of `IMAGES`: method, rule (None: it has no rule), n_bits, seed, images, mAP (%)."""
    unseen = pd.read_csv(RESULTS / "goal_classes_unseen.csv", dtype={"id": str})[["id", "map_unseen"]]
    runs = published("goal_classes").merge(
        unseen.drop_duplicates("id"), on="id"
    )  # two rules may have one setting
    keys = ["method", "rule", "n_bits", "seed"]
    long = runs.melt(keys, list(IMAGES), var_name="images", value_name="mAP")
    return long.assign(images=long["images"].map(IMAGES), mAP=100 * long["mAP"])


def leads(runs: pd.DataFrame) -> pd.DataFrame:
    """Compare what is taken with the best of the others under every rule; methods without a rule count under each.

    Returns
    -------
    DataFrame
        images, rule, n_bits; other (the one with the best mean); mean, low, high (points, 95 % interval by Welch over
        seeds, NaN where the other has one seed).
    """
    rows = []
    for rule in RULES:
        here = runs[runs["rule"].isna() | (runs["rule"] == rule)]
        for (images, n_bits), group in here.groupby(["images", "n_bits"]):
            values = group.groupby("method")["mAP"]
            other = values.mean().drop(TAKEN).idxmax()
            lead = difference(*(values.get_group(name) for name in (TAKEN, other)))
            rows.append({"images": images, "rule": rule, "n_bits": n_bits, "other": other, **lead})
    return pd.DataFrame(rows)


def lead_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Lay `leads` out: a row a rule and choice of images, a column a code length."""
    texts = [interval_text(row) for row in rows.to_dict("records")]
    rows = rows.assign(
        text=rows["other"].map(METHOD_LABELS) + ": " + texts,
        bits=rows["n_bits"].astype(str) + " bits",
    )
    columns = list(dict.fromkeys(rows.sort_values("n_bits")["bits"]))
    table = rows.pivot_table(
        index=["images", "rule"], columns="bits", values="text", aggfunc="first", sort=False
    )
    return table[columns].rename_axis(columns=None)


@STYLE
def plot_lead(runs: pd.DataFrame) -> Figure:
    """Draw mAP over the whole database by code length, method and rule, with 95 % intervals over seeds."""
    runs = runs[runs["images"] == IMAGES["map_expected"]]
    order = list(runs.groupby("method")["mAP"].mean().sort_values(ascending=False).index)
    lengths = sorted(runs["n_bits"].unique())
    size = 8, 0.3 * len(order) + 1.2
    figure, grid = plt.subplots(1, len(lengths), figsize=size, sharey=True, sharex=True, squeeze=False)
    panels = grid[0]
    style = dict(zip(RULES, zip(SERIES_COLORS, MARKERS, strict=False), strict=False))
    for n_bits, axes in zip(lengths, panels, strict=True):
        here = runs[runs["n_bits"] == n_bits]
        for (method, rule), group in here.groupby(["method", "rule"], dropna=False):
            color, marker = style.get(rule, ("0.3", "o"))
            mean, half = mean_interval(group["mAP"])
            label = rule if isinstance(rule, str) else "no rule"
            axes.errorbar(
                mean, order.index(method), xerr=half, color=color, marker=marker, linestyle="", label=label
            )
        axes.set_title(f"{n_bits} bits", fontsize="medium")
        axes.grid(axis="x", color="0.9")
    panels[0].set_yticks(range(len(order)), [METHOD_LABELS[name] for name in order])
    panels[0].invert_yaxis()
    found = dict(zip(*reversed(panels[0].get_legend_handles_labels()), strict=True))
    figure.legend(found.values(), found.keys(), loc="outside upper center", ncols=len(found), frameon=False)
    figure.supxlabel("expected mAP@1000 (%)", fontsize="medium")
    return figure
