"""Tables of results: names that people read, means and intervals over seeds."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from sdclib.data.vectors import read_csv
from sdclib.methods import METHOD_LABELS, METHODS
from sdclib.methods.presets import PRESETS

__all__ = [
    "by_bits",
    "by_sign",
    "difference",
    "format_summary",
    "in_words",
    "mean_interval",
    "method_label",
    "read_results",
    "spelled",
    "summarise",
]


def method_label(method: str, parameters: Mapping[str, Any]) -> str:
    """Name a run's method as a reader knows it, with what sets it apart in brackets.

    Parameters
    ----------
    method : str
    parameters : mapping
        With defaults filled in, as run records hold them.
    """
    remarks, usual = [], {}
    if method == "sdc":
        remarks.append(preset := parameters.get("preset", "paper"))
        usual = {"preset": preset, **(asdict(PRESETS[preset]) if preset in PRESETS else {})}
    elif method in METHODS:
        usual = {name: p.default for name, p in inspect.signature(METHODS[method]).parameters.items()}
    remarks += [
        f"{name}={value}"
        for name, value in parameters.items()
        if name != "center" and value != usual.get(name)
    ]
    if parameters.get("center"):
        remarks.append("centred")
    label = METHOD_LABELS.get(method, method)
    return f"{label} ({', '.join(remarks)})" if remarks else label


def in_words(parameters: Mapping[str, Any]) -> str:
    """Spell parameters out for readers: ``batch size 32, learning rate 0.01``; "none" where there are none.

    Parameters
    ----------
    parameters : mapping
        Names as in the code; values as JSON has them.
    """
    words = []
    for name, value in parameters.items():
        if name == "center":
            words.append("centred" if value else "not centred")
        elif isinstance(value, bool):
            words.append(f"{name.replace('_', ' ')} {'yes' if value else 'no'}")
        else:
            words.append(f"{name.removeprefix('n_').replace('_', ' ')} {value}")
    return ", ".join(words) or "none"


def read_results(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a committed table of runs and add the column `label`, see `method_label`.

    Raises
    ------
    FileNotFoundError
        If the file is not there.
    ValueError
        If it is not such a table; the message names it.
    """
    path = Path(path)
    table = read_csv(path, dtype={"id": str})  # hexadecimal digits, never a number
    missing = {"id", "data", "method", "n_bits", "seed", "parameters"} - set(table.columns)
    if missing:
        raise ValueError(f"{path}: expected the columns of a table of runs, {sorted(missing)} missing")
    try:
        table["n_bits"] = table["n_bits"].astype("Int64")
        labels = [
            method_label(method, json.loads(parameters))
            for method, parameters in zip(table["method"], table["parameters"], strict=True)
        ]
        table.insert(3, "label", labels)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{path}: expected whole numbers or nothing as n_bits, and parameters as a JSON object ({error})"
        ) from error
    return table


