"""What spread, shape and alignment of targets each add to the result, and what labels add: tables of differences."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from sdclib.calibration import CalibrationDistribution, target_quantiles
from sdclib.datasets.committed import MANIFEST
from sdclib.features import FeatureSet
from sdclib.files import read_json
from sdclib.longtail import same_class_share
from sdclib.methods import METHODS, SupervisedHasher
from sdclib.methods.matching import linear_map, quantile_map
from sdclib.tables import difference, method_label
from sdclib.unseen import UNSEEN

__all__ = [
    "SET_NAMES",
    "STEPS",
    "TARGET_NAMES",
    "PairTargets",
    "brief",
    "by_setting",
    "compared",
    "contributions",
    "difference_table",
    "differences",
    "ends",
    "learns_from_labels",
    "listed",
    "mean_targets",
    "pair_targets",
    "positive_share",
    "reads_otherwise",
    "said",
    "seen_less_unseen",
    "set_name",
    "setting_name",
    "short_label",
    "spread_or_distribution",
    "standing",
    "tally",
    "training_share",
    "verdict",
    "with_targets",
]

SET_NAMES = {
    "cifar10-embedded": "CIFAR-10 (embedded)",
    "cifar10/efficientnet-lite0": "CIFAR-10",
    "caltech101/efficientnet-lite0": "Caltech-101",
    "corel5k/efficientnet-lite0": "Corel-5k",
    "coil20/efficientnet-lite0": "COIL-20",
}
TARGET_NAMES = {
    "cosine": "cosine as it is",
    "standardised": "linear map",
    "mapped": "quantile map",
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
    """Say of each run what its target is and what it does to features first, and label it by both.

    Parameters
    ----------
    results : DataFrame
        See `sdclib.tables.read_results`.

    Returns
    -------
    DataFrame
        With two more columns: target, a key of `TARGET_NAMES`, and features, "raw", "centred" or "whitened", both
        empty for other methods than SDC and similarity matching. The labels are those of `short_label`.
    """
    labels, targets, features = [], [], []
    for method, text in results[["method", "parameters"]].itertuples(index=False):
        parameters: dict[str, Any] = json.loads(text)
        target, transformed = _target(method, parameters)
        labels.append(short_label(method, parameters))
        targets.append(target)
        features.append(transformed)
    return results.assign(label=labels, target=targets, features=features)


def _target(method: str, parameters: Mapping[str, Any]) -> tuple[str, str]:
    """Name target and features of a run of SDC or similarity matching, two empty strings for another."""
    if method == "matching":
        return parameters.get("target", "cosine"), parameters.get("features", "raw")
    if method == "sdc":
        return "calibrated", "centred" if parameters.get("center") else "raw"
    return "", ""


def short_label(method: str, parameters: Mapping[str, Any]) -> str:
    """Name a run by its target and what is done to features, or by what labels decide, and no other setting.

    For tables in which SDC, similarity matching and supervised SDC share their other settings. Other methods are
    named as `sdclib.tables.method_label` does.

    Parameters
    ----------
    method : str
    parameters : mapping
    """
    target, features = _target(method, parameters)
    if target:
        return TARGET_NAMES[target] + ("" if features == "raw" else f" ({features})")
    if method == "supervised-sdc":
        return f"Supervised SDC ({parameters.get('labels', 'order')})"
    return method_label(method, parameters)


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
        data, n_bits, setting (see `setting_name`), step (see `STEPS`), first, second, mean, low, high, in points; the
        first three steps of a setting add up to the fourth.

    Raises
    ------
    ValueError
        If a target has fewer than two seeds in a setting.
    """
    chosen = results[results["features"] == features].assign(label=lambda table: table["target"])
    tables = []
    for data, n_bits, group in by_setting(chosen):
        table = differences(group, [(first, second) for _, first, second in STEPS], n_bits, metric)
        steps = [name for name, *_ in STEPS]
        tables.append(table.assign(data=data, n_bits=n_bits, setting=setting_name(data, n_bits), step=steps))
    return pd.concat(tables, ignore_index=True)


