"""Figures of the book: one style, one colour a method, colour-blind-safe."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import ArrayLike

from sdclib.calibration import CalibrationDistribution
from sdclib.images import ImageSet

__all__ = [
    "NEGATIVE_COLOR",
    "POSITIVE_COLOR",
    "method_colors",
    "plot_alignment",
    "plot_by_bits",
    "plot_calibration",
    "plot_gallery",
    "plot_history",
    "plot_images",
    "plot_intersections",
    "plot_pair_histogram",
    "plot_pair_histograms",
    "plot_stages",
    "plot_tie_bounds",
]

# Okabe and Ito's palette
POSITIVE_COLOR, NEGATIVE_COLOR = "#0072B2", "#D55E00"
MARKERS = "osD^vP*X<>"
# One a method through the whole book; methods of one colour differ by marker and line.
METHOD_COLORS = {
    "Float cosine": "#000000",
    "SDC": "#0072B2",
    "ITQ": "#E69F00",
    "LSH": "#CC79A7",
    "Sign of features": "#999999",
    "Random rotation": "#999999",
    "PCAH": "#E69F00",
    "SH": "#CC79A7",
    "GreedyHash": "#009E73",
    "BiHalf": "#009E73",
    "SSDH": "#D55E00",
    "TBH": "#D55E00",
    "CIBHash": "#56B4E9",
    "NSH": "#56B4E9",
    "WCH": "#56B4E9",
    "CroVCA": "#882255",
}


def method_colors(labels: list[str]) -> dict[str, str]:
    """Colour of each label by its method, the same in every figure; see `sdclib.tables.method_label`."""
    return {label: METHOD_COLORS.get(label.split(" (")[0], "#009E73") for label in labels}


def plot_history(history: pd.DataFrame) -> Figure:
    """Training losses by epoch, one panel a term, the total first.

    Parameters
    ----------
    history : DataFrame
        epoch, loss and its terms, see `sdclib.training.train`.
    """
    terms = [name for name in history if name not in ("epoch", "learning_rate", "seconds")]
    figure, grid = plt.subplots(
        1, len(terms), figsize=(2.9 * len(terms), 2.7), squeeze=False, layout="constrained"
    )
    for axes, term in zip(grid.flat, terms, strict=True):
        axes.plot(history["epoch"], history[term], color=POSITIVE_COLOR)
        axes.set(xlabel="epoch", title=str(term).replace("_", " "))
    grid.flat[0].set_ylabel("mean over batches")
    sns.despine(figure)
    return figure


def plot_pair_histogram(histogram: pd.DataFrame, axes: Axes, title: str = "") -> None:
    """Distributions of the similarity of positive and negative pairs, their intersection shaded.

    Parameters
    ----------
    histogram : DataFrame
        similarity (ascending), positive, negative (pair counts), see `sdclib.evaluation.evaluate_codes`.
    axes : Axes
    title : str
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
    axes.set(xlabel="cosine similarity", ylabel="share of pairs", xlim=(-1, 1), ylim=(0, None), title=title)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))


