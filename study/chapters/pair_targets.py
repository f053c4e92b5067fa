"""What a training asks of the pairs of its batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch.nn.functional import normalize

from sdclib.data.features import FeatureSet
from sdclib.figures.style import NEGATIVE_COLOR, POSITIVE_COLOR
from sdclib.losses.calibration import CalibrationDistribution
from sdclib.methods.sdc import linear_map, quantile_map
from study.chapters.contributions import TARGET_NAMES
from study.figures.plots import STYLE

__all__ = [
    "PairTargets",
    "pair_targets",
    "plot_pair_targets",
]


@dataclass(frozen=True)
class PairTargets:
    """Feature cosines of training pairs, and the targets that they would have, shapes (n_pairs,).

    Attributes
    ----------
    cosine, standardised, mapped : ndarray
        Targets of `sdclib.methods.sdc.MatchingHasher` by their names.
    positive : ndarray of bool
        Whether both rows have the same label.
    """

    cosine: NDArray[np.floating]
    standardised: NDArray[np.floating]
    mapped: NDArray[np.floating]
    positive: NDArray[np.bool_]

    def separation(self, target: str) -> float:
        """Mean target of positive pairs less that of negative ones, in standard deviations of all targets."""
        values = getattr(self, target)
        return float((values[self.positive].mean() - values[~self.positive].mean()) / values.std())


def pair_targets(
    features: FeatureSet, calibration: CalibrationDistribution, n_rows: int = 2000, seed: int = 0
) -> PairTargets:
    """Compute the targets of all pairs of at most `n_rows` training rows drawn at random.

    Labels, one a row, are used to tell positive from negative pairs, not for the targets.
    """
    labels = _training_classes(features)
    rows = np.random.default_rng(seed).permutation(len(labels))[:n_rows]
    chosen = torch.from_numpy(features.train[rows])
    unit = normalize(chosen.double(), dim=1)
    first, second = np.triu_indices(len(rows), 1)
    cosine = (unit @ unit.T)[first, second]
    return PairTargets(
        cosine=cosine.numpy(),
        standardised=linear_map(chosen, calibration)(cosine.float()).numpy(),
        mapped=quantile_map(chosen, calibration)(cosine.float()).numpy(),
        positive=labels[rows][first] == labels[rows][second],
    )


def _training_classes(features: FeatureSet) -> NDArray[np.integer]:
    """Classes of the training rows, checked to be one a row."""
    labels = features.database_labels[features.train_index]
    if labels.ndim != 1 or not len(labels):
        raise ValueError(
            f"features: expected one label a training row in {features.name}, found other labels"
        )
    return labels


@STYLE
def plot_pair_targets(targets: PairTargets) -> Figure:
    """Distribution of each target over training pairs, positive and negative, one panel a target."""
    names = ("cosine", "standardised", "mapped")
    figure, grid = plt.subplots(1, 3, figsize=(6.3, 2.6), sharey=True)
    for axes, name in zip(grid, names, strict=True):
        for kind, color, line, label in (
            (targets.positive, POSITIVE_COLOR, "-", "positive pairs"),
            (~targets.positive, NEGATIVE_COLOR, "--", "negative pairs"),
        ):
            style: dict[str, Any] = {"color": color, "linewidth": 1.4, "linestyle": line, "label": label}
            values = getattr(targets, name)[kind]
            axes.hist(values, bins=np.linspace(-1, 1, 61), density=True, histtype="step", **style)
        axes.set(xlim=(-1, 1), xticks=(-1, 0, 1))
        axes.set_title(TARGET_NAMES[name], fontsize="medium")
    figure.supxlabel("target (cosine similarity)", fontsize="medium")
    grid[0].set_ylabel("density")
    grid[1].legend(fontsize="small", loc="upper left")  # where there is room
    return figure