def by_setting(table: pd.DataFrame) -> Iterator[tuple[str, int, pd.DataFrame]]:
    """Give data set, code length and rows of each setting of a table, in its order."""
    for data, n_bits in table[["data", "n_bits"]].drop_duplicates().itertuples(index=False):
        yield str(data), int(n_bits), table[(table["data"] == data) & (table["n_bits"] == n_bits)]


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
        for data, n_bits, here in by_setting(chosen):
            if (here["label"].value_counts().reindex([first, second]) > 1).all():
                table = differences(here, [(first, second)], n_bits, metric)
                tables.append(table.assign(data=data, n_bits=n_bits, setting=setting_name(data, n_bits)))
    if not tables:
        return pd.DataFrame(columns=["first", "second", "mean", "low", "high", "data", "n_bits", "setting"])
    return pd.concat(tables, ignore_index=True)


def listed(rows: pd.DataFrame) -> str:
    """Spell out the differences of `compared`, setting by setting."""
    return "; ".join(f"{row['setting']} {said(row)}" for row in rows.to_dict("records"))


def tally(rows: pd.DataFrame) -> tuple[int, int, int]:
    """Count the differences whose interval is above 0, below 0, and holds 0.

    Parameters
    ----------
    rows : DataFrame
        With low and high.
    """
    above, below = int((rows["low"] > 0).sum()), int((rows["high"] < 0).sum())
    return above, below, len(rows) - above - below


def ends(rows: pd.DataFrame) -> str:
    """Spell the least and the greatest mean difference out: ``+1.2 to +3.4 points``, once where they are the same."""
    values = [f"{value:+z.1f}" for value in (rows["mean"].min(), rows["mean"].max())]
    return f"{' to '.join(dict.fromkeys(values))} points"


def verdict(rows: pd.DataFrame, what: str = "expected mAP") -> str:
    """Say in how many rows a difference is above zero, below zero, and neither, by its interval.

    Parameters
    ----------
    rows : DataFrame
        See `compared`.
    what : str
        What the metric is called.
    """
    n = len(rows)
    above, below, open_ = tally(rows)
    size = f"({ends(rows)})"
    if open_ == n:
        return f"neither raises nor lowers {what} by more than chance may: every interval holds 0 {size}"
    words = [(verb, count) for verb, count in (("raises", above), ("lowers", below)) if count]
    verb, count = words[0]
    if count == n:
        return f"{verb} {what} in {f'all {n} settings' if n > 1 else 'the one setting'} {size}"
    parts = [f"{verb} {what} in {count} of {n} settings"]
    parts += [f"{verb} it in {count}" for verb, count in words[1:]]
    if open_:
        parts.append(f"the interval holds 0 in {open_}")
    return f"{', '.join(parts[:-1])} and {parts[-1]} {size}"


def standing(rows: pd.DataFrame, second: str) -> str:
    """Say where a method stands to another: ahead of it, behind it, or level with it, where the interval holds 0.

    Parameters
    ----------
    rows : DataFrame
        See `compared`: differences of the method from the second one.
    second : str
        What the second one is called.
    """
    counts = dict(zip(("ahead of", "behind", "level with"), tally(rows), strict=True))
    words = [(word, count) for word, count in counts.items() if count]
    (word, count), *others = words
    if not others:
        return f"{word} {second}"
    *before, last = [f"{word} it in {count}" for word, count in others]
    return ", ".join([f"{word} {second} in {count} of {len(rows)} settings", *before]) + f" and {last}"


def reads_otherwise(rows: pd.DataFrame, others: pd.DataFrame) -> NDArray[np.bool_]:
    """Tell which differences have their interval on another side of 0, or hold 0 in one table alone.

    Parameters
    ----------
    rows, others : DataFrame
        See `compared`; of the same pairs of labels in the same order.

    Raises
    ------
    ValueError
        If the pairs are not the same.
    """
    if (
        not rows[["first", "second"]]
        .reset_index(drop=True)
        .equals(others[["first", "second"]].reset_index(drop=True))
    ):
        raise ValueError("others: expected the same pairs of labels in the same order, got other ones")
    sides = [np.sign(table["low"].to_numpy()) + np.sign(table["high"].to_numpy()) for table in (rows, others)]
    return np.asarray(sides[0] != sides[1])


