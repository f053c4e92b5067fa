"""The figure of the first page."""

from __future__ import annotations

from matplotlib.figure import Figure

from study.figures import plot_pair_histograms
from study.tables import find, published, published_histograms, where

__all__ = ["plot_collapse"]

TABLES = ("cifar10_closed", "cifar10_sdc")


def plot_collapse(n_bits: int = 64) -> Figure:
    """Similarities of positive and negative pairs of CIFAR-10: features, codes of ITQ and of SDC, side by side."""
    runs = where(published(*TABLES), seed=0)
    runs = runs[(runs["n_bits"] == n_bits) | runs["n_bits"].isna()]
    chosen = {
        "features": find(runs, method="cosine", center=False),
        f"ITQ, {n_bits} bits": find(runs, method="itq"),
        f"SDC, {n_bits} bits": find(runs, method="sdc", preset="paper-no-contrastive"),
    }
    histograms = published_histograms(*TABLES)
    ids = {title: where(runs, config=config)["id"].iloc[0] for title, config in chosen.items()}
    return plot_pair_histograms({title: where(histograms, id=run) for title, run in ids.items()}, n_columns=3)