def plot_pair_histograms(histograms: Mapping[str, pd.DataFrame], n_columns: int = 2) -> Figure:
    """Small multiples of `plot_pair_histogram`, one panel a title."""
    n_rows = -(-len(histograms) // n_columns)
    figure, grid = plt.subplots(
        n_rows, n_columns, figsize=(4 * n_columns, 2.6 * n_rows), squeeze=False, layout="constrained"
    )
    for axes, (title, histogram) in zip(grid.flat, histograms.items(), strict=False):
        plot_pair_histogram(histogram, axes, title)
    for axes in grid.flat[len(histograms) :]:
        axes.remove()
    grid.flat[0].legend(frameon=False, fontsize="small", loc="upper left")
    sns.despine(figure)
    return figure


def plot_images(images: ImageSet, numbers: Sequence[int], n_columns: int = 10) -> Figure:
    """Grid of images with their labels.

    Parameters
    ----------
    images : ImageSet
    numbers : sequence of int
        Which images.
    n_columns : int
    """
    n_rows = -(-len(numbers) // n_columns)
    figure, grid = plt.subplots(
        n_rows, n_columns, figsize=(0.95 * n_columns, 1.15 * n_rows), squeeze=False, layout="constrained"
    )
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, number in zip(grid.flat, numbers, strict=False):
        axes.imshow(images.read(int(number)))
        axes.set_title(_label_text(images, int(number)), fontsize="small")
    return figure


def plot_gallery(images: ImageSet, neighbours: Mapping[int, Sequence[int]]) -> Figure:
    """Show queries with their neighbours, best first: relevant ones blue with a tick, others orange with a cross.

    Parameters
    ----------
    images : ImageSet
    neighbours : mapping of int to sequence of int
        Image number of a query to those of its neighbours, as many for each query.
    """
    n_columns = 1 + len(next(iter(neighbours.values())))
    figure, grid = plt.subplots(
        len(neighbours),
        n_columns,
        figsize=(0.95 * n_columns, 1.2 * len(neighbours)),
        squeeze=False,
        layout="constrained",
    )
    for row, (query, found) in zip(grid, neighbours.items(), strict=True):
        for axes, number in zip(row, [query, *found], strict=True):
            axes.imshow(images.read(int(number)))
            axes.set(xticks=[], yticks=[])
            color, text = "0.3", f"query: {_label_text(images, query)}"
            if axes is not row[0]:
                good = _share_a_label(images, query, int(number))
                color = POSITIVE_COLOR if good else NEGATIVE_COLOR
                text = f"{'✓' if good else '✗'} {_label_text(images, int(number))}"
            axes.set_title(text, fontsize="x-small", color=color)
            for spine in axes.spines.values():
                spine.set(color=color, linewidth=2.5)
    return figure


def _label_text(images: ImageSet, number: int) -> str:
    label = images.labels[number]
    names = [images.class_names[int(label)]] if label.ndim == 0 else np.array(images.class_names)[label > 0]
    text = ", ".join(names)
    return text if len(text) <= 14 else f"{text[:13]}…"


def _share_a_label(images: ImageSet, first: int, second: int) -> bool:
    a, b = images.labels[first], images.labels[second]
    return bool(a == b) if a.ndim == 0 else bool((a & b).any())


def plot_intersections(summary: pd.DataFrame) -> Figure:
    """Intersection against mAP, one point a method and code length.

    Parameters
    ----------
    summary : DataFrame
        label, n_bits, map_expected, intersection and their half intervals in percent, see `sdclib.tables.summarise`.
    """
    lengths = sorted(summary["n_bits"].dropna().unique())
    size = 4 * len(lengths) + 2.5, max(3.4, 0.2 * summary["label"].nunique())
    figure, grid = plt.subplots(
        1, len(lengths), figsize=size, squeeze=False, sharey=True, layout="constrained"
    )
    colors = method_colors(list(summary["label"]))
    markers = dict(zip(summary["label"].unique(), itertools.cycle(MARKERS), strict=False))
    for axes, n_bits in zip(grid.flat, lengths, strict=True):
        for row in summary[summary["n_bits"] == n_bits].to_dict("records"):
            axes.errorbar(
                row["intersection"],
                row["map_expected"],
                xerr=np.nan_to_num(row["intersection_ci"]),
                yerr=np.nan_to_num(row["map_expected_ci"]),
                color=colors[row["label"]],
                marker=markers[row["label"]],
                linestyle="",
                label=row["label"],
            )
        axes.set(title=f"{n_bits} bits")
    figure.supxlabel("intersection of positive and negative pairs (%)", fontsize="medium")
    grid.flat[0].set_ylabel("expected mAP@R (%)")
    grid.flat[-1].legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    sns.despine(figure)
    return figure


def plot_by_bits(
    summary: pd.DataFrame, metric: str = "map_expected", ylabel: str = "expected mAP@R (%)"
) -> Figure:
    """One metric against code length, one line a method, with 95 % intervals; float features as horizontal lines.

    Parameters
    ----------
    summary : DataFrame
        Of one data set, see `sdclib.tables.summarise`.
    metric : str
    ylabel : str
    """
    figure, axes = plt.subplots(figsize=(7.5, 5), layout="constrained")
    codes = summary[summary["n_bits"].notna()]
    colors = method_colors(list(summary["label"]))
    last = codes[codes["n_bits"] == codes["n_bits"].max()].sort_values(metric, ascending=False)
    for i, label in enumerate(last["label"]):
        rows = codes[codes["label"] == label].sort_values("n_bits")
        axes.errorbar(
            rows["n_bits"].astype(float),
            rows[metric],
            yerr=np.nan_to_num(rows[f"{metric}_ci"]),
            color=colors[label],
            marker=MARKERS[i % len(MARKERS)],
            linestyle=("-", "--", ":", "-.")[i // 4 % 4],
            linewidth=1.2,
            markersize=5,
            label=label,
        )
    for row, style in zip(summary[summary["n_bits"].isna()].to_dict("records"), ("-", "--"), strict=False):
        axes.axhline(row[metric], color="black", linewidth=1, linestyle=style, label=row["label"])
    lengths = sorted(codes["n_bits"].unique())
    axes.set_xscale("log", base=2)
    axes.set_xticks([float(n) for n in lengths], [str(n) for n in lengths])
    axes.set(xlabel="code length (bits)", ylabel=ylabel)
    axes.legend(frameon=False, fontsize="x-small", loc="upper left", bbox_to_anchor=(1, 1))
    sns.despine(figure)
    return figure


def plot_calibration(distributions: Mapping[str, CalibrationDistribution]) -> Figure:
    """Quantile functions of calibration distributions.

    Parameters
    ----------
    distributions : mapping of str to CalibrationDistribution
        By the label that the legend shows.
    """
    u = np.linspace(0, 1, 401)
    figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
    for (label, distribution), color in zip(
        distributions.items(), sns.color_palette("colorblind", len(distributions)), strict=True
    ):
        axes.plot(u, distribution.quantile(u), color=color, label=label)
    axes.set(xlabel="probability u", ylabel="quantile (cosine similarity)", xlim=(0, 1), ylim=(-1, 1))
    axes.legend(frameon=False)
    sns.despine(figure)
    return figure


def plot_alignment(
    feature_similarities: ArrayLike, code_similarities: ArrayLike, targets: ArrayLike
) -> Figure:
    """Show the calibration loss of one batch: pairs in the order of their features, with their targets.

    Parameters
    ----------
    feature_similarities, code_similarities : array-like, shapes (n_pairs,)
    targets : array-like, shape (n_pairs,)
        Ascending, see `sdclib.calibration.target_quantiles`.
    """
    order = np.argsort(feature_similarities, kind="stable")
    t, s, c = (np.asarray(x) for x in (feature_similarities, code_similarities, targets))
    rank = np.arange(1, len(order) + 1)
    figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
    axes.vlines(rank, s[order], c, color="0.6", linewidth=2, label="what the loss adds up")
    axes.plot(rank, t[order], color="black", marker=".", linewidth=1, label="features, t")
    axes.plot(rank, c, color=POSITIVE_COLOR, marker="_", markersize=12, linestyle="", label="targets, C")
    axes.plot(rank, s[order], color=NEGATIVE_COLOR, marker="o", linestyle="", label="codes, s")
    axes.set(xlabel="pair, in ascending order of t", ylabel="cosine similarity", ylim=(-1.05, 1.05))
    axes.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    sns.despine(figure)
    return figure


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
    figure, grid = plt.subplots(
        1,
        len(stages),
        figsize=(2.3 * len(stages), 2.6),
        squeeze=False,
        sharey=True,
        layout="constrained",
    )
    wanted = calibration.quantile((np.arange(20_000) + 0.5) / 20_000)
    bins = np.linspace(-1, 1, n_bins)
    for axes, (title, similarities) in zip(grid.flat, stages.items(), strict=True):
        axes.hist(similarities, bins=bins, density=True, color=NEGATIVE_COLOR, alpha=0.7)
        axes.hist(wanted, bins=bins, density=True, histtype="step", color=POSITIVE_COLOR, linewidth=1.5)
        axes.set(title=title, xlim=(-1, 1))
        axes.set_xlabel("cosine similarity")
    grid.flat[0].set_ylabel("density")
    sns.despine(figure)
    return figure


def plot_tie_bounds(results: pd.DataFrame) -> Figure:
    """Show mAP between the worst and the best order of ties, one row a run.

    Parameters
    ----------
    results : DataFrame
        label, n_bits, map_expected, map_optimistic, map_pessimistic (in [0, 1]), see `sdclib.tables.read_results`.
    """
    table = results.sort_values(["n_bits", "map_expected"])
    colors = method_colors(list(table["label"]))
    figure, axes = plt.subplots(figsize=(6.5, 0.32 * len(table) + 0.8), layout="constrained")
    for height, row in enumerate(table.to_dict("records")):
        bounds = 100 * row["map_pessimistic"], 100 * row["map_optimistic"]
        axes.plot(bounds, (height, height), color=colors[row["label"]], linewidth=3, alpha=0.5)
        axes.plot(100 * row["map_expected"], height, color=colors[row["label"]], marker="o")
    axes.set_yticks(
        range(len(table)), [f"{row['label']}, {row['n_bits']} bits" for row in table.to_dict("records")]
    )
    axes.set_xlabel("mAP@R (%)")
    sns.despine(figure)
    return figure
