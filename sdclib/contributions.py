"""What spread, shape and alignment of targets each add to the result, and what labels add: tables of differences."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from sdclib.calibration import CalibrationDistribution
from sdclib.datasets.committed import MANIFEST
from sdclib.features import FeatureSet
from sdclib.files import read_json
from sdclib.methods import METHODS, SupervisedHasher
from sdclib.methods.matching import linear_map, quantile_map
from sdclib.tables import difference
from sdclib.unseen import UNSEEN

__all__ = [
    "SET_NAMES",
    "STEPS",
    "TARGET_NAMES",
    "PairTargets",
    "compared",
    "contributions",
    "differences",
    "learns_from_labels",
    "listed",
    "pair_targets",
    "said",
    "set_name",
    "setting_name",
    "step_table",
    "training_share",
    "verdict",
    "with_targets",
]

SET_NAMES = {
    "cifar10-embedded": "CIFAR-10 (embedded)",
    "cifar10/efficientnet-lite0": "CIFAR-10",
    "caltech101/efficientnet-lite0": "Caltech-101",
    "corel5k/efficientnet-lite0": "Corel-5k",
}
TARGET_NAMES = {
    "cosine": "cosine as it is",
    "standardised": "spread",
    "mapped": "spread and shape",
    "calibrated": "SDC",
    "rank": "order alone",
}
# What is added at each step from similarity-preserving hashing to SDC: name, with it, without it.
STEPS = (
    ("mean and spread", "standardised", "cosine"),
    ("shape", "mapped", "standardised"),
    ("alignment in the batch", "calibrated", "mapped"),
    ("all of SDC", "calibrated", "cosine"),
)


def set_name(data: str) -> str:
    """Name a data set as readers know it; what is added to its name, such as ``+unseen``, comes after a comma."""
    base, *suffixes = data.split("+")
    return ", ".join([SET_NAMES.get(base, base), *suffixes])


def setting_name(data: str, n_bits: int) -> str:
    """Name a data set and a code length: "Caltech-101, 64 bits"."""
    return f"{set_name(data)}, {n_bits} bits"


def with_targets(results: pd.DataFrame) -> pd.DataFrame:
    """Say of each run of SDC or of similarity matching what its target is, and what it does to features first.

    Parameters
    ----------
    results : DataFrame
        See `sdclib.tables.read_results`.

    Returns
    -------
    DataFrame
        With two more columns: target, a key of `TARGET_NAMES` or, of another method, its label; features, "raw",
        "centred" or "whitened", and empty for other methods.
    """
    targets, features = [], []
    for method, label, text in results[["method", "label", "parameters"]].itertuples(index=False):
        parameters: dict[str, Any] = json.loads(text)
        if method == "matching":
            targets.append(parameters.get("target", "cosine"))
            features.append(parameters.get("features", "raw"))
        elif method == "sdc":
            targets.append("calibrated")
            features.append("centred" if parameters.get("center") else "raw")
        else:
            targets.append(label)
            features.append("")
    return results.assign(target=targets, features=features)


def differences(
    results: pd.DataFrame, pairs: Iterable[tuple[str, str]], n_bits: int, metric: str = "map_expected"
) -> pd.DataFrame:
    """Differences between pairs of labels, with Welch's 95 % intervals over seeds.

    Parameters
    ----------
    results : DataFrame
        Of one data set, see `sdclib.tables.difference`.
    pairs : iterable of (first, second)
        Labels.
    n_bits : int
    metric : str

    Returns
    -------
    DataFrame
        first, second, mean, low, high; points.
    """
    rows = [(*pair, *difference(results, *pair, n_bits, metric)) for pair in pairs]
    return pd.DataFrame(rows, columns=["first", "second", "mean", "low", "high"])


def contributions(results: pd.DataFrame, metric: str = "map_expected", features: str = "raw") -> pd.DataFrame:
    """Take SDC's gain over similarity-preserving hashing apart, for every data set and code length.

    Parameters
    ----------
    results : DataFrame
        See `with_targets`.
    metric : str
    features : {"raw", "centred"}

    Returns
    -------
    DataFrame
        data, n_bits, step (see `STEPS`), first, second, mean, low, high, in points; the first three steps of a
        setting add up to the fourth.

    Raises
    ------
    ValueError
        If a target has fewer than two seeds in a setting.
    """
    chosen = results[results["features"] == features].assign(label=lambda table: table["target"])
    tables = []
    for data, n_bits in _settings(chosen):
        group = chosen[chosen["data"] == data]
        table = differences(group, [(first, second) for _, first, second in STEPS], n_bits, metric)
        tables.append(table.assign(data=data, n_bits=n_bits, step=[name for name, *_ in STEPS]))
    return pd.concat(tables, ignore_index=True)


def _settings(results: pd.DataFrame) -> list[tuple[str, int]]:
    """List the data sets and code lengths of a table, in its order."""
    found = results[["data", "n_bits"]].drop_duplicates()
    return [(str(data), int(n_bits)) for data, n_bits in found.itertuples(index=False)]


def compared(
    results: pd.DataFrame, pairs: Iterable[tuple[str, str]], metric: str = "map_expected"
) -> pd.DataFrame:
    """Differences between pairs of labels in every data set and code length that has seeds of both.

    Parameters
    ----------
    results : DataFrame
        See `sdclib.tables.read_results`; its order is that of the settings.
    pairs : iterable of (first, second)
        Labels.
    metric : str

    Returns
    -------
    DataFrame
        data, n_bits, setting (see `setting_name`) and the columns of `differences`.
    """
    tables = []
    for first, second in pairs:
        chosen = results[results["label"].isin([first, second])]
        for data, n_bits in _settings(chosen):
            here = chosen[(chosen["data"] == data) & (chosen["n_bits"] == n_bits)]
            if (here["label"].value_counts().reindex([first, second]) > 1).all():
                table = differences(here, [(first, second)], n_bits, metric)
                tables.append(table.assign(data=data, n_bits=n_bits, setting=setting_name(data, n_bits)))
    if not tables:
        return pd.DataFrame(columns=["first", "second", "mean", "low", "high", "data", "n_bits", "setting"])
    return pd.concat(tables, ignore_index=True)


def listed(rows: pd.DataFrame) -> str:
    """Spell out the differences of `compared`, setting by setting."""
    return "; ".join(f"{row['setting']} {said(row)}" for row in rows.to_dict("records"))


def verdict(rows: pd.DataFrame) -> str:
    """Say in how many rows a difference in mAP is above zero, below zero, and neither, by its interval."""
    above, below = int((rows["low"] > 0).sum()), int((rows["high"] < 0).sum())
    return (
        f"raises expected mAP in {above} of {len(rows)} settings, lowers it in {below}, and the interval holds 0 in "
        f"{len(rows) - above - below} (from {rows['mean'].min():+.1f} to {rows['mean'].max():+.1f} points)"
    )


def step_table(steps: pd.DataFrame) -> pd.DataFrame:
    """Lay the differences of `contributions` out, a setting a row and a step a column: ``+1.2 (0.8 to 1.6)``."""
    cells = {
        (setting_name(row["data"], row["n_bits"]), row["step"]): (
            f"{row['mean']:+.1f} ({row['low']:.1f} to {row['high']:.1f})"
        )
        for row in steps.to_dict("records")
    }
    settings = list(dict.fromkeys(setting for setting, _ in cells))
    return pd.DataFrame(
        {name: [cells[setting, name] for setting in settings] for name, *_ in STEPS},
        index=pd.Index(settings, name="setting"),
    )


def said(row: Mapping[Any, Any] | pd.Series) -> str:
    """Spell a difference out: ``+1.2 points (95 % interval 0.8 to 1.6)``; the row has mean, low and high."""
    return f"{row['mean']:+.1f} points (95 % interval {row['low']:.1f} to {row['high']:.1f})"


@dataclass(frozen=True)
class PairTargets:
    """Feature cosines of training pairs, and the targets that they would have.

    Attributes
    ----------
    cosine, standardised, mapped : ndarray, shapes (n_pairs,)
        Targets of `sdclib.methods.matching.MatchingHasher` by their names.
    positive : ndarray, shape (n_pairs,), bool
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
    """Compute the targets of all pairs of `n_rows` training rows drawn at random.

    Labels are used to tell positive from negative pairs, not for the targets.

    Parameters
    ----------
    features : FeatureSet
        With one label an image.
    calibration : CalibrationDistribution
    n_rows : int
        At most so many.
    seed : int

    Raises
    ------
    ValueError
        If training rows have no label or several.
    """
    labels = features.database_labels[features.train_index]
    if labels.ndim != 1 or not len(labels):
        raise ValueError(
            f"features: expected one label a training row in {features.name}, found other labels"
        )
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


def learns_from_labels(method: str) -> bool:
    """Whether a method learns from labels of the training rows."""
    return method in METHODS and issubclass(METHODS[method], SupervisedHasher)


def training_share(data: str, features: FeatureSet | None = None) -> tuple[int, int]:
    """Count the training rows and the database rows of a set, the first among the second.

    Parameters
    ----------
    data : str
        Name of the set; of an image set with a committed split the split's manifest says it, without any image.
    features : FeatureSet, optional
        The set itself, where the manifest does not have it.

    Raises
    ------
    ValueError
        If neither says it.
    """
    name = data.removesuffix(UNSEEN).partition("/")[0]
    manifest = read_json(MANIFEST)
    if features is None and name not in manifest:
        raise ValueError(
            f"data: expected one of {', '.join(sorted(manifest))}, or its features, got {data!r}"
        )
    if features is not None:
        return len(features.train_index), len(features.database)
    counts = manifest[name]["counts"]
    return int(counts["train"]), int(counts["database"])