def spread_or_distribution(whole: pd.DataFrame, spread: pd.DataFrame, rest: pd.DataFrame) -> str:
    """Say whether a wide spread is enough for SDC's gain, where there is one, and what the rest of SDC adds.

    Parameters
    ----------
    whole : DataFrame
        See `compared`: SDC less the cosine as it is, setting by setting.
    spread : DataFrame
        The linear map less the cosine as it is in the same settings.
    rest : DataFrame
        SDC less the linear map in the same settings.

    Returns
    -------
    str
        Two sentences, or one where SDC gains nowhere.

    Raises
    ------
    ValueError
        If the settings are not the same.
    """
    settings = list(whole["setting"])
    for name, rows in (("spread", spread), ("rest", rest)):
        if list(rows["setting"]) != settings:
            raise ValueError(
                f"{name}: expected the settings of whole, {settings}, got {list(rows['setting'])}"
            )
    gains, n = tally(whole)[0], len(whole)
    if not gains:
        return f"SDC gains nothing over the cosine as it is in any of {n} settings that can be told from 0."
    too = int((whole["low"].to_numpy() > 0)[spread["low"].to_numpy() > 0].sum())
    more, less, _ = tally(rest)
    return (
        f"SDC gains over the cosine as it is in {gains} of {n} settings. A wide spread is "
        f"{'enough for that' if too == gains and not more else 'not all of it'}: the linear map gains too in {too} of "
        f"these {gains}, and the rest of SDC adds to it in {more} of the {n} settings and takes from it in {less}."
    )


def difference_table(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Lay differences out, a setting a row: ``+1.2 (0.8 to 1.6)``, and nothing where there is none.

    Parameters
    ----------
    rows : DataFrame
        See `contributions` and `compared`.
    column : str
        The column of `rows` whose values become columns.
    """
    cells = {(row["setting"], row[column]): brief(row) for row in rows.to_dict("records")}
    settings = list(dict.fromkeys(rows["setting"]))
    return pd.DataFrame(
        {
            name: [cells.get((setting, name), "") for setting in settings]
            for name in dict.fromkeys(rows[column])
        },
        index=pd.Index(settings, name="setting"),
    )


def brief(row: Mapping[Any, Any] | pd.Series) -> str:
    """Spell a difference out in brief: ``+1.2 (0.8 to 1.6)``; the row has mean, low and high."""
    return f"{row['mean']:+z.1f} ({row['low']:z.1f} to {row['high']:z.1f})"


def said(row: Mapping[Any, Any] | pd.Series) -> str:
    """Spell a difference out: ``+1.2 points (95 % interval 0.8 to 1.6)``; the row has mean, low and high."""
    return f"{row['mean']:+z.1f} points (95 % interval {row['low']:z.1f} to {row['high']:z.1f})"


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
    if features is not None:
        return len(features.train_index), len(features.database)
    counts = _counts(data)
    return int(counts["train"]), int(counts["database"])


def positive_share(data: str, features: FeatureSet | None = None) -> float:
    """Share of pairs of different training rows that are of one class.

    Parameters
    ----------
    data, features
        See `training_share`.

    Raises
    ------
    ValueError
        If neither says how many training rows each class has, as where rows have several labels.
    """
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
    """Mean targets of negative and of positive pairs where positive pairs get the upper quantiles.

    Parameters
    ----------
    share : float
        Of positive pairs among all, in (0, 1).
    calibration : CalibrationDistribution
    n_pairs : int
        Quantiles that stand for the distribution.

    Raises
    ------
    ValueError
        If the share leaves no pair of one kind.
    """
    n_positive = round(share * n_pairs)
    if not 0 < n_positive < n_pairs:
        raise ValueError(f"share: expected pairs of both kinds, got {share!r} of {n_pairs} pairs")
    targets = target_quantiles(calibration, n_pairs)
    return float(targets[:-n_positive].mean()), float(targets[-n_positive:].mean())


def seen_less_unseen(results: pd.DataFrame, metric: str = "map_expected") -> pd.DataFrame:
    """Metric with training rows in the database less that without them, of the same training each.

    Parameters
    ----------
    results : DataFrame
        See `sdclib.tables.read_results`; data sets NAME and NAME+unseen.
    metric : str

    Returns
    -------
    DataFrame
        data, method, label, n_bits, seed and the metric's difference; a row a run that is there in both databases.
    """
    keys = ["data", "method", "label", "n_bits", "seed"]
    unseen = results["data"].str.endswith(UNSEEN)
    without = results[unseen].assign(data=lambda table: table["data"].str.removesuffix(UNSEEN))
    both = results[~unseen][[*keys, metric]].merge(
        without[[*keys, metric]], on=keys, suffixes=("", "_unseen"), validate="one_to_one"
    )
    both[metric] -= both.pop(f"{metric}_unseen")
    return both
