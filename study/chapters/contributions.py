"""What spread, shape and alignment of targets each add to the result, and what labels add: tables of differences."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from sdclib.data.variants import UNSEEN
from study.comparisons import by_setting, differences, setting_name, tally
from study.tables import method_label

__all__ = [
    "STEPS",
    "TARGET_NAMES",
    "contributions",
    "seen_less_unseen",
    "short_label",
    "spread_or_distribution",
    "with_targets",
]

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


def with_targets(results: pd.DataFrame) -> pd.DataFrame:
    """Say of each run what its target is and what it does to features first, and label it by both.

    Parameters
    ----------
    results : DataFrame
        See `study.tables.read_results`.

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
    named as `study.tables.method_label` does.

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


def seen_less_unseen(results: pd.DataFrame, metric: str = "map_expected") -> pd.DataFrame:
    """Metric with training rows in the database less that without them, of the same training each.

    Parameters
    ----------
    results : DataFrame
        See `study.tables.read_results`; data sets NAME and NAME+unseen.
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
