"""What a training asks of the pairs of its batches: shares of positive pairs, mean targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch.nn.functional import normalize

from sdclib.data.features import FeatureSet
from sdclib.data.image_sets.committed import MANIFEST
from sdclib.data.variants import UNSEEN, same_class_share
from sdclib.evaluation import evaluate_features
from sdclib.figures.style import NEGATIVE_COLOR, POSITIVE_COLOR
from sdclib.files import read_json
from sdclib.losses.calibration import CalibrationDistribution, target_quantiles
from sdclib.methods import METHODS, make_hasher
from sdclib.methods.sdc import linear_map, quantile_map, whitening
from study.chapters.contributions import TARGET_NAMES
from study.figures.plots import STYLE

__all__ = [
    "PairTargets",
    "cosine_maps",
    "learns_from_labels",
    "mean_targets",
    "pair_targets",
    "plot_pair_targets",
    "positive_share",
    "training_share",
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

    def upper_share(self, target: str, share: float = 0.05) -> float:
        """Share of the sum of squared deviations from the mean that the upper `share` of targets hold."""
        values = np.sort(getattr(self, target)) - getattr(self, target).mean()
        top = values[-max(1, round(share * len(values))) :]
        return float((top**2).sum() / (values**2).sum())


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


def learns_from_labels(method: str) -> bool:
    """Whether a method learns from labels of the training rows."""
    return method in METHODS and METHODS[method]().needs_labels


def training_share(data: str, features: FeatureSet | None = None) -> tuple[int, int]:
    """Count the training rows and the database rows of a set, the first among the second.

    The manifest of committed splits says it without any image; of other sets give the features.
    """
    if features is not None:
        return len(features.train_index), len(features.database)
    counts = _counts(data)
    return int(counts["train"]), int(counts["database"])


def positive_share(data: str, features: FeatureSet | None = None) -> float:
    """Share of pairs of different training rows that are of one class; see `training_share`."""
    if features is None:
        counts = _counts(data)
        if len(counts.get("train_per_class", [])) != 1:
            raise ValueError(f"data: expected a set with classes of one size, or its features, got {data!r}")
        sizes = np.full(counts["labels"], counts["train_per_class"][0])
    else:
        sizes = np.unique(_training_classes(features), return_counts=True)[1]
    return same_class_share(sizes)


def _counts(data: str) -> dict[str, Any]:
    """Look up the counts of a set in the manifest of committed splits."""
    name = data.removesuffix(UNSEEN).partition("/")[0]
    manifest = read_json(MANIFEST)
    if name not in manifest:
        raise ValueError(
            f"data: expected one of {', '.join(sorted(manifest))}, or its features, got {data!r}"
        )
    counts: dict[str, Any] = manifest[name]["counts"]
    return counts


def mean_targets(
    share: float, calibration: CalibrationDistribution, n_pairs: int = 100_000
) -> tuple[float, float]:
    """Mean targets of negative and of positive pairs where the `share` of positive pairs gets the upper quantiles."""
    n_positive = round(share * n_pairs)
    if not 0 < n_positive < n_pairs:
        raise ValueError(f"share: expected pairs of both kinds, got {share!r} of {n_pairs} pairs")
    targets = target_quantiles(calibration, n_pairs)
    return float(targets[:-n_positive].mean()), float(targets[-n_positive:].mean())


def cosine_maps(features: FeatureSet) -> pd.DataFrame:
    """Measure expected mAP (%) of the float cosine on features as they are, centred and whitened."""
    mean = features.train.mean(axis=0)
    matrix = (
        whitening(torch.from_numpy(features.train), make_hasher("matching", 64).get_params()["shrinkage"])
        .numpy()
        .T
    )
    query, database = features.query - mean, features.database - mean
    ranked_as = {
        "as they are": (features.query, features.database),
        "centred": (query, database),
        "whitened": (query @ matrix, database @ matrix),
    }
    maps = {
        name: evaluate_features(*both, features.relevant, features.top_k, denominator=features.denominator)[
            0
        ]["map_expected"]
        for name, both in ranked_as.items()
    }
    return 100 * pd.DataFrame({"expected mAP@R (%)": maps}).rename_axis("features")


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