def mean_interval(values: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Mean over seeds and half the width of its Student-t confidence interval; NaN for fewer than two values."""
    array = np.asarray(values, dtype=float)
    if array.size < 2:
        return float(array.mean()), float("nan")
    half = stats.t.ppf((1 + level) / 2, array.size - 1) * array.std(ddof=1) / np.sqrt(array.size)
    return float(array.mean()), float(half)


def difference(
    results: pd.DataFrame, first: str, second: str, n_bits: int, metric: str = "map_expected"
) -> tuple[float, float, float]:
    """Mean of one method less that of another, with Welch's 95 % interval over seeds.

    Parameters
    ----------
    results : DataFrame
        Of one data set, see `read_results`.
    first, second : str
        Labels, each with at least two seeds at this code length.
    n_bits : int
    metric : str

    Returns
    -------
    mean, low, high : float
        In points (percent).

    Raises
    ------
    ValueError
        If a method has fewer than two seeds; the message names it.
    """
    values = []
    for label in (first, second):
        chosen = results[(results["label"] == label) & (results["n_bits"] == n_bits)][metric]
        if len(chosen) < 2:
            raise ValueError(
                f"{label}: expected at least two seeds at {n_bits} bits for an interval, got {len(chosen)}"
            )
        values.append(100 * chosen.to_numpy())
    interval = stats.ttest_ind(*values, equal_var=False).confidence_interval(0.95)
    return float(values[0].mean() - values[1].mean()), float(interval.low), float(interval.high)


def summarise(
    results: pd.DataFrame, metrics: Sequence[str] = ("map_authors", "map_expected", "intersection")
) -> pd.DataFrame:
    """One row a data set, method and code length: number of seeds, mean and 95 % half interval of each metric.

    Parameters
    ----------
    results : DataFrame
        See `read_results`.
    metrics : sequence of str
        Columns to summarise; values in [0, 1] are given in percent.

    Returns
    -------
    DataFrame
        data, label, n_bits, seeds, and for every metric ``metric`` and ``metric_ci`` (percent).
    """
    rows = []
    for (data, label, n_bits), group in results.groupby(
        ["data", "label", "n_bits"], sort=False, dropna=False
    ):
        row: dict[str, Any] = {"data": data, "label": label, "n_bits": n_bits, "seeds": len(group)}
        for metric in metrics:
            mean, half = mean_interval(group[metric])
            row[metric], row[f"{metric}_ci"] = 100 * mean, 100 * half
        rows.append(row)
    return pd.DataFrame(rows)


def format_summary(summary: pd.DataFrame, top_k: int) -> pd.DataFrame:
    """Spell a summary out for readers: ``mean ± half interval`` in percent, names as the literature has them.

    Parameters
    ----------
    summary : DataFrame
        See `summarise`.
    top_k : int
        The R of mAP@R.
    """
    names = {
        "map_authors": f"mAP@{top_k} (authors' definition)",
        "map_expected": f"mAP@{top_k} (expected)",
        "intersection": "intersection",
        "overlap_auc": "overlap AUC",
    }
    table = pd.DataFrame({"method": summary["label"]})
    table["bits"] = ["float" if pd.isna(n_bits) else str(n_bits) for n_bits in summary["n_bits"]]
    table["seeds"] = summary["seeds"]
    for metric, name in names.items():
        if metric in summary:
            table[name] = [
                spelled(mean, half)
                for mean, half in zip(summary[metric], summary[f"{metric}_ci"], strict=True)
            ]
    return table


def by_sign(row: Mapping[Any, Any] | pd.Series, above: str, below: str, neither: str) -> str:
    """Choose words by an interval (`low` to `high` of a row): all of it above 0, all of it below 0, or neither."""
    if row["low"] > 0:
        return above
    return below if row["high"] < 0 else neither


def spelled(mean: float, half: float) -> str:
    """``mean ± half``, or the mean alone where there is no interval; one decimal."""
    return f"{mean:.1f}" if np.isnan(half) else f"{mean:.1f} ± {half:.1f}"


def by_bits(summary: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Spell one metric out with a method a row and a code length a column, best at the longest codes first.

    Parameters
    ----------
    summary : DataFrame
        Of one data set, see `summarise`; rows of float features are left out.
    metric : str
        One of the metrics that the summary has.

    Returns
    -------
    DataFrame
        Index method; columns "16 bits" and so on, ``mean ± half interval`` in percent.
    """
    codes = summary[summary["n_bits"].notna()]
    lengths = sorted(codes["n_bits"].unique())
    order = codes[codes["n_bits"] == lengths[-1]].sort_values(metric, ascending=metric == "intersection")[
        "label"
    ]
    cells = {
        (row["label"], row["n_bits"]): spelled(row[metric], row[f"{metric}_ci"])
        for row in codes.to_dict("records")
    }
    return pd.DataFrame(
        {f"{n_bits} bits": [cells.get((label, n_bits), "") for label in order] for n_bits in lengths},
        index=pd.Index(order, name="method"),
    )
