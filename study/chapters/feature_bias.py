"""Whether the bias of features goes with similarity collapse and with SDC's gain: one row a data set."""

from __future__ import annotations

import json
import math

import pandas as pd

from study.comparisons import SET_NAMES
from study.runs import COSINE
from study.tables import by_sign, difference, mean_interval

__all__ = [
    "at_the_ends",
    "bias_table",
    "by_verdict",
    "centring_table",
    "contradiction",
    "least_p_value",
    "spelled_difference",
    "spelled_verdict",
]


def bias_table(results: pd.DataFrame, first: str, second: str, n_bits: int) -> pd.DataFrame:
    """Put bias of the features, collapse of features and codes, and gains of one method over another side by side.

    Parameters
    ----------
    results : DataFrame
        See `study.tables.read_results`; of every data set float cosine, plain and centred, and both methods with at
        least two seeds each.
    first, second : str
        Labels of the two methods.
    n_bits : int

    Returns
    -------
    DataFrame
        Index: names of the sets. all_mean, negative_mean (bias: mean cosine of all and of negative pairs of plain
        features); float, centred, first, second (intersection, percent) with first_ci and second_ci; the same with
        ``auc_`` before them (overlap AUC, percent); and with _low and _high (95 % intervals over seeds, points of
        expected mAP) gain (first less second), gain_float (first less plain float cosine, which has no seeds) and
        drop (intersection of second less that of first).

    Raises
    ------
    ValueError
        If a set lacks a run of float cosine or seeds of a method; the message names both.
    """
    rows = {}
    for data in results["data"].unique():
        group = results[results["data"] == data]
        plain, centred = (_cosine(group, str(data), centred) for centred in (False, True))
        row = {"all_mean": plain["all_mean"], "negative_mean": plain["negative_mean"]}
        for prefix, metric in (("", "intersection"), ("auc_", "overlap_auc")):
            row[f"{prefix}float"], row[f"{prefix}centred"] = 100 * plain[metric], 100 * centred[metric]
            for name, label in (("first", first), ("second", second)):
                mean, half = mean_interval(100 * _runs(group, str(data), label, n_bits)[metric])
                row[f"{prefix}{name}"], row[f"{prefix}{name}_ci"] = mean, half
        mean, half = mean_interval(
            100 * (_runs(group, str(data), first, n_bits)["map_expected"] - plain["map_expected"])
        )
        for name, triple in (
            ("gain", difference(group, first, second, n_bits)),
            ("gain_float", (mean, mean - half, mean + half)),
            ("drop", difference(group, second, first, n_bits, "intersection")),
        ):
            row[name], row[f"{name}_low"], row[f"{name}_high"] = triple
        rows[SET_NAMES.get(str(data), str(data))] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("set")


def _cosine(group: pd.DataFrame, data: str, centred: bool) -> dict[str, float]:
    """Row of float cosine, plain or centred."""
    cosines = group[group["method"] == COSINE]
    chosen = cosines[[bool(json.loads(text).get("center")) == centred for text in cosines["parameters"]]]
    if len(chosen) != 1:
        kind = "centred" if centred else "plain"
        raise ValueError(f"{data}: expected one run of {kind} float cosine, got {len(chosen)}")
    return {str(name): value for name, value in chosen.iloc[0].items()}


def _runs(group: pd.DataFrame, data: str, label: str, n_bits: int) -> pd.DataFrame:
    """Keep the runs of a method at a code length, at least two."""
    chosen = group[(group["label"] == label) & (group["n_bits"] == n_bits)]
    if len(chosen) < 2:
        raise ValueError(
            f"{data}: expected at least two seeds of {label} at {n_bits} bits, got {len(chosen)}"
        )
    return chosen


def centring_table(table: pd.DataFrame) -> pd.DataFrame:
    """Say what taking the bias away changes in the float features: intersection and overlap AUC, in points.

    Parameters
    ----------
    table : DataFrame
        See `bias_table`.

    Returns
    -------
    DataFrame
        Index: sets; intersection and auc, centred less plain.
    """
    return pd.DataFrame(
        {
            "intersection": table["centred"] - table["float"],
            "auc": table["auc_centred"] - table["auc_float"],
        }
    )


def contradiction(table: pd.DataFrame, column: str, what: str) -> str:
    """Say which two sets contradict an order by bias the most: the one with the larger bias has less of the column.

    Parameters
    ----------
    table : DataFrame
        See `bias_table`.
    column : str
    what : str
        What the column is called.

    Returns
    -------
    str
        A sentence; that bias and column have the same order, if no two sets contradict it.
    """
    bias, value = table["negative_mean"], table[column]
    pairs = [
        (float(value[b] - value[a]), str(a), str(b))
        for a in table.index
        for b in table.index
        if bias[a] > bias[b] and value[a] < value[b]
    ]
    if not pairs:
        return f"By bias and by {what} the sets are in the same order."
    _, more, less = max(pairs)
    return (
        f"{more} has a larger bias than {less} ({bias[more]:.2f} against {bias[less]:.2f}) but a smaller {what} "
        f"({value[more]:.1f} against {value[less]:.1f} %)."
    )


def by_verdict(table: pd.DataFrame, name: str) -> dict[str, list[str]]:
    """Sort sets by what the interval of a difference says, the largest mean first.

    Parameters
    ----------
    table : DataFrame
        See `bias_table`.
    name : str
        Such as "gain": with NAME_low and NAME_high.

    Returns
    -------
    dict
        "above", "below" and "neither" (the interval holds 0): names of the sets.
    """
    found: dict[str, list[str]] = {"above": [], "below": [], "neither": []}
    for place, row in table.sort_values(name, ascending=False).iterrows():
        interval = {"low": row[f"{name}_low"], "high": row[f"{name}_high"]}
        found[by_sign(interval, "above", "below", "neither")].append(str(place))
    return found


def spelled_verdict(table: pd.DataFrame, name: str) -> str:
    """Spell `by_verdict` out with every mean and interval, in points."""
    words = {"above": "above 0 on", "below": "below 0 on", "neither": "not told from 0 on"}
    parts = []
    for kind, places in by_verdict(table, name).items():
        if places:
            rows = table.loc[places].iterrows()
            listed = ", ".join(f"{place} ({spelled_difference(row, name)})" for place, row in rows)
            parts.append(f"{words[kind]} {listed}")
    return "; ".join(parts)


def spelled_difference(row: pd.Series, name: str) -> str:
    """Spell a difference of a row of `bias_table` out: ``+1.9, 0.5 to 3.4``."""
    return f"{row[name]:+.1f}, {row[f'{name}_low']:.1f} to {row[f'{name}_high']:.1f}"


def at_the_ends(table: pd.DataFrame) -> str:
    """Say what the gain is where the bias is largest and where it is smallest, in a sentence."""
    words = {"above": "gains", "below": "loses", "neither": "neither gains nor loses for certain"}
    verdicts = {place: kind for kind, places in by_verdict(table, "gain").items() for place in places}
    most, least = str(table["negative_mean"].idxmax()), str(table["negative_mean"].idxmin())
    return (
        f"On the set with the largest bias, {most}, SDC {words[verdicts[most]]}; on the one with the smallest, "
        f"{least}, it {words[verdicts[least]]}."
    )


def least_p_value(n: int) -> float:
    """Smallest two-sided p-value that a permutation test of a rank correlation can have with `n` points.

    Two of the n! orders, the same and the opposite, are the most extreme: 2 / n!.

    Raises
    ------
    ValueError
        If n < 2.
    """
    if n < 2:
        raise ValueError(f"n: expected at least 2 points, got {n}")
    return 2 / math.factorial(n)
